"""The views job against the same job written by hand, in both of Flink's forms of a window.

::

    flights, 60 days   panes of 5 m, ~10 events each  ─┐    ours      group windows, checked
    dense, synthetic   panes of 1 s, 1000 events each ─┴─►  by hand   TVF, two-phase | one-phase
                                                           by hand   group windows

Each run is a JVM of its own on the same bounded log of a real broker. `net` is without what a run
over an empty log takes: the start of the JVM, of Flink, and planning. The logs are so long that the
start is a small part of a run, as it is of a job that lives for months.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from benchmarks.by_hand import DENSE, FLIGHTS, REFERENCE, Job, statements
from benchmarks.measure import Ratio, alternate, equal, say, store
from headrace.feature_store.panes import read_tiles
from headrace.jobs import assembly, transport, views
from headrace.jobs.demo import flights
from headrace.jobs.demo.flights import Message
from headrace.jobs.machine import broker
from headrace.jobs.machine.processes import Process, Supervisor
from headrace.jobs.replay import replay
from headrace.jobs.transport import Reader
from headrace.operators.engines.flink import Kafka
from headrace.operators.view import END, View
from headrace.pipelines.load import load
from headrace.pipelines.pipeline import Pipeline

__all__ = ["Bench", "Case", "dense", "run"]

DAYS = 60
PANES, EVENTS_A_PANE, USERS, ITEMS = 1500, 1000, 20_000, 50
_DEADLINE_SECONDS = 240.0
_HOUR_MS = 3_600_000
_DENSE_STARTS = 1_356_998_400_000
# What a bounded job waits for at its end would otherwise be up to one interval of checkpoints.
_SETTINGS = {"execution.checkpointing.checkpoints-after-tasks-finish.enabled": "false"}
_ONE_PHASE = {"table.optimizer.agg-phase-strategy": "ONE_PHASE"}


@dataclass(frozen=True)
class Bounded(Kafka):
    """Tables that end where the log ends now; `empty` ones begin there, too."""

    empty: bool = False

    def reading(self, topic: str, idle_ms: int) -> str:
        """Print the WITH clause of a table that is read up to its present end."""
        clause = super().reading(topic, idle_ms)
        clause = clause.replace("'properties.auto.offset.reset' = 'none', ", "")
        start = "'latest-offset'" if self.empty else "'earliest-offset'"
        clause = clause.replace("'group-offsets'", start)
        return clause.replace("WITH (", "WITH ('scan.bounded.mode' = 'latest-offset', ", 1)


@dataclass(frozen=True)
class Case:
    """A log, the pipeline over it, and the same pipeline by hand."""

    pipeline: Pipeline
    by_hand: Job
    log: Iterable[list[Message]]
    beat_ms: int


class Bench:
    """Runs forms of one case's job on one broker, each into topics of its own."""

    def __init__(self, case: Case, bootstrap: str, folder: Path) -> None:
        self._case = case
        self._bootstrap = bootstrap
        self._folder = folder
        self._runs = 0
        self._tiles: dict[str, pa.Table] | None = None
        self.last = case.pipeline
        """The pipeline as the last run named it."""
        sources = case.pipeline.sources.values()
        transport.create_topics(bootstrap, assembly.source_topics(case.pipeline))
        replay(
            case.log,
            bootstrap=bootstrap,
            partitions={source.topic: source.partitions for source in sources},
            beat_ms=case.beat_ms,
            rest_ms=case.pipeline.every_ms,
        )
        ends = transport.ends(bootstrap, [source.topic for source in sources])
        self.events = sum(ends.values())

    @property
    def tiles(self) -> Mapping[str, pa.Table]:
        """Give the tiles of every view, once a run has read the log."""
        return self._tiles or {}

    def run(self, form: str, *, empty: bool = False, parallelism: int = 1) -> dict[str, float]:
        """Run one form; its first run that reads the log must give the tiles of the others."""
        self._runs += 1
        pipeline = self.last = replace(self._case.pipeline, name=f"run{self._runs}")
        transport.create_topics(self._bootstrap, assembly.topics(pipeline))
        settings = {**_SETTINGS, "parallelism.default": str(parallelism)}
        if form == "ours":
            made, inserts = views.sql(
                pipeline, Bounded(self._bootstrap, pipeline.name, empty=empty)
            )
        else:
            settings |= _ONE_PHASE if form == "tvf_one_phase" else {}
            made, inserts = statements(
                self._case.by_hand,
                pipeline,
                bootstrap=self._bootstrap,
                functions=form.startswith("tvf"),
                empty=empty,
            )
        took = self._process(pipeline.name, made, inserts, settings)
        if not empty:
            self._check(form, pipeline)
        say(f"   {form}{' (empty)' * empty}: cpu {took['cpu']:.1f} s, wall {took['wall']:.1f} s")
        return took

    def _process(
        self, name: str, made: list[str], inserts: list[str], settings: Mapping[str, str]
    ) -> dict[str, float]:
        folder = self._folder / name
        folder.mkdir()
        task, result = folder / "task.json", folder / "result.json"
        told = {"name": name, "statements": made, "inserts": inserts, "settings": settings}
        task.write_bytes(orjson.dumps({**told, "folder": str(folder)}))
        script = Path(__file__).with_name("flink_job.py")
        argv = [sys.executable, str(script), str(task), str(result)]
        with Supervisor() as supervisor:
            supervisor.start(Process("job", argv, folder / "log", finishes=True))
            supervisor.wait_finished("job", deadline_seconds=_DEADLINE_SECONDS)
        took: dict[str, float] = orjson.loads(result.read_bytes())
        return took

    def _check(self, form: str, pipeline: Pipeline) -> None:
        tiles = {
            name: _tiles(self._bootstrap, pipeline.view_topic(view), view)
            for name, view in pipeline.views.items()
        }
        if self._tiles is None:
            self._tiles = tiles
        same = all(tiles[name].equals(table) for name, table in self._tiles.items())
        count = sum(table.num_rows for table in tiles.values())
        equal(f"{form}, {count} tiles", same and count > 0)


