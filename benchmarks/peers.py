"""The views job against the same tiles in other stream processors for Python, on one log.

::

    events of two keys, 1000 a second ─► a broker ─┬─► ours      Flink SQL, checked, dead letters
                                                   ├─► bytewax   fold_window
                                                   └─► quix      tumbling_window().reduce()

Every one gives count, sum, minimum and maximum of each key and second, as messages of a topic; they
are compared first. A peer has one worker in an environment of its own (`environment.py`), keeps
nothing for a recovery and checks nothing; ours has a parallelism of 1 and does all it always does.
Each run is a process of its own; `net` is without what a run over an empty log takes. CPU is told
beside wall time, for the JVM compiles and collects beside its one worker.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from benchmarks.by_hand import DENSE
from benchmarks.environment import python_of, versions_of
from benchmarks.measure import Ratio, alternate, equal, say, store
from benchmarks.views import Bench, Case
from headrace.jobs import broker, transport
from headrace.jobs.flights import Message
from headrace.jobs.processes import Process, Supervisor
from headrace.jobs.replay import replay
from headrace.jobs.transport import Reader, Topic
from headrace.operators.view import END
from headrace.pipelines.load import load

__all__ = ["run"]

EVENTS = {"bytewax": 20_000, "quix": 5_000}
"""What a peer is given: a run of the slower one is to end within two minutes, too."""
_A_SECOND, _USERS, _ITEMS, _LAST = 1_000, 20_000, 50, "last"
_STARTS = 1_356_998_400_000
_DEADLINE_SECONDS = 400.0
_NUMBERS = ("rows", "sum_value", "min_value", "max_value")
_WHAT = ("wall", "cpu", "net_wall", "net_cpu")
Took = dict[str, float]


def _events(count: int) -> Iterator[list[Message]]:
    """Make events in order, keyed by user, with a seed; two seconds later a last one."""
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
    yield [_event(_STARTS + count // _A_SECOND * 1_000 + 2_000, _LAST, _LAST, 0)]


def _event(at: int, user: str, item: str, value: int) -> Message:
    said = orjson.dumps({"at": at, "user": user, "item": item, "value": value})
    return Message("action", user.encode(), said, at)


@dataclass
class Peer:
    """A peer's job on the log of a bench, each run into topics of its own."""

    name: str
    bootstrap: str
    folder: Path
    python: Path
    keys: tuple[str, ...] = ("user", "item")
    runs: int = 0

    def run(self, log: str) -> Took:
        """Run it to the end of a log."""
        self.runs += 1
        name = f"{self.name}{self.runs}"
        folder = self.folder / name
        folder.mkdir()
        views = [(key, f"{name}.{key}") for key in self.keys]
        transport.create_topics(self.bootstrap, [Topic(topic, 1) for _, topic in views])
        task, result = folder / "task.json", folder / "result.json"
        told = {"name": name, "bootstrap": self.bootstrap, "topic": log, "views": views}
        task.write_bytes(orjson.dumps({**told, "step_ms": 1_000, "last": _LAST}))
        here = Path(__file__).parent
        argv = [self.python, here / "peer_job.py", here / f"peer_{self.name}.py", task, result]
        with Supervisor() as supervisor:
            supervisor.start(Process("peer", list(map(str, argv)), folder / "log", finishes=True))
            supervisor.wait_finished("peer", deadline_seconds=_DEADLINE_SECONDS)
        took: Took = orjson.loads(result.read_bytes())
        say(f"   {self.name}, {log}: cpu {took['cpu']:.1f} s, wall {took['wall']:.1f} s")
        return took

    def tiles(self) -> dict[str, list[tuple[Any, ...]]]:
        """Read the tiles of the last run, in order."""
        return {key: self._read(f"{self.name}{self.runs}.{key}") for key in self.keys}

    def _read(self, topic: str) -> list[tuple[Any, ...]]:
        end = transport.ends(self.bootstrap, [topic])[topic, 0]
        rows: list[tuple[Any, ...]] = []
        with Reader(self.bootstrap, {(topic, 0): 0}) as reader:
            while len(rows) < end:
                for some in reader.poll(1_000).values():
                    rows += [tuple(orjson.loads(message.value or b"")) for message in some]
        return sorted(row for row in rows if row[0] != _LAST)


def _ours(tiles: pa.Table, key: str) -> list[tuple[Any, ...]]:
    columns = [tiles[name].to_pylist() for name in (key, END, *_NUMBERS)]
    return sorted(row for row in zip(*columns, strict=True) if row[0] != _LAST)


def _measure(name: str, rounds: int) -> dict[str, Any]:
    python = python_of(name)
    pipeline = load(Path(__file__).with_name("peers.yaml"))
    with (
        tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder,
        broker.running(Path(folder) / "broker") as kafka,
    ):
        case = Case(pipeline, DENSE, _events(EVENTS[name]), 10_000)
        bench = Bench(case, kafka.address, Path(folder))
        transport.create_topics(kafka.address, [Topic("empty", 1)])
        last = [[event._replace(topic="empty") for event in each] for each in _events(0)]
        replay(last, bootstrap=kafka.address, partitions={"empty": 1}, beat_ms=1_000, rest_ms=1_000)
        peer = Peer(name, kafka.address, Path(folder), python)
        idle = {"ours": bench.run("ours", empty=True), name: peer.run("empty")}
        forms = {"ours": partial(bench.run, "ours"), name: partial(peer.run, "action")}
        found = alternate(forms, rounds)
        tiles = peer.tiles()
        ours = {key: _ours(bench.tiles[f"by_{key}"], key) for key in tiles}
        equal(f"{name}, {sum(map(len, ours.values()))} tiles", ours == tiles)
    for form, rows in found.items():
        for took in rows:
            took |= {f"net_{what}": took[what] - idle[form][what] for what in ("wall", "cpu")}
    return {"events": EVENTS[name], "seconds": found, "seconds_of_an_empty_log": idle}


def run(rounds: int) -> list[str]:
    """Measure against each peer; give a line for each."""
    results: dict[str, Any] = {}
    lines = []
    for name in EVENTS:
        result = _measure(name, rounds)
        found = result["seconds"]
        ratios = {
            what: Ratio.of(*([took[what] for took in found[form]] for form in (name, "ours")))
            for what in _WHAT
        }
        rates = {
            form: round(result["events"] / min(took["net_cpu"] for took in rows))
            for form, rows in found.items()
        }
        said = {"ratios_peer_to_ours": ratios, "events_per_cpu_second": rates}
        results[name] = {"versions": versions_of(name), **said, **result}
        told = ", ".join(f"{what} {ratio}" for what, ratio in ratios.items())
        lines.append(f"{name} / ours on {result['events']} events: {told}")
        say(f"   {lines[-1]}")
    store("peers", rounds=rounds, **results)
    return lines
