"""headrace against other stream processors for Python: the same tiles, from one log of a broker.

::

    events of two keys, 1000 a second ─► a broker ─┬─► stream    views job: Flink SQL, to topics
                                                   ├─► history   DuckDB, to Parquet
                                                   ├─► bytewax   fold_window, to topics
                                                   └─► quix      tumbling_window().reduce()

Every one gives count, sum, minimum and maximum of each key and second; they are compared. A peer
has one worker in an environment of its own (`environment.py`), keeps nothing for a recovery and
checks nothing; the stream has a parallelism of 1 and does all it always does. Each run is a process
of its own; `net` is without what a run over a log of one event takes. CPU is told beside wall time:
the JVM compiles and collects beside its one worker, and DuckDB uses every core.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.by_hand import DENSE
from benchmarks.environment import python_of, versions_of
from benchmarks.measure import Ratio, alternate, equal, say, store
from benchmarks.views import Bench, Case
from headrace.jobs import transport
from headrace.jobs.demo.flights import Message
from headrace.jobs.machine import broker
from headrace.jobs.machine.processes import Process, Supervisor
from headrace.jobs.replay import replay
from headrace.jobs.transport import Reader, Topic
from headrace.operators.view import END
from headrace.pipelines.load import load

__all__ = ["LAST", "PEERS", "PIPELINE", "Job", "events", "fill", "run"]

EVENTS = 1_000_000
PEERS = ("bytewax", "quix")
OURS = ("stream", "history")
PIPELINE = Path(__file__).with_name("peers.yaml")
LAST = "last"
"""The key of the last event, which closes the windows before it."""
_A_SECOND, _USERS, _ITEMS = 1_000, 20_000, 50
_STARTS = 1_356_998_400_000
_DEADLINE_SECONDS = 400.0
_NUMBERS = ("rows", "sum_value", "min_value", "max_value")
_WHAT = ("wall", "cpu", "net_wall", "net_cpu")
Took = dict[str, float]
Tiles = list[tuple[Any, ...]]


def events(count: int, rest_ms: int = 2_000) -> Iterator[list[Message]]:
    """Make events in order, keyed by user, with a seed; after a rest a last one."""
    rng = np.random.default_rng(20130101)
    for start in range(0, count, _A_SECOND):
        columns = (
            np.sort(rng.integers(0, 1_000, _A_SECOND)) + _STARTS + start // _A_SECOND * 1_000,
            rng.integers(0, _USERS, _A_SECOND),
            rng.integers(0, _ITEMS, _A_SECOND),
            rng.integers(0, 10_000, _A_SECOND),
        )
        rows = zip(*(column.tolist() for column in columns), strict=True)
        yield [_event(at, f"u{user}", f"i{item}", value) for at, user, item, value in rows]
    yield [_event(_STARTS + count // _A_SECOND * 1_000 + rest_ms, LAST, LAST, 0)]


def _event(at: int, user: str, item: str, value: int) -> Message:
    said = orjson.dumps({"at": at, "user": user, "item": item, "value": value})
    return Message("action", user.encode(), said, at)


@dataclass
class Job:
    """A job on the logs of one broker, a process for each run; `python` is its environment's."""

    name: str
    script: str
    python: str
    bootstrap: str
    folder: Path
    window_ms: int = 1_000
    keys: tuple[str, ...] = ("user", "item")
    runs: int = 0

    @property
    def run_name(self) -> str:
        """Give the name of the last run."""
        return f"{self.name}{self.runs}"

    def run(self, log: str, tiles: Callable[[str], str] | None = None) -> Took:
        """Run it to the end of a log; `tiles` says which topics of tiles it reads, if it does."""
        self.runs += 1
        folder = self.folder / self.run_name
        folder.mkdir()
        views = [(key, (tiles or f"{self.run_name}.{{}}".format)(key)) for key in self.keys]
        if tiles is None:
            transport.create_topics(self.bootstrap, [Topic(topic, 1) for _, topic in views])
        task, result = folder / "task.json", folder / "result.json"
        told: dict[str, object] = {
            "name": self.run_name,
            "bootstrap": self.bootstrap,
            "topic": log,
            "views": views,
        }
        told |= {"step_ms": 1_000, "window_ms": self.window_ms, "last": LAST}
        told |= {"pipeline": str(PIPELINE), "folder": str(folder)}
        task.write_bytes(orjson.dumps(told))
        here = Path(__file__).parent
        argv = [self.python, *map(str, (here / "peer_job.py", here / self.script, task, result))]
        with Supervisor() as supervisor:
            supervisor.start(Process("peer", argv, folder / "log", finishes=True))
            supervisor.wait_finished("peer", deadline_seconds=_DEADLINE_SECONDS)
        took: Took = orjson.loads(result.read_bytes())
        say(f"   {self.name}, {log}: cpu {took['cpu']:.1f} s, wall {took['wall']:.1f} s")
        return took

    def tiles(self, key: str) -> Tiles:
        """Read the tiles of the last run, in order."""
        parquet = self.folder / self.run_name / f"by_{key}.parquet"
        if parquet.exists():
            return listed(pq.read_table(parquet), key)
        topic = f"{self.run_name}.{key}"
        end = transport.ends(self.bootstrap, [topic])[topic, 0]
        rows: Tiles = []
        with Reader(self.bootstrap, {(topic, 0): 0}) as reader:
            while len(rows) < end:
                for some in reader.poll(1_000).values():
                    rows += [tuple(orjson.loads(message.value or b"")) for message in some]
        return sorted(row for row in rows if row[0] != LAST)


