"""Kills: a store process on a real broker, ended by SIGKILL at named and random points.

A life arms one point: the n-th time that the process comes by, or a moment of a clock that begins
there, it is killed. At the end one life goes through, and everything is compared with the run that
nobody disturbed.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson

from headrace.feature_store import catalogue, export, upkeep
from headrace.jobs import assembly, store
from headrace.jobs.evolve.rebuild import rebuild
from headrace.jobs.source_rows import read_log
from headrace.jobs.store import StoreProcess
from headrace.jobs.transport import Writer, create_topics
from headrace.pipelines.pipeline import Pipeline
from tests.chaos_fork import Ended, forked, kill, lived, within
from tests.chaos_log import Sent, drain, messages, named, publish, state_of, topic_of

__all__ = ["POINTS", "run"]

_PANES_A_KILL = 6


class _Wired:
    """A DuckDB connection that says each statement, before and after it is run."""

    def __init__(self, connection: Any, before: Callable[[str], None], after: Any) -> None:
        self._connection, self._before, self._after = connection, before, after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, statement: str, *more: Any) -> Any:
        """Run a statement."""
        self._before(statement)
        result = self._connection.execute(statement, *more)
        self._after(statement)
        return result


def _nothing(_: str) -> None:
    pass


def _at(word: str, act: Callable[[], None], nth: int) -> Callable[[str], None]:
    seen = Counter[str]()

    def look(statement: str) -> None:
        seen[word] += statement.startswith(word)
        if seen[word] == nth and statement.startswith(word):
            act()

    return look


def _statement(
    word: str, *, after: bool = False, within_ms: float = 0.0
) -> Callable[[StoreProcess, random.Random], None]:
    """Arm a point before a statement, after it, or within the time that it takes."""

    def arm(process: StoreProcess, dice: random.Random) -> None:
        act = (lambda: within(dice, within_ms)) if within_ms else kill
        look = _at(word, act, dice.randint(1, 4))
        wired = _Wired(
            process.store.catalogue._connection,
            _nothing if after else look,
            look if after else _nothing,
        )
        process.store.catalogue._connection = wired  # type: ignore[assignment]  # a stand-in

    return arm


def _sending(process: StoreProcess, dice: random.Random) -> None:
    """Arm the n-th message that is published."""
    send, left = process._writer.send, dice.randint(0, 30)

    def sends(*given: Any, **more: Any) -> None:
        nonlocal left
        if left == 0:
            process._writer.flush()  # what was sent may be in the log, or not: here it is
            kill()
        left -= 1
        send(*given, **more)

    process._writer.send = sends  # type: ignore[method-assign]  # a stand-in


def _flushing(process: StoreProcess, dice: random.Random) -> None:
    """Arm the n-th flush: what was sent is on its way."""
    flush, left = process._writer.flush, dice.randint(1, 6)

    def flushes(*given: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            within(dice, 3)
        flush(*given)

    process._writer.flush = flushes  # type: ignore[method-assign, assignment]  # a stand-in


def _checkpoint(process: StoreProcess, dice: random.Random) -> None:
    for _ in range(dice.randint(1, 5)):
        process.step()
    within(dice, 8)
    process.store.catalogue.checkpoint()


def _anywhere(_: StoreProcess, dice: random.Random) -> None:
    within(dice, 400)


POINTS: dict[str, Callable[[StoreProcess, random.Random], None]] = {
    "before BEGIN": _statement("BEGIN"),
    "after an append": _statement("INSERT", after=True),
    "after the offsets": _statement("UPDATE offsets", after=True),
    "before COMMIT": _statement("COMMIT"),
    "in COMMIT": _statement("COMMIT", within_ms=3),
    "after COMMIT, before publishing": _statement("COMMIT", after=True),
    "mid publish": _sending,
    "in the flush": _flushing,
    "in CHECKPOINT": _checkpoint,
    "anywhere": _anywhere,
}
"""In a running process; `_offline` has those of the commands."""


class Target:
    """A pipeline on a broker, with the folder of its store process."""

    def __init__(self, pipeline: Pipeline, bootstrap: str, folder: Path) -> None:
        self.pipeline, self.bootstrap, self.folder = pipeline, bootstrap, folder
        folder.mkdir()
        topics = [*assembly.topics(pipeline), *assembly.source_topics(pipeline)]
        create_topics(bootstrap, topics)
        publish(folder / "models", pipeline, 1)

    def write(self, sent: Sequence[Sent]) -> None:
        """Write the log."""
        with Writer(self.bootstrap) as writer:
            for each in sent:
                topic = topic_of(self.pipeline, each)
                writer.send(topic, each.value, partition=each.partition, headers=each.headers)

    def process(self) -> StoreProcess:
        """Start the store process."""
        models = self.folder / "models"
        return StoreProcess(
            self.pipeline, bootstrap=self.bootstrap, folder=self.folder, models=models
        )

    def rebuild(self) -> list[str]:
        """Rebuild the file; name the tables that are not as they were."""
        made = rebuild(
            self.pipeline,
            bootstrap=self.bootstrap,
            folder=self.folder,
            models=self.folder / "models",
        )
        return [each.table for each in made if not each.same]

    def published(self) -> list[dict[str, Any]]:
        """Read the predictions in their topic."""
        messages = read_log(self.bootstrap, self.pipeline.predictions_topic)
        rows = [orjson.loads(value) for value in messages["payload"].to_pylist() if value]
        return [row for row in rows if "id" in row]


def _live(target: Target, point: str, seed: int) -> str:
    dice = random.Random(seed)  # noqa: S311 - no secret
    store._POLL_MESSAGES = dice.choice((5, 20, 60))
    if point == "while it opens":
        within(dice, 300)
    process = target.process()
    if point in POINTS:
        POINTS[point](process, dice)
    drain(process)
    process.close()
    return "went through"


def _offline(target: Target, point: str, seed: int) -> str:
    """Run a command on the file, killed at a moment or at one of its syncs."""
    dice = random.Random(seed)  # noqa: S311 - no secret
    path = target.folder / "store.duckdb"
    left = dice.randint(1, 4)

    def synced(_: Path) -> None:
        nonlocal left
        left -= 1
        if not left:
            kill()

    if dice.random() < 0.5:
        for module in (export, upkeep):
            module.synced = synced  # type: ignore[attr-defined]  # a stand-in
    else:
        within(dice, 800 if point == "in rebuild" else 250)
    if point == "in compaction":
        upkeep.compact(path)
    elif point == "in rebuild":
        target.rebuild()
    else:
        export.export(catalogue.Catalogue(path), target.folder / f"export-{seed}")
    return "went through"


_OFFLINE = ("in export", "in compaction", "in rebuild")


def _wrong(target: Target, calm: Target, truth: dict[str, str]) -> list[str]:
    """Let a life go through; say all that is not as it would be without the kills."""
    process = target.process()
    drain(process)
    found = state_of(process)
    wrong = [f"{name}: {found.get(name)}, undisturbed {truth[name]}" for name in truth]
    wrong = [
        line for line, name in zip(wrong, truth, strict=True) if found.get(name) != truth[name]
    ]
    kept = process.store.catalogue.read("SELECT seq, id, p, version FROM predictions ORDER BY seq")
    process.close()
    names = ("seq", "id", "p", "version")
    said = [{name: row[name] for name in names} for row in target.published()]
    if said != kept.to_pylist() or not said:
        wrong.append(f"{len(said)} predictions in the topic, {kept.num_rows} in the table")
    if [row["x"] for row in target.published()] != [row["x"] for row in calm.published()]:
        wrong.append("the inputs in the topic are not those of the undisturbed run")
    for folder in target.folder.glob("export-*"):
        wrong += [f"{folder.name}: {problem}" for problem in export.check(folder)]
    path = target.folder / "store.duckdb"
    wrong += [str(problem) for problem in upkeep.check(path)]
    upkeep.compact(path)
    wrong += [f"{table} is not as it was after a rebuild" for table in target.rebuild()]
    return wrong


def run(count: int, seed: int, bootstrap: str, folder: Path) -> tuple[int, list[str], str]:
    """Kill `count` times; give how many kills there were, what is wrong, and where they were."""
    dice = random.Random(seed)  # noqa: S311 - no secret
    sent = list(messages(_PANES_A_KILL * count, seed))
    calm = Target(named(folder, f"calm{seed}"), bootstrap, folder / "calm")
    target = Target(named(folder, f"torn{seed}"), bootstrap, folder / "torn")
    calm.write([each for each in sent if each.topic.startswith("raw.")])
    for each in (calm, target):
        each.write([each for each in sent if not each.topic.startswith("raw.")])
    process = calm.process()
    drain(process)
    truth = state_of(process)
    process.close()
    points = [*POINTS, "while it opens", *_OFFLINE]
    kills, wrong = lived(count, points, dice, lambda point, seed: _end(target, point, seed))
    wrong += _wrong(target, calm, truth)
    where = ", ".join(f"{point} {kills[point]}" for point in points)
    return kills.total(), wrong, where


def _end(target: Target, point: str, seed: int) -> Ended:
    path = target.folder / "store.duckdb"
    if point in _OFFLINE and path.exists():
        return forked(lambda: _offline(target, point, seed))
    return forked(lambda: _live(target, point, seed))
