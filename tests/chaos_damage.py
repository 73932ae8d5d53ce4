"""Damaged files: cut short and with flipped bits, at random positions.

::

    main file, WAL ──► opened: named, and then repaired or rebuilt; or whole enough to go on
    Parquet, manifest, address ──► named
                          └──► whatever it was, in the end the digests of the undisturbed run

The store's two files are those of a process that was killed: half of its log is in the main file,
half in the file of changes. Before each is opened again a newer version of the model is published:
what was served by the old one must stay so.
"""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from headrace.feature_store import export, upkeep
from headrace.jobs.evolve.rebuild import rebuild
from headrace.jobs.serving.client import Client
from headrace.operators.errors import CorruptError, HeadraceError, StoreError
from headrace.operators.sealed import sealed
from headrace.pipelines.pipeline import Pipeline
from tests.chaos_log import Ended, drain, forked, messages, named, publish, state_of, topic_of
from tests.jobs.in_memory import Log

__all__ = ["run"]

_PANES = 40
_BATCH = 20
_FILE = "store.duckdb"


@dataclass
class Base:
    """What is damaged: the files of a process that was killed, and what they must come to."""

    pipeline: Pipeline
    folder: Path
    log: Log
    truth: dict[str, str] = field(default_factory=dict)

    def copied(self) -> Log:
        """Give a log of its own, as it was when the process was killed."""
        copy = {place: list(said) for place, said in self.log.messages.items()}
        return Log(defaultdict(list, copy))