def _tiles(bootstrap: str, topic: str, view: View) -> pa.Table:
    """Read a view's topic, in order of key and end."""
    end = transport.ends(bootstrap, [topic])[topic, 0]
    messages: list[bytes] = []
    with Reader(bootstrap, {(topic, 0): 0}) as reader:
        while len(messages) < end:
            for some in reader.poll(1_000).values():
                messages += [message.value for message in some if message.value is not None]
    panes = read_tiles(view, messages, 0)
    if panes is None:
        return pa.table({})
    order = [(name, "ascending") for name in (*view.key, END)]
    return panes.items.sort_by(order).combine_chunks()


def dense(users: int = USERS) -> Iterator[list[Message]]:
    """Make events of a thousand a second, in order, with a seed."""
    rng = np.random.default_rng(20130101)
    for pane in range(PANES):
        start = _DENSE_STARTS + pane * 1_000
        columns = (
            np.sort(rng.integers(0, 1_000, EVENTS_A_PANE)) + start,
            rng.integers(0, users, EVENTS_A_PANE),
            rng.integers(0, ITEMS, EVENTS_A_PANE),
            rng.integers(0, 10_000, EVENTS_A_PANE),
        )
        yield [
            Message(
                "action",
                b"%d" % user,
                b'{"at":%d,"user":"u%d","item":"i%d","value":%d}' % (at, user, item, value),
                at,
            )
            for at, user, item, value in zip(*(c.tolist() for c in columns), strict=True)
        ]


FORMS = ("ours", "tvf_two_phase", "tvf_one_phase", "group")
PAIRS = (
    ("ours", "tvf_two_phase"),
    ("ours", "tvf_one_phase"),
    ("ours", "group"),  # what the checks, the dead letters and the late rows cost
    ("group", "tvf_two_phase"),  # the form of the window, all else being equal
    ("group", "tvf_one_phase"),
)


def _cases() -> dict[str, Case]:
    pipeline = load(Path(__file__).with_name("dense.yaml"))
    return {
        "sparse": Case(load(REFERENCE), FLIGHTS, flights.messages(DAYS), _HOUR_MS),
        "dense": Case(pipeline, DENSE, dense(), 10_000),
    }


def _measure(name: str, case: Case, rounds: int) -> dict[str, Any]:
    """Measure one case, every form in turn."""
    with (
        tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder,
        broker.running(Path(folder) / "broker") as kafka,
    ):
        bench = Bench(case, kafka.address, Path(folder))
        say(f"   {name}: {bench.events} messages")
        idle = {form: bench.run(form, empty=True) for form in FORMS}
        found = alternate({form: partial(bench.run, form) for form in FORMS}, rounds)
    ratios: dict[str, dict[str, Ratio]] = {}
    for one, other in PAIRS:
        pair = ratios[f"{one} / {other}"] = {
            what: Ratio.of(*([took[what] for took in found[form]] for form in (one, other)))
            for what in ("cpu", "wall")
        }
        pair["net_cpu"] = Ratio.of(
            *([took["cpu"] - idle[form]["cpu"] for took in found[form]] for form in (one, other))
        )
        told = ", ".join(f"{what} {ratio}" for what, ratio in pair.items())
        say(f"   {name}, {one} / {other}: {told}")
    return {
        "messages": bench.events,
        "ratios": ratios,
        "seconds": found,
        "seconds_of_an_empty_log": idle,
    }


def run(rounds: int) -> list[str]:
    """Measure sparse and dense panes; give a line for each."""
    results = {name: _measure(name, case, rounds) for name, case in _cases().items()}
    store("views", rounds=rounds, **results)
    lines = []
    for name, result in results.items():
        ratios = result["ratios"]
        told = "; ".join(
            f"{pair} {ratio['cpu']}, net of the start {ratio['net_cpu']}"
            for pair, ratio in ratios.items()
        )
        lines.append(f"{name} panes, CPU of the JVM: {told}")
    return lines
