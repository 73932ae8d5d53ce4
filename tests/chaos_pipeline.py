"""Kills over a whole pipeline: `headrace up` on days of flights, every process of it killed.

::

    flights ─► sent as far as kills are done ─► broker, views, labels, store, learner ◄─ SIGKILL
                                        fork server, with what it forked; supervisor: `up` again
    undisturbed ─► tables, weights, scores ─┐
    disturbed   ─► tables, weights, scores ─┴─► the same, to the bit

A kill is of one process or of several at once, at a random moment or at a named point that is seen
from outside: as it starts, as a checkpoint or a version is being written. After some of them the
way back is waited for and timed; some of these begin when all else is back. `up` gives a process up
that ends five times within a minute, so no more than four kills of one are in any minute of one
`up`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from headrace.feature_store.catalogue import Catalogue
from headrace.feature_store.export import digests
from headrace.jobs import transport
from headrace.jobs.claims import claimed
from headrace.jobs.demo import flights
from headrace.jobs.demo.demonstration import PIPELINE
from headrace.jobs.lifecycle.sending import caught_up
from headrace.jobs.machine.local import PROCESSES
from headrace.jobs.machine.state import read_json
from headrace.jobs.machine.waiting import wait_until
from headrace.jobs.replay import Event, beat, replay
from headrace.jobs.roles import rest_ms
from headrace.jobs.serving.client import Client
from headrace.jobs.source_rows import read_log
from headrace.jobs.transport import Writer
from headrace.operators.errors import HeadraceError
from headrace.pipelines.load import load

__all__ = ["run"]

DAYS = 1
KINDS = {
    "store": 6,
    "learner": 6,
    "views": 3,
    "labels": 3,
    "broker": 2,
    "forks": 1,
    "supervisor": 1,
}
"""What is killed, and how often beside the others."""
_FORKED = ("store", "learner", "views", "labels")
"""What goes with the fork server."""
POINTS = ("anywhere", "as it starts", "as a checkpoint is written", "as a version is written")
_AT_ONCE = 0.15
_ALONE = 0.04
_WAITED = 0.06
_IN_A_MINUTE = 4
_LONGEST_SECONDS = 240.0
_LOOK_SECONDS = 0.05
_HOUR_MS = 3_600_000
_SERVED = "SELECT * EXCLUDE (p, version) FROM predictions ORDER BY seq"
"""Which version was live is no function of the log, and should not be."""
_WINDOWS = """
    SELECT "at", name, slice_of, slice, value FROM metrics
    WHERE name IN ('window.n', 'window.positives') OR starts_with(name, 'window.prequential.')
    ORDER BY ALL
