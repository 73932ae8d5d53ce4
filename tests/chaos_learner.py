"""Kills: a learner process on a real broker, ended by SIGKILL at named and random points.

A life arms one point: the n-th time that the process comes to a step of its publishing, saving or
telling it is killed before it, amid it or after it. After each life the champion must be whole. At
the end one life goes through, and its weights, scores, notes and every published file are those of
a learner that nobody disturbed.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson

from headrace.jobs import assembly, learner
from headrace.jobs.learner import LearnerProcess
from headrace.jobs.source_rows import read_log
from headrace.online_learning import durable
from headrace.online_learning.learner import registry
from headrace.operators.errors import CorruptError
from headrace.pipelines.pipeline import Pipeline
from tests.chaos_fork import Ended, forked, kill, lived, within
from tests.chaos_learned import Learned, drained, given, learned, made, noted, published, sent

__all__ = ["POINTS", "run"]

_SECONDS_A_KILL = 14
_HYBRIDS = 6
"""One in so many kills is of a model with a deep part."""

Act = Callable[[str, Callable[[], object]], object]
"""Does a step that has this name, or ends there."""


def _named(verb: str, path: Path) -> str:
    """Name a step on the disk: what is done, and to what."""
    folder, name = path.parent.name, path.name
    if folder.startswith(".staging-"):
        return f"{verb} {name}"
    if re.fullmatch(r"\.?\d{6,}-.*", name):
        return f"{verb} snapshot"
    if name.strip(".") in ("LATEST", "LATEST.tmp"):
        return f"{verb} LATEST"
    if re.fullmatch(r"v\d{6,}", name):
        return f"{verb} version"
    if name.startswith(".staging-"):
        return f"{verb} staged"
    return f"{verb} folder" if path.is_dir() else f"{verb} names"


def _wired(act: Act) -> None:
    """Have every step on the disk done by `act`; in a process of its own, which ends with it."""

    def wire(owner: Any, name: str, verb: str) -> None:
        whole = getattr(owner, name)

        def step(path: Path, *more: Any, **named: Any) -> object:
            return act(_named(verb, path), lambda: whole(path, *more, **named))

        setattr(owner, name, step)

    wire(durable, "sync_folder", "sync")
    for verb in ("rename", "replace", "unlink"):
        wire(Path, verb, verb)


def _disk(step: str, *, after: bool = False) -> Callable[[LearnerProcess, random.Random], None]:
    """Arm the n-th time that a step on the disk is done: before it, or after it."""

    def arm(_: LearnerProcess, dice: random.Random) -> None:
        left = dice.randint(1, 4)

        def act(name: str, work: Callable[[], object]) -> object:
            nonlocal left
            left -= name == step
            if name == step and not left and not after:
                kill()
            done = work()
            if name == step and not left:
                kill()
            return done

        _wired(act)

    return arm


def _amid(what: str) -> Callable[[LearnerProcess, random.Random], None]:
    """Arm the n-th time that a file is written: a part of it is there, which may be all or none."""

    def arm(_: LearnerProcess, dice: random.Random) -> None:
        whole, left = durable.write_and_sync, dice.randint(1, 4)

        def write(path: Path, data: bytes) -> None:
            nonlocal left
            left -= _named("write", path) == f"write {what}"
            if not left:
                path.write_bytes(data[: dice.randint(0, len(data))])
                kill()
            whole(path, data)

        durable.write_and_sync = write

    return arm


def _telling(which: str, *, after: bool = False) -> Callable[[LearnerProcess, random.Random], None]:
    """Arm the n-th sending of the scores, or the n-th flush of them."""

    def arm(process: LearnerProcess, dice: random.Random) -> None:
        whole, left = getattr(process._writer, which), dice.randint(1, 4)

        def tell(*given: Any, **more: Any) -> None:
            nonlocal left
            left -= 1
            if not left and not after:
                kill()
            whole(*given, **more)
            if not left:
                kill()

        setattr(process._writer, which, tell)

    return arm


def _anywhere(_: LearnerProcess, dice: random.Random) -> None:
    within(dice, 250)


POINTS: dict[str, Callable[[LearnerProcess, random.Random], None]] = {
    "amid a version's weights": _amid("weights.safetensors"),
    "amid its manifest": _amid("manifest.json"),
    "before its rename": _disk("rename staged"),
    "after its rename": _disk("rename staged", after=True),
    "amid the file of names": _amid("names"),
    "before the rename of the names": _disk("replace names"),
    "after it": _disk("replace names", after=True),
    "before an old version goes": _disk("rename version"),
    "renamed, not removed": _disk("rename version", after=True),
    "amid a snapshot": _amid("snapshot"),
    "before a snapshot's rename": _disk("replace snapshot"),
    "after its rename, before LATEST": _disk("replace snapshot", after=True),
    "amid LATEST": _amid("LATEST"),
    "before LATEST's rename": _disk("replace LATEST"),
    "before an old snapshot goes": _disk("unlink snapshot"),
    "before a sync": _disk("sync folder"),
    "before the scores are told": _telling("send"),
    "told, not flushed": _telling("send", after=True),
    "after the flush": _telling("flush", after=True),
    "anywhere": _anywhere,
}
"""In a process that runs; there is one more, while it opens."""


@dataclass(frozen=True)
class Target:
    """A pipeline on a broker, with the folder of its learner."""

    pipeline: Pipeline
    bootstrap: str
    folder: Path

    def process(self) -> LearnerProcess:
        """Start the learner process."""
        return LearnerProcess(self.pipeline, bootstrap=self.bootstrap, folder=self.folder)

    def through(self, process: LearnerProcess) -> Learned:
        """Step until there is nothing to do; give what came of it."""
        drained(process)
        with closing(process):
            return Learned(process.learner.digest(), published(self.folder))

    def told(self) -> list[list[dict[str, Any]]]:
        """Read the messages of the metrics topic."""
        messages = read_log(self.bootstrap, self.pipeline.metrics_topic)
        return [orjson.loads(value) for value in messages["payload"].to_pylist() if value]

    def half(self) -> str:
        """Say what is wrong with the champion, if anything is."""
        try:
            version = registry(self.folder).champion()
            if version is not None:
                version.arrays()
        except CorruptError as error:
            return str(error)
        return ""


def _live(target: Target, point: str, seed: int) -> str:
    dice = random.Random(seed)  # noqa: S311 - no secret
    learner._POLL_MESSAGES = dice.choice((20, 60, 200))
    if point not in POINTS:
        within(dice, 150)
    process = target.process()
    if point in POINTS:
        POINTS[point](process, dice)
    return target.through(process).digest


def _killed(
    count: int, target: Target, seed: int, dice: random.Random
) -> tuple[Counter[str], list[str]]:
    """Kill a learner `count` times; then compare it with one that nobody disturbed."""
    source = given(_SECONDS_A_KILL * count + 60, seed)
    sent(target.bootstrap, target.pipeline, source)
    halves: list[str] = []

    def life(point: str, life_seed: int) -> Ended:
        ended = forked(lambda: _live(target, point, life_seed))
        if half := target.half():
            halves.append(f"after {point}: {half}")
        return ended

    kills, wrong = lived(count, [*POINTS, "while it opens"], dice, life)
    right = learned(target.pipeline, source, target.folder.with_name(f"{target.folder.name}-calm"))
    found, told = target.through(target.process()), target.told()
    scores = [rows for rows in told if rows[-1]["name"].startswith("learner.")]
    notes = noted(row for rows in told if rows not in scores for row in rows)
    wrong += halves + replace(found, notes=notes).differs(right)
    times = [rows[0]["at"] for rows in scores]
    if times != sorted(set(times)) or not times:
        wrong.append("scores were told twice, or of a time that had gone by, or not at all")
    return kills, wrong


def run(count: int, seed: int, bootstrap: str, folder: Path) -> tuple[int, list[str], str]:
    """Kill `count` times; give how many kills there were, what is wrong, and where they were."""
    dice = random.Random(seed)  # noqa: S311 - no secret
    hybrids = count // _HYBRIDS if find_spec("torch") else 0
    shares = {"ftrl": count - hybrids, "hybrid": hybrids}
    kills, wrong, each = Counter[str](), list[str](), list[str]()
    for model, share in shares.items():
        pipeline = made(folder, f"{model}{seed}", model)
        target = Target(pipeline, bootstrap, folder / model)
        if share:
            pipeline.model.kind.blank(assembly.encoding(pipeline))  # loads what lives then have
            found, more = _killed(share, target, seed, dice)
            kills += found
            wrong += [f"{model}: {line}" for line in more]
            each.append(f"{found.total()} {model}")
    where = ", ".join(f"{point} {kills[point]}" for point in [*POINTS, "while it opens"])
    return kills.total(), wrong, f"{', '.join(each)}: {where}"
