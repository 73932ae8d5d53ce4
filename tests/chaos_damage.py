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

import random
import shutil
from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from headrace.feature_store import export, upkeep
from headrace.jobs.evolve.rebuild import rebuild
from headrace.jobs.serving.client import Client
from headrace.operators.errors import CorruptError, StoreError
from headrace.operators.sealed import sealed
from headrace.pipelines.pipeline import Pipeline
from tests.chaos_hurt import Trial, hurt_file, tried
from tests.chaos_log import drain, messages, named, publish, state_of, topic_of
from tests.jobs.in_memory import Log

__all__ = ["run"]

_PANES = 40
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


def _store_trial(base: Base, folder: Path, name: str, dice: random.Random) -> tuple[str, str]:
    """Damage one of the store's files, do what the errors say, compare; say what came of it."""
    shutil.copytree(base.folder / "whole", folder)
    shutil.copytree(base.folder / "models", folder / "models")
    publish(folder / "models", base.pipeline, 2)
    hurt = hurt_file(folder / name, dice)
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
    hurt = hurt_file(dice.choice(files), dice)
    return hurt, "named" if export.check(folder) else "WRONG: not seen"


def _address_trial(base: Base, folder: Path, name: str, dice: random.Random) -> tuple[str, str]:
    folder.mkdir()
    path = folder / name
    shutil.copy(base.folder / name, path)
    hurt = hurt_file(path, dice)
    with closing(Client(path)) as client:
        try:
            return hurt, f"WRONG: {client.address()}"
        except (CorruptError, StoreError):
            return hurt, "named"


KINDS: dict[str, Callable[[Base, Path, str, random.Random], tuple[str, str]]] = {
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
    trials: dict[str, Trial] = {name: partial(trial, base) for name, trial in KINDS.items()}
    return tried(trials, count, seed, folder)