def _made(folder: Path, seed: int, patch: pytest.MonkeyPatch) -> Base:
    base = Base(named(folder, "small"), folder / "base", Log())
    base.log.install(patch)
    sent = list(messages(_PANES, seed))
    publish(base.folder / "models", base.pipeline, 1)
    process = base.log.process(base.pipeline, base.folder)
    for half in (sent[: len(sent) // 2], sent[len(sent) // 2 :]):
        process.store.catalogue.checkpoint()
        for each in half:
            topic = topic_of(base.pipeline, each)
            base.log.send(topic, each.value, partition=each.partition, headers=each.headers)
            process.step()
    drain(process)
    base.truth = state_of(process)
    whole = base.folder / "whole"
    whole.mkdir()
    for name in (_FILE, f"{_FILE}.wal"):
        shutil.copy(base.folder / name, whole / name)  # as a kill would leave them: nobody writes
    export.export(process.store.catalogue, base.folder / "export")
    process.close()
    (base.folder / "address.json").write_bytes(sealed({"address": "127.0.0.1:54321"}))
    return base


def _hurt(path: Path, dice: random.Random) -> str:
    """Cut a file short, or flip a bit of it; say which."""
    size = path.stat().st_size
    at = dice.randrange(size)
    if dice.random() < 0.5:
        os.truncate(path, at)
        return f"cut at {at} of {size}"
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0] ^ (1 << dice.randrange(8))
        file.seek(at)
        file.write(bytes([byte]))
    return f"a bit of byte {at} of {size}"


def _store_trial(base: Base, folder: Path, name: str, dice: random.Random) -> tuple[str, str]:
    """Damage one of the store's files, do what the errors say, compare; say what came of it."""
    shutil.copytree(base.folder / "whole", folder)
    shutil.copytree(base.folder / "models", folder / "models")
    publish(folder / "models", base.pipeline, 2)
    hurt = _hurt(folder / name, dice)
    log = base.copied()
    with pytest.MonkeyPatch.context() as patch:
        log.install(patch)
        outcome, found = _recovered(base, folder, log)
        sent = [m.value for m in log.messages[base.pipeline.predictions_topic, 0]]
    before = [m.value for m in base.log.messages[base.pipeline.predictions_topic, 0]]
    if [v for v in sent if b'"id"' in (v or b"")] != [v for v in before if b'"id"' in (v or b"")]:
        return hurt, "WRONG: the topic has other predictions"
    differ = [table for table in base.truth if found.get(table) != base.truth[table]]
    return hurt, f"WRONG after {outcome}: {', '.join(differ)}" if differ else outcome


def _recovered(base: Base, folder: Path, log: Log) -> tuple[str, dict[str, str]]:
    """Open, drain, digest; where headrace refuses do as it says, at most twice."""
    outcome = "went on"
    for _ in range(3):
        try:
            process = log.process(base.pipeline, folder)
            with closing(process):
                drain(process)
                return outcome, state_of(process)
        except CorruptError as error:
            outcome = _mended(base, folder, error)
    return "WRONG: refused three times", {}


def _mended(base: Base, folder: Path, error: CorruptError) -> str:
    if "store repair" in error.do:
        try:
            upkeep.repair(folder / _FILE)
        except CorruptError as other:
            error = other
        else:
            return "named, repaired"
    if "store rebuild" not in error.do:
        raise error
    rebuild(base.pipeline, bootstrap="memory", folder=folder, models=folder / "models")
    return "named, rebuilt"


def _export_trial(base: Base, folder: Path, name: str, dice: random.Random) -> tuple[str, str]:
    shutil.copytree(base.folder / "export", folder)
    files = sorted(folder.glob("*.parquet")) if name == "Parquet" else [folder / export.MANIFEST]
    hurt = _hurt(dice.choice(files), dice)
    return hurt, "named" if export.check(folder) else "WRONG: not seen"


def _address_trial(base: Base, folder: Path, name: str, dice: random.Random) -> tuple[str, str]:
    folder.mkdir()
    path = folder / name
    shutil.copy(base.folder / name, path)
    hurt = _hurt(path, dice)
    with closing(Client(path)) as client:
        try:
            return hurt, f"WRONG: {client.address()}"
        except (CorruptError, StoreError):
            return hurt, "named"


Trial = Callable[[Base, Path, str, random.Random], tuple[str, str]]
KINDS: dict[str, Trial] = {
    _FILE: _store_trial,
    f"{_FILE}.wal": _store_trial,
    "Parquet": _export_trial,
    "manifest": _export_trial,
    "address.json": _address_trial,
}


def run(count: int, seed: int, folder: Path) -> tuple[int, list[str], str]:
    """Damage each kind of file `count` times; give how many there were, and what went wrong."""
    with pytest.MonkeyPatch.context() as patch:
        base = _made(folder, seed, patch)
    tally: dict[str, Counter[str]] = {name: Counter() for name in KINDS}
    wrong: list[str] = []
    for name, trial in KINDS.items():
        for start in range(0, count, _BATCH):
            numbers = range(start, min(start + _BATCH, count))
            ended = forked(lambda: _some(base, name, trial, seed, numbers))  # noqa: B023 - run here
            for line in _lines(ended, len(numbers)):
                hurt, _, outcome = line.partition(": ")
                tally[name][outcome.partition(":")[0].partition(" after")[0]] += 1
                if "WRONG" in outcome:
                    wrong.append(f"{name}, {hurt}: {outcome}")
    details = "; ".join(
        f"{name}: {', '.join(f'{outcome} {n}' for outcome, n in sorted(found.items()))}"
        for name, found in tally.items()
    )
    return sum(map(Counter.total, tally.values())), wrong, details


def _some(base: Base, name: str, trial: Trial, seed: int, numbers: range) -> str:
    lines = []
    for number in numbers:
        dice = random.Random(f"{seed} {name} {number}")  # noqa: S311 - no secret
        folder = base.folder.parent / f"{name}-{number}"
        try:
            hurt, outcome = trial(base, folder, name, dice)
        except HeadraceError as error:
            hurt, outcome = "?", f"WRONG: {error}"
        lines.append(f"{hurt}: {outcome}".replace("\n", " "))
        shutil.rmtree(folder)
    return "\n".join(lines)


def _lines(ended: Ended, count: int) -> list[str]:
    if ended.broken or ended.killed or ended.refused:
        return [f"in these {count}: WRONG: {ended.said[-1500:]}"]
    return ended.said.splitlines()