"""


@dataclass
class Flow:
    """A pipeline that runs as a process of its own, and the events that are sent to it."""

    state: Path
    days: int
    share: Callable[[], float]
    """How much of the events may be sent by now, from 0 to 1."""
    seen: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _ended: threading.Event = field(default_factory=threading.Event)
    _renewed: threading.Event = field(default_factory=threading.Event)
    last: int | None = None

    def __post_init__(self) -> None:
        self.pipeline = load(PIPELINE)
        self.client = Client(self.state / "store" / "address.json")
        self.up: subprocess.Popen[bytes] = self._start()
        self._thread = threading.Thread(target=self._send, name="flights", daemon=True)
        self._thread.start()

    def _start(self) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-m", "headrace.jobs.cli.main", "up", str(PIPELINE)]
        with self.state.with_suffix(".log").open("ab") as log:
            return subprocess.Popen(
                [*argv, "--state", str(self.state), "--json"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )

    def again(self) -> None:
        """Start it again after its supervisor was killed."""
        self.up.kill()
        self.up.wait()
        (self.state / "running.json").unlink(missing_ok=True)
        self.up = self._start()
        self._renewed.set()

    def address(self) -> str | None:
        """Give the broker's address, once it is said."""
        with contextlib.suppress(HeadraceError, OSError, KeyError):
            return str(read_json(self.state / "running.json")["kafka"])
        return None

    def processes(self) -> Mapping[str, Any]:
        """Give what the supervisor says of each process."""
        with contextlib.suppress(HeadraceError, OSError):
            found: Mapping[str, Any] = read_json(self.state / PROCESSES)
            return found
        return {}

    def pid(self, kind: str) -> int | None:
        """Give the process id of a kind while it runs."""
        if kind == "supervisor":
            return self.up.pid
        if kind == "forks":
            store = self.pid("store")
            return None if store is None else _parent(store)
        told = self.processes().get(kind)
        return told["pid"] if told and told["state"] == "running" else None

    def check(self) -> None:
        """Fail where the supervisor has ended of itself."""
        assert self.up.poll() is None, self.state.with_suffix(".log").read_text()[-3000:]

    def _send(self) -> None:
        """Send the flights, and then the last beat again and again, whatever breaks meanwhile."""
        topics = {source.topic: source.partitions for source in self.pipeline.sources.values()}
        while not self._ended.is_set():
            with contextlib.suppress(HeadraceError, _Renewed):
                address = self.address()
                if address is None:
                    self._ended.wait(_LOOK_SECONDS)
                    continue
                self._renewed.clear()
                if self.last is None:
                    self.last = replay(
                        self._paced(),
                        bootstrap=address,
                        partitions=topics,
                        beat_ms=_HOUR_MS,
                        rest_ms=rest_ms(self.pipeline),
                    )
                with Writer(address, delivery_seconds=20.0) as writer:
                    while not self._ended.wait(2.0) and not self._renewed.is_set():
                        beat(writer, topics, self.last)

    def _paced(self) -> Iterator[Sequence[Event]]:
        batches = list(flights.messages(self.days, size=64))
        for number, batch in enumerate(batches):
            while self.share() < number / len(batches):
                if self._ended.wait(_LOOK_SECONDS) or self._renewed.is_set():
                    raise _Renewed
            yield batch

    def follow(self) -> None:
        """Wait until all is sent, predicted, labelled and learned."""

        def done() -> bool:
            self.check()
            if self.last is None or not self.client.healthy():
                return False
            with contextlib.suppress(HeadraceError):
                end = self.last - rest_ms(self.pipeline) + self.pipeline.every_ms
                return caught_up(self.pipeline, self.client.status(), end)
            return False

        wait_until(done, 600.0, "the end of the flights", every_seconds=0.5)

    def back(self, kind: str, since: float, before: Any) -> bool:
        """Say whether a kind does its work again that was killed at `since`."""
        self.check()
        address = self.address()
        if kind in ("views", "labels"):
            found = (self.state / kind / "checkpoints").glob("*/*/chk-*/_metadata")
            return any(_modified(path) > since for path in found)
        if kind == "learner":
            with contextlib.suppress(HeadraceError):
                return address is not None and self._claim(address) not in (None, before)
            return False
        if kind == "broker":
            return self.pid(kind) not in (None, before) and _answers(address)
        pid = self.pid("store")
        return pid not in (None, before) and self.client.healthy()

    def mark(self, kind: str) -> Any:
        """Say what is to be another, when a kind is back."""
        if kind == "learner":
            with contextlib.suppress(HeadraceError):
                address = self.address()
                return self._claim(address) if address else None
            return None
        return self.pid("store" if kind in ("supervisor", "forks") else kind)

    def _claim(self, address: str) -> Any:
        return claimed(address, self.pipeline.claims_topic).get("learner")

    def answer(self) -> dict[str, str]:
        """End it, and give what it came to."""
        address = self.address()
        assert address is not None
        rows = read_log(address, self.pipeline.predictions_topic)["payload"].to_pylist()
        numbers = [row["seq"] for row in map(orjson.loads, filter(None, rows)) if "id" in row]
        scores = self.client.status()["metrics"]
        windows = self.client.sql(_WINDOWS).to_pylist()
        served = self.client.sql(_SERVED).to_pylist()
        self.close()
        doubled = numbers != list(range(len(served)))
        found = {
            "predictions in the topic": f"{len(numbers)}{' LOST OR DOUBLED' if doubled else ''}",
            "predictions": f"{len(served)}, {_hash(served)}",
            "windows": _hash(windows),
            "scores": _hash({n: scores[n] for n in sorted(scores) if n.startswith("prequential")}),
        }
        catalogue = Catalogue(self.state / "store" / "store.duckdb")
        (self.state / "digests").mkdir()
        for each in digests(catalogue, self.state / "digests"):
            if each.table.startswith(("tiles.", "rows.")) or each.table in _TABLES:
                found[each.table] = f"{each.rows} rows, {each.sha256}"
        catalogue.close()
        for path in sorted((self.state / "learner" / "versions").glob("v*/weights.safetensors")):
            found[path.parent.name] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found

    def close(self) -> None:
        """End everything."""
        self._ended.set()
        self._thread.join()
        self.client.close()
        if self.up.poll() is None:
            self.up.send_signal(signal.SIGINT)
            try:
                self.up.wait(120)
            except subprocess.TimeoutExpired:
                self.up.kill()
        self.up.wait()