def listed(tiles: pa.Table, key: str) -> Tiles:
    """List tiles in order, without those of the last event: a peer may leave its window open."""
    columns = [tiles[name].to_pylist() for name in (key, END, *_NUMBERS)]
    return sorted(row for row in zip(*columns, strict=True) if row[0] != LAST)


def fill(bootstrap: str) -> None:
    """Make a log of the last event alone, by which to know what a start takes."""
    transport.create_topics(bootstrap, [Topic("empty", 1)])
    log = [[event._replace(topic="empty") for event in each] for each in events(0)]
    replay(log, bootstrap=bootstrap, partitions={"empty": 1}, beat_ms=1_000, rest_ms=1_000)


def _measure(rounds: int) -> dict[str, list[Took]]:
    """Run every form in turn; `net` is less the run over an empty log, which comes first."""
    pythons = {name: str(python_of(name)) for name in PEERS}
    with (
        tempfile.TemporaryDirectory(prefix="headrace-bench-") as name,
        broker.running(Path(name) / "broker") as kafka,
    ):
        folder = Path(name)
        bench = Bench(Case(load(PIPELINE), DENSE, events(EVENTS), 10_000), kafka.address, folder)
        fill(kafka.address)
        jobs = {"history": Job("history", "history_job.py", sys.executable, kafka.address, folder)}
        for peer, python in pythons.items():
            jobs[peer] = Job(peer, f"peer_{peer}.py", python, kafka.address, folder)
        idle = {"stream": bench.run("ours", empty=True)}
        idle |= {form: job.run("empty") for form, job in jobs.items()}
        forms = {"stream": partial(bench.run, "ours")}
        forms |= {form: partial(job.run, "action") for form, job in jobs.items()}
        found = alternate(forms, rounds)
        for key in ("user", "item"):
            ours = listed(bench.tiles[f"by_{key}"], key)
            for form, job in jobs.items():
                equal(f"{form}, {len(ours)} tiles by {key}", ours == job.tiles(key))
    return {
        form: [
            {**took, **{f"net_{what}": took[what] - idle[form][what] for what in ("wall", "cpu")}}
            for took in rows
        ]
        for form, rows in found.items()
    }


def run(rounds: int) -> list[str]:
    """Measure against each peer; give a line for each."""
    found = _measure(rounds)
    ratios = {
        f"{peer} / {ours}": {
            what: Ratio.of(*([took[what] for took in found[form]] for form in (peer, ours)))
            for what in _WHAT
        }
        for peer in PEERS
        for ours in OURS
    }
    rates = {
        form: round(EVENTS / min(took["net_cpu"] for took in rows)) for form, rows in found.items()
    }
    versions = {peer: versions_of(peer) for peer in PEERS}
    facts = {"events": EVENTS, "rounds": rounds, "versions_of_peers": versions}
    store("peers", **facts, ratios_of_time=ratios, events_per_net_cpu_second=rates, seconds=found)
    lines = [
        f"{pair}: " + ", ".join(f"{what} {ratio}" for what, ratio in each.items())
        for pair, each in ratios.items()
    ]
    for line in lines:
        say(f"   {line}")
    told = ", ".join(f"{form} {rate}" for form, rate in rates.items())
    return [*lines, f"events per second of CPU, net: {told}"]
