"""What DuckDB's failures mean for the store: damage, a full disk, another process.

::

    duckdb.Error ─┬─ the disk is full      ──► EnvironmentProblem   what was committed is kept
                  ├─ another has the file  ──► StoreError           who
                  ├─ bytes are wrong       ──► CorruptError         repair, or rebuild from the log
                  └─ anything else         ──► as it is
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from headrace.operators.errors import CorruptError, EnvironmentProblem, HeadraceError, StoreError

__all__ = ["explained", "torn_at"]

_FULL = re.compile("No space left on device|Disk quota exceeded|not enough (disk )?space", re.I)
_LOCKED = re.compile("Could not set lock on file", re.I)
_DAMAGED = re.compile(
    "corrupt|checksum|WAL file|Could not read enough bytes|not a valid DuckDB database file"
    "|deserializ|database has been invalidated|INTERNAL Error|version number",
    re.I,
)
_TORN = re.compile(r"entry at byte position (\d+)")
_OTHER_FILE = "WAL does not match database file"


@contextmanager
def explained(path: Path, asked: str) -> Iterator[None]:
    """Raise what DuckDB says inside as what it means for the file at `path`.

    >>> with explained(Path("s.duckdb"), "asked to read the store's file"):
    ...     raise duckdb.IOException("Corrupt database file: computed checksum 1, stored 2")
    Traceback (most recent call last):
    headrace.operators.errors.CorruptError: s.duckdb: asked to read the store's file; \
Corrupt database file: computed checksum 1, stored 2; run 'headrace store rebuild': it makes the \
file again from the log
    """
    try:
        yield
    except duckdb.Error as error:
        meant = _meant(path, asked, " ".join(str(error).split()))
        if meant is None:
            raise
        raise meant from error


def _meant(path: Path, asked: str, said: str) -> HeadraceError | None:
    if _FULL.search(said):
        do = "free some space and start again: what was committed is kept"
        return EnvironmentProblem(f"{asked} '{path}'", f"the disk is full ({said[:200]})", do)
    if _LOCKED.search(said):
        return StoreError(f"{asked} '{path}'", said, "stop the process that has it")
    if not _DAMAGED.search(said):
        return None
    do = "run 'headrace store rebuild': it makes the file again from the log"
    if _torn(said) is not None:
        do = "run 'headrace store repair': it goes on from the log where the file is whole"
    return CorruptError(path, asked, said[:400], do)


def torn_at(error: HeadraceError) -> int | None:
    """Give how many bytes of the file of changes (the WAL) are whole, where `error` says so.

    >>> torn_at(StoreError("asked", "Corrupt WAL file: entry at byte position 96 computed", ""))
    96
    """
    return _torn(error.found)


def _torn(said: str) -> int | None:
    if found := _TORN.search(said):
        return int(found[1])
    return 0 if _OTHER_FILE in said else None
