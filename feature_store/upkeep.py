"""Keeping the DuckDB file: check it, repair it, compact it, put another in its place.

::

    store.duckdb ─┬─ does not open: its file of changes (the WAL) is torn ──► repair ─► the log
                  ├─ does not open, or a block is wrong ──► rebuild, from the log (headrace.jobs)
                  └─ opens ──► compact: a new file, sorted, without holes ──► swap
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from headrace.feature_store.catalogue import Catalogue
from headrace.feature_store.causes import torn_at
from headrace.feature_store.export import synced
from headrace.operators.engines.duckdb import quote
from headrace.operators.errors import CorruptError, HeadraceError, StoreError

__all__ = ["check", "compact", "remove", "repair", "swap", "wal"]

_NEVER = "run 'headrace store rebuild', and tell us: this should never be"
_FACTS = {
    "decisions are numbered without a gap": (
        "SELECT COUNT(*) = COUNT(DISTINCT seq) AND COUNT(*) = COALESCE(MAX(seq) + 1, 0) "
        "FROM decisions"
    ),
    "predictions are numbered without a gap": (
        "SELECT COUNT(*) = COUNT(DISTINCT seq) AND COUNT(*) = COALESCE(MAX(seq) + 1, 0) "
        "FROM predictions"
    ),
    "each prediction is of a decision": (
        "SELECT COUNT(*) = 0 FROM predictions AS p ANTI JOIN decisions AS d "
        'ON p.seq = d.seq AND p.id = d.id AND p."at" = d."at"'
    ),
    "a partition has one offset": (
        "SELECT COUNT(*) = COUNT(DISTINCT (topic, partition)) FROM offsets"
    ),
}


def wal(path: Path) -> Path:
    """Name DuckDB's file of changes that are not in the main file yet."""
    return path.with_name(f"{path.name}.wal")


def remove(path: Path) -> None:
    """Remove a DuckDB file, with its changes, where it is there."""
    wal(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def swap(new: Path, path: Path) -> None:
    """Put a closed DuckDB file in the place of another; killed at any time, one of them is there.

    The old one's changes go first. Killed then, it is an older state of itself, which goes on from
    its own offsets; the other way round they would stand beside a file that they are not of.
    """
    if wal(new).exists():
        asked = f"asked to put '{new}' in the place of '{path}'"
        raise StoreError(asked, "it has changes beside it: it was not closed", "start over")
    synced(new)
    wal(path).unlink(missing_ok=True)
    synced(path.parent)
    new.replace(path)
    synced(path.parent)


def compact(path: Path) -> tuple[int, int]:
    """Write the file anew, each table in order of time and then of its columns, without holes.

    Gives its bytes before and after. One table at a time, group by group: memory is bounded. The
    disk holds both files until the end.
    """
    aside = path.with_name(f".{path.name}.compact")
    remove(aside)  # of one that was killed
    before = path.stat().st_size
    with closing(Catalogue(path, new=False)) as old:
        with closing(Catalogue(aside)) as new:
            new.take(old)
        swap(aside, path)
    return before, path.stat().st_size


def repair(path: Path) -> int:
    """Cut the file of changes off where it stops being whole; give how many bytes went.

    What was in them is in the log, and is read again from the offsets that are left. The file as it
    was stays beside it, as ``….wal.torn``.

    Raises
    ------
    CorruptError
        Where it is the main file that is damaged: rebuild it.

    """
    changes, gone = wal(path), 0
    kept = changes.with_name(f"{changes.name}.torn")
    while (torn := _torn(path)) is not None:
        whole = torn_at(torn)
        size = changes.stat().st_size if changes.exists() else 0
        if whole is None or whole >= size:
            raise torn
        if not kept.exists() or not gone:
            kept.write_bytes(changes.read_bytes())
            synced(kept)
        os.truncate(changes, whole)
        synced(changes)
        gone += size - whole
    return gone


def _torn(path: Path) -> CorruptError | None:
    try:
        Catalogue(path, new=False).close()
    except CorruptError as error:
        return error
    return None


def check(path: Path) -> list[HeadraceError]:
    """Read every block of the file and compare what its tables say of each other: what is wrong."""
    try:
        with closing(Catalogue(path, new=False)) as catalogue:
            names = {table: ".".join(map(quote, table.split("."))) for table in catalogue.tables()}
            for name in names.values():
                catalogue.read(f"SELECT bit_xor(hash(t)) FROM {name} AS t")
            return [
                CorruptError(path, f"asked whether {fact}", "it is not so", _NEVER)
                for fact, query in _facts(names).items()
                if not catalogue.read(query).column(0)[0].as_py()
            ]
    except (CorruptError, StoreError) as error:
        return [error]


def _facts(names: Mapping[str, str]) -> dict[str, str]:
    facts = dict(_FACTS) if "examples" in names else {}
    for table, name in names.items():
        if table.startswith("tiles."):
            facts[f"each row of {table} is there once"] = (
                f"SELECT COUNT(*) = (SELECT COUNT(*) FROM (SELECT DISTINCT * FROM {name})) "
                f"FROM {name}"
            )
        elif table.startswith("rows."):
            facts[f"each place of the log is in {table} once"] = (
                f'SELECT COUNT(*) = COUNT(DISTINCT (partition, "offset")) FROM {name}'
            )
    return facts
