"""Damage to what the learner keeps: flipped bits, cut, swapped and removed files.

::

    snapshots ──► opened: the newest that verifies, and a warning for each that is newer
                          └──► none verifies: refused, with what to do; done, it is learned anew
    versions  ──► read as the store reads them: named, or to the byte as published
                  └──► the learner goes on: warned of and written anew where it comes by

Whatever it was, in the end the weights, scores and files are those of the undisturbed run.
"""

from __future__ import annotations

import logging
import random
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from headrace.jobs import assembly
from headrace.online_learning.learner import Learner, registry
from headrace.online_learning.learning import Learning
from headrace.online_learning.version import Version
from headrace.operators.errors import CorruptError
from tests.chaos_hurt import Trial, hurt_file, tried
from tests.chaos_learned import Learned, fed, given, learned, made, published
from tests.online_learning.made_up import Log

__all__ = ["run"]

_SECONDS = 40
_UPTO = 0.6


@dataclass(frozen=True)
class Base:
    """A learner's folder amid its log, what it may go on from, and what it must come to."""

    settings: Learning
    log: Log
    folder: Path
    right: Learned
    states: frozenset[str]
    newest: str
    versions: dict[int, str]


def _made(folder: Path, seed: int) -> Base:
    pipeline, log = made(folder, "damaged", "ftrl"), given(_SECONDS, seed)
    settings = assembly.learning(pipeline)
    at = folder / "base"
    with closing(Learner(settings, at)) as learner:
        blank = learner.digest()
        fed(learner, log, upto=_UPTO)
    states = [_of_one(settings, at, path) for path in sorted((at / "snapshots").glob("0*"))]
    kept = registry(at)
    return Base(
        settings,
        log,
        at,
        learned(pipeline, log, folder / "calm"),
        frozenset([*states, blank]),
        states[-1],
        {number: _said(kept.version(number)) for number in kept.numbers()},
    )


def _of_one(settings: Learning, folder: Path, snapshot: Path) -> str:
    """Give the digest of a learner that has this snapshot and no other."""
    alone = folder.with_name("alone")
    shutil.copytree(folder, alone)
    for path in (alone / "snapshots").iterdir():
        if path.name != snapshot.name:
            path.unlink()
    with closing(Learner(settings, alone)) as learner:
        digest = learner.digest()
    shutil.rmtree(alone)
    return digest


def _said(version: Version) -> str:
    """Say all of a version."""
    told: list[Any] = [version.number, version.through_ms, version.parent, version.encoding]
    told += [dict(version.model), dict(version.offsets), dict(version.metrics)]
    told += [dict(version.data), dict(version.gate), dict(version.provenance())]
    arrays = [(name, array.tobytes().hex()) for name, array in sorted(version.arrays().items())]
    return orjson.dumps([*told, arrays], option=orjson.OPT_SORT_KEYS).decode()


def _kind(path: Path) -> str:
    return path.name.lstrip("0123456789").partition("-")[0] or path.suffix


def _hurt(folder: Path, files: list[Path], dice: random.Random) -> str:
    """Hurt one of the files in one way, or two of them by giving each the other's bytes."""
    path = dice.choice(files)
    name = str(path.relative_to(folder))
    how = dice.choice(("bytes", "bytes", "removed", "swapped"))
    if how == "bytes":
        return f"{name} {hurt_file(path, dice)}"
    if how == "removed":
        path.unlink()
        return f"{name} removed"
    other = dice.choice([each for each in files if _kind(each) == _kind(path)])
    one, two = path.read_bytes(), other.read_bytes()
    path.write_bytes(two)
    other.write_bytes(one)
    return f"{name} swapped with {other.relative_to(folder)}"


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """Collect what is warned of."""
    said: list[str] = []

    class Hears(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    hears = Hears(logging.WARNING)
    logging.getLogger("headrace").addHandler(hears)
    try:
        yield said
    finally:
        logging.getLogger("headrace").removeHandler(hears)


def _opened(base: Base, folder: Path) -> tuple[str, Learner]:
    """Open the learner; where it refuses do as it says."""
    with _warnings() as said:
        try:
            learner = Learner(base.settings, folder)
        except CorruptError as error:
            if "give an empty one to learn anew" not in error.do:
                raise
            shutil.rmtree(folder)
            return "refused, learned anew", Learner(base.settings, folder)
    digest = learner.digest()
    if digest not in base.states:
        return "WRONG: it went on from what no snapshot was", learner
    if digest != base.newest:
        # Without LATEST too nothing tells that there was a newer one: it is as it was before.
        known = said or not (folder / "snapshots" / "LATEST").exists()
        return "fell back" if known else "WRONG: it fell back and did not say so", learner
    return "said, went on" if said else "went on", learner


def _ended(base: Base, folder: Path, outcome: str, learner: Learner) -> str:
    with closing(learner):
        fed(learner, base.log, poll=200)
        found = Learned(learner.digest(), published(folder), base.right.notes)
    differs = found.differs(base.right)
    return f"WRONG after {outcome}: {', '.join(differs)}" if differs else outcome


def _snapshots_trial(base: Base, folder: Path, _: str, dice: random.Random) -> tuple[str, str]:
    """Hurt one to six times, which may be every snapshot."""
    shutil.copytree(base.folder, folder)
    hurts = []
    for _time in range(dice.choice((1, 1, 2, 6))):
        files = [path for path in (folder / "snapshots").iterdir() if path.stat().st_size]
        hurts += [_hurt(folder, sorted(files), dice)] if files else []
    return "; ".join(hurts), _ended(base, folder, *_opened(base, folder))


def _versions_trial(base: Base, folder: Path, _: str, dice: random.Random) -> tuple[str, str]:
    """Hurt a version, the names or the first version; then take an older snapshot, or not."""
    shutil.copytree(base.folder, folder)
    kept = [path for name in ("versions", "first") for path in sorted((folder / name).rglob("*"))]
    files = [path for path in kept if path.is_file() and path.stat().st_size]
    hurt = _hurt(folder, files, dice)
    for path in sorted((folder / "snapshots").glob("0*"))[dice.choice((1, 3)) :]:
        path.unlink()  # its versions come again
    read = _read(base, folder)
    if "WRONG" in read:
        return hurt, read
    opened, learner = _opened(base, folder)
    with _warnings() as said:
        outcome = _ended(base, folder, f"{read}, {opened}", learner)
    return hurt, f"{outcome}, written anew" if said else outcome


def _read(base: Base, folder: Path) -> str:
    """Read every version and the names, as the store and its callers do."""
    versions, named = registry(folder), "whole"
    for number in (None, *versions.numbers()):
        try:
            version = versions.champion() if number is None else versions.version(number)
            if version is not None and _said(version) != base.versions[version.number]:
                return f"WRONG: version {version.number} is not what it was"
        except CorruptError:
            named = "named"
    return named


def run(count: int, seed: int, folder: Path) -> tuple[int, list[str], str]:
    """Damage each kind `count` times; give how many there were, and what went wrong."""
    base = _made(folder, seed)
    trials: dict[str, Trial] = {
        "snapshots": partial(_snapshots_trial, base),
        "versions": partial(_versions_trial, base),
    }
    return tried(trials, count, seed, folder)
