"""headrace against other stream processors for Python: the same features, windows that slide.

::

    events ─► a broker ─┬─► ours      views job (Flink SQL) ─► tiles ─► hot index ─► features
                        ├─► bytewax   SlidingWindower, fold_window
                        └─► quix      hopping_window().reduce()

Every one gives count, mean, minimum and maximum of the last minute for each of two keys, at every
second at which there was an event in it: the features of ``peers.yaml``. A peer's window of a
minute that moves by a second is sixty windows, and each event is added to all of them; headrace
adds it to one tile, and merges tiles where a feature is read. All rows are compared. As in `peers`,
each has one worker, `net` is without what a run over a log of one event takes, and ours is the sum
of the stream and of what reads it.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq

from benchmarks.by_hand import DENSE
from benchmarks.environment import python_of, versions_of
from benchmarks.measure import Ratio, alternate, equal, say, store
from benchmarks.peers import LAST, PEERS, PIPELINE, Job, Took, events, fill
from benchmarks.views import Bench, Case
from headrace.jobs.machine import broker
from headrace.operators.view import END
from headrace.pipelines.load import load

__all__ = ["run"]

EVENTS = 100_000
WINDOW_MS = 60_000
_FEATURES = ("actions", "value", "least", "most")
_WHAT = ("wall", "cpu", "net_wall", "net_cpu")
Rows = list[tuple[Any, ...]]


class Ours:
    """The stream and what reads its tiles, one after the other: their times are added."""

    def __init__(self, bench: Bench, bootstrap: str, folder: Path) -> None:
        self._bench = bench
        script = "windows_job.py"
        self._job = Job("ours", script, sys.executable, bootstrap, folder, WINDOW_MS)

    def run(self, log: str) -> Took:
        """Run both to the end of the log."""
        streamed = self._bench.run("ours", empty=log != "action")
        topics = self._bench.last.view_topic
        views = self._bench.last.views
        read = self._job.run(log, lambda key: topics(views[f"by_{key}"]))
        return {what: streamed[what] + read[what] for what in streamed}

    def rows(self, key: str) -> Rows:
        """Give the rows of the last run, in order."""
        table = pq.read_table(self._job.folder / self._job.run_name / f"by_{key}.parquet")
        names = (key, END, *(f"{key}_{name}_1m" for name in _FEATURES))
        columns = [table[name].to_pylist() for name in names]
        return sorted(row for row in zip(*columns, strict=True) if row[0] != LAST)


def _rows(job: Job, key: str) -> Rows:
    """Give a peer's rows in order, its sums made means."""
    kept = orjson.loads((job.folder / job.run_name / "rows.json").read_bytes())
    return sorted(
        (name, end, count, total / count, least, most)
        for name, end, count, total, least, most in kept[key]
        if name != LAST
    )


def _measure(rounds: int) -> tuple[int, dict[str, list[Took]]]:
    """Run every form in turn, over the log and first over an empty one; count the rows."""
    pythons = {name: str(python_of(name)) for name in PEERS}
    with (
        tempfile.TemporaryDirectory(prefix="headrace-bench-") as name,
        broker.running(Path(name) / "broker") as kafka,
    ):
        folder, log = Path(name), events(EVENTS, WINDOW_MS + 2_000)
        ours = Ours(
            Bench(Case(load(PIPELINE), DENSE, log, 10_000), kafka.address, folder),
            kafka.address,
            folder,
        )
        fill(kafka.address)
        jobs = {
            peer: Job(peer, f"peer_{peer}.py", python, kafka.address, folder, WINDOW_MS)
            for peer, python in pythons.items()
        }
        forms: dict[str, Callable[[str], Took]] = {"ours": ours.run}
        forms |= {form: job.run for form, job in jobs.items()}
        idle = {form: run("empty") for form, run in forms.items()}
        found = alternate({form: partial(run, "action") for form, run in forms.items()}, rounds)
        count = 0
        for key in ("user", "item"):
            mine = ours.rows(key)
            count += len(mine)
            for form, job in jobs.items():
                equal(f"{form}, {len(mine)} rows by {key}", mine == _rows(job, key))
    net = {
        form: [
            took | {f"net_{what}": took[what] - idle[form][what] for what in ("wall", "cpu")}
            for took in rows
        ]
        for form, rows in found.items()
    }
    return count, net


def run(rounds: int) -> list[str]:
    """Measure against each peer; give a line for each."""
    count, found = _measure(rounds)
    ratios = {
        f"{peer} / ours": {
            what: Ratio.of(*([took[what] for took in found[form]] for form in (peer, "ours")))
            for what in _WHAT
        }
        for peer in PEERS
    }
    versions = {peer: versions_of(peer) for peer in PEERS}
    facts = {"events": EVENTS, "rows": count, "window_ms": WINDOW_MS, "rounds": rounds}
    store("windows", **facts, versions_of_peers=versions, ratios_of_time=ratios, seconds=found)
    lines = [
        f"{pair}: " + ", ".join(f"{what} {ratio}" for what, ratio in each.items())
        for pair, each in ratios.items()
    ]
    for line in lines:
        say(f"   {line}")
    return [*lines, f"{EVENTS} events gave {count} rows of four features, equal in all"]