_TABLES = ("decisions", "examples", "dead_letters", "late_rows")


class _Renewed(Exception):
    """The broker may be at another address."""


def _hash(of: Any) -> str:
    return hashlib.sha256(orjson.dumps(of, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _modified(path: Path) -> float:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime
    return 0.0


def _answers(address: str | None) -> bool:
    with contextlib.suppress(HeadraceError):
        return address is not None and bool(transport.topics(address, connect_seconds=0.2))
    return False


def _parent(pid: int) -> int | None:
    """Give the fork server that a process is of."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return None


def _children(pid: int) -> list[int]:
    """List what a process started, as the JVM of a Flink job."""
    with contextlib.suppress(OSError):
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        direct = [int(each) for each in text.split()]
        return [below for child in direct for below in (child, *_children(child))]
    return []


@dataclass
class Chaos:
    """Kills what runs, until it has killed so often; knows how long each kind took to be back."""

    count: int
    dice: random.Random
    kills: Counter[str] = field(default_factory=Counter)
    points: Counter[str] = field(default_factory=Counter)
    longest: dict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))
    """Until a kind was back, in seconds: killed alone, with all else at work, or amid others."""
    pause: threading.Event = field(default_factory=threading.Event)
    """Never set: the moment of a kill is what is tried."""
    _killed: dict[str, tuple[float, Any]] = field(default_factory=dict)
    """When a kind was killed last, and what is to be another when it is back."""
    _lately: dict[str, deque[float]] = field(default_factory=lambda: defaultdict(deque))

    @property
    def share(self) -> float:
        """How much of all kills is done; a little more, so that there is work from the start."""
        return min(1.0, self.kills.total() / self.count + 0.02)

    def go_on(self, flow: Flow) -> None:
        """Kill once: one process or several, at some point; time the way back sometimes."""
        alone = self.dice.random() < _ALONE
        if alone:
            self._settle(flow)
        kinds = self._chosen()[: 1 if alone else None]
        point = self.dice.choice(POINTS)
        self._come_to(flow, point, kinds[0])
        at = time.time()
        for kind in kinds:
            self._killed[kind] = at, flow.mark(kind)
        for kind in kinds:
            self._kill(flow, kind, at)
        self.points[point] += 1
        if "supervisor" in kinds:
            self._lately.clear()
            flow.again()
        if alone or self.dice.random() < _WAITED:
            self._back(flow, kinds[0])
            how, took = "alone" if alone else "amid others", time.time() - at
            longest = self.longest[how]
            longest[kinds[0]] = max(longest.get(kinds[0], 0.0), took)
            sys.stderr.write(f"{kinds[0]}, killed {how}, is back after {took:.1f} s\n")
        else:
            self.pause.wait(self.dice.random() * 2.0)

    def _settle(self, flow: Flow) -> None:
        """Wait until nothing is on its way back."""
        for kind in self._killed:
            self._back(flow, kind)

    def _back(self, flow: Flow, kind: str) -> None:
        at, before = self._killed[kind]
        wait_until(
            lambda: flow.back(kind, at, before),
            _LONGEST_SECONDS,
            f"{kind} to be back",
            every_seconds=_LOOK_SECONDS,
        )

    def _chosen(self) -> list[str]:
        now = time.time()
        for lately in self._lately.values():
            while lately and now - lately[0] > 75.0:
                lately.popleft()
        free = [
            kind
            for kind in KINDS
            if all(len(self._lately[each]) < _IN_A_MINUTE for each in _with(kind))
        ]
        several = self.dice.randint(2, 4) if self.dice.random() < _AT_ONCE else 1
        chosen: list[str] = []
        while free and len(chosen) < several:
            kind = self.dice.choices(free, [KINDS[each] for each in free])[0]
            free.remove(kind)
            chosen.append(kind)
        return sorted(chosen, key=lambda kind: kind == "supervisor") or ["supervisor"]

    def _come_to(self, flow: Flow, point: str, kind: str) -> None:
        """Wait for a point, if it comes soon."""
        started, pid = time.time(), flow.pid(kind)
        looks: dict[str, Callable[[], bool]] = {
            "as it starts": lambda: flow.pid(kind) not in (None, pid),
            "as a checkpoint is written": lambda: _fresh(flow, "*/checkpoints/*/*/chk-*", started),
            "as a version is written": lambda: _fresh(flow, "learner/versions/*", started),
        }
        if point in looks:
            until = started + 1.5
            while time.time() < until and not looks[point]():
                self.pause.wait(0.002)

    def _kill(self, flow: Flow, kind: str, at: float) -> None:
        pid = flow.pid(kind)
        if pid is None:  # it is being started again
            return
        whole = [pid, *(_children(pid) if kind in ("views", "labels") else ())]
        if len(whole) > 1 and self.dice.random() < 0.6:
            whole = self.dice.choice((whole[:1], whole[1:]))  # Python alone, or the JVM alone
        killed = False
        for each in whole:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
                killed = True
        if killed:
            self.kills[kind] += 1
            sys.stderr.write(f"{time.time():.1f} {self.kills.total()} of {self.count}: {kind}\n")
            for each in _with(kind):
                self._lately[each].append(at)


def _with(kind: str) -> Sequence[str]:
    """Name what a kill of a kind ends."""
    return _FORKED if kind == "forks" else (kind,)


def _fresh(flow: Flow, pattern: str, since: float) -> bool:
    return any(_modified(path) > since for path in flow.state.glob(pattern))


def run(count: int, seed: int, folder: Path) -> tuple[int, list[str], str]:
    """Kill `count` times while the flights flow; give how many, what is wrong, and the details."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # ends what it started
    calm = Flow(folder / "calm", DAYS, lambda: 1.0)
    try:
        calm.follow()
        truth = calm.answer()
    finally:
        calm.close()
    chaos = Chaos(count, random.Random(seed))  # noqa: S311 - no secret
    torn = Flow(folder / "torn", DAYS, lambda: chaos.share)
    try:
        wait_until(torn.client.healthy, 120.0, "the start", every_seconds=0.2)
        while chaos.kills.total() < count:
            torn.check()
            chaos.go_on(torn)
        torn.follow()
        found = torn.answer()
    finally:
        torn.close()
    names = sorted({*truth, *found})
    wrong = [
        f"{name}: {found.get(name)}, undisturbed {truth.get(name)}"
        for name in names
        if found.get(name) != truth.get(name)
    ]
    wrong += [f"{name}: {found[name]}" for name in names if "LOST" in found.get(name, "")]
    where = ", ".join(f"{kind} {chaos.kills[kind]}" for kind in KINDS)
    points = ", ".join(f"{point} {times}" for point, times in chaos.points.items())
    back = "; ".join(
        f"longest until back, killed {how}: "
        + ", ".join(f"{kind} {longest[kind]:.1f} s" for kind in KINDS if kind in longest)
        for how, longest in chaos.longest.items()
    )
    return chaos.kills.total(), wrong, f"{where}; {points}; {back}"
