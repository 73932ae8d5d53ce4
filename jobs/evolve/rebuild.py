"""headrace store rebuild: the DuckDB file made again from the topics, put in the old one's place.

::

    topics ─► a store process that scores nothing ─► rebuild/store.duckdb ─► digests ─► swap
    predictions topic ─► number, version, p ──┘
    view topics ─► its shards, where it has some ──► rebuild/shards/…

Each file is whole at any time, and the head's, which says how many shards there are, is swapped
last: one that is of other shards than its pipeline declares is refused until this has run.

Features are recomputed from the tiles and compared with what each prediction says of them. Not in
the log, and so not rebuilt: predictions that were committed and never published (the store makes
them anew when it starts) and the tables of a view's versions that are not declared now.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from headrace.feature_store import upkeep
from headrace.feature_store.catalogue import Catalogue
from headrace.feature_store.export import Exported, digests
from headrace.jobs import transport
from headrace.jobs.shard import ShardProcess, folders
from headrace.jobs.store import StoreProcess
from headrace.operators.errors import CorruptError, StoreError
from headrace.pipelines.pipeline import Pipeline

__all__ = ["Rebuilt", "rebuild"]


@dataclass(frozen=True)
class Rebuilt:
    """A table as it was made again, and as it was: its rows, whether its digest is the same.

    Its name says of which shard, where the store has some.

    `before` is None where the old file could not be read.
    """

    table: str
    rows: int
    before: int | None
    same: bool


def rebuild(
    pipeline: Pipeline,
    *,
    bootstrap: str,
    folder: Path,
    models: Path,
    tell: Callable[[int, int], object] | None = None,
) -> list[Rebuilt]:
    """Make the store's file again from everything that its topics have now.

    Killed at any instant it leaves the old file or the new one; run it again.

    Parameters
    ----------
    pipeline
        The declaration.
    bootstrap
        The broker.
    folder
        The store's; no store process may run.
    models
        The registry's folder.
    tell
        Is told how many messages were read, of how many.

    Raises
    ------
    LogGap
        Where the topics do not begin at their first message any more.
    CorruptError
        Where the topics contradict each other.

    """
    aside = folder / "rebuild"
    shutil.rmtree(aside, ignore_errors=True)  # of one that was killed
    aside.mkdir()
    (aside / "backfills").symlink_to(folder.absolute() / "backfills")  # of what is in no topic
    count = pipeline.store_shards
    with contextlib.ExitStack() as opened:
        shards = [
            opened.enter_context(
                closing(ShardProcess(pipeline, number, bootstrap=bootstrap, folder=aside))
            )
            for number in range(count if count > 1 else 0)
        ]
        process = opened.enter_context(
            closing(
                StoreProcess(
                    pipeline,
                    bootstrap=bootstrap,
                    folder=aside,
                    models=models,
                    scores=False,
                    shards=[shard.held for shard in shards],
                )
            )
        )
        parts: list[StoreProcess | ShardProcess] = [*shards, process]
        for each in parts:
            _catch_up(each, bootstrap, tell)
        _check_all(process)
        files = [each.store.path.relative_to(aside) for each in parts]
        made = [_digests(each.store.catalogue) for each in parts]
    befores = [_before(folder / file) for file in files]
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        upkeep.swap(aside / file, folder / file)
    shutil.rmtree(aside)
    for path in folders(folder):
        if int(path.name) >= len(shards):
            shutil.rmtree(path)
    return [
        _compared(table, before, number if number < len(shards) else None)
        for number, (tables, before) in enumerate(zip(made, befores, strict=True))
        for table in tables
    ]


def _catch_up(
    process: StoreProcess | ShardProcess,
    bootstrap: str,
    tell: Callable[[int, int], object] | None,
) -> None:
    ends = transport.ends(bootstrap, {topic for topic, _ in process.read})
    ends = {place: end for place, end in ends.items() if place in process.read}
    while True:
        moved = process.step()
        read = sum(process.read.values())
        if tell is not None:
            tell(read, sum(ends.values()))
        if not moved and all(process.read[place] >= end for place, end in ends.items()):
            break


def _check_all(process: StoreProcess) -> None:
    if process.behind > 0:
        asked = "asked for every published prediction's decision and features"
        found = f"the log has not those of the last {process.behind}"
        do = "look whether a topic was emptied; start over in a fresh state folder"
        raise CorruptError(process.pipeline.predictions_topic, asked, found, do)


def _digests(catalogue: Catalogue) -> list[Exported]:
    with tempfile.TemporaryDirectory(dir=catalogue.path.parent) as folder:
        return digests(catalogue, Path(folder))


def _before(path: Path) -> dict[str, Exported] | None:
    try:
        with closing(Catalogue(path, new=False)) as catalogue:
            return {each.table: each for each in _digests(catalogue)}
    except (CorruptError, StoreError):
        return None


def _compared(made: Exported, before: dict[str, Exported] | None, shard: int | None) -> Rebuilt:
    was = (before or {}).get(made.table)
    same = was is not None and was.sha256 == made.sha256
    name = made.table if shard is None else f"{made.table} of shard {shard}"
    return Rebuilt(name, made.rows, was.rows if was else None, same)
