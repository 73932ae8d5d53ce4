"""History at hand: what a backfill leaves beside the store's file, and how the store takes it in.

::

    backfills/<version>/ ─┬─ tiles.arrow, <companion>.arrow, …     all tiles that end by `until`
                          └─ backfill.json: until, rows, sha256 of each ─► written last, whole
                                     │
    the store opens ── new version? ─┴─► its tiles, and complete to `until`, in one transaction
    the stream's panes ── end ≤ until ─► passed over; the next one takes over

A backfill stays where it is: with it and the log the store's file can be made anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa

from headrace.feature_store.export import synced
from headrace.operators.errors import CorruptError

__all__ = ["EVENTS", "FOREVER", "TILES", "Backfill", "ends_never", "found", "tables", "write"]

FOREVER = 10**14
"""Later than any event: how far the rows of files alone are complete."""
_DAY_MS = 86_400_000
TILES = "tiles"
EVENTS = "events"
"""A table of a source's files: their events, and the late rows among them."""
_FACTS = "backfill.json"
_AGAIN = "remove its folder and run `headrace backfill` again"


def ends_never(at: int) -> bool:
    """Say whether what is complete to `at` is so for ever: `FOREVER`, down to any view's step.

    >>> ends_never(FOREVER // 3_600_000 * 3_600_000), ends_never(1_356_998_400_000)
    (True, False)
    """
    return at > FOREVER - _DAY_MS


@dataclass(frozen=True)
class Backfill:
    """A version's history up to `until`, exclusive: how many rows it is of, and its tables' sums.

    `unkeyed` of the `rows` have no key. `tables` are file names to the sha256 of what is in them.
    """

    version: str
    until: int
    rows: int
    unkeyed: int
    tables: Mapping[str, str]


def write(
    folder: Path,
    version: str,
    tables: Iterable[tuple[str, pa.RecordBatchReader]],
    *,
    until: int,
    rows: int,
    unkeyed: int,
) -> Backfill:
    """Write a version's history, whole or not at all; what was there of it is replaced.

    Of `tables`, each by its name, the next one is asked for when the one before it is written.
    """
    made = folder / f".{version}.made"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    sums = {}
    for name, batches in tables:
        path = made / f"{name}.arrow"
        with path.open("wb") as file:
            with pa.ipc.new_file(file, batches.schema) as writer:
                for batch in batches:
                    writer.write_batch(batch)
            file.flush()
            os.fsync(file.fileno())
        sums[name] = _sum(path)
    done = Backfill(version, until, rows, unkeyed, sums)
    with (made / _FACTS).open("w") as file:
        json.dump(asdict(done), file)
        file.flush()
        os.fsync(file.fileno())
    synced(made)
    shutil.rmtree(folder / version, ignore_errors=True)
    made.rename(folder / version)
    synced(folder)
    return done


def found(folder: Path) -> dict[str, Backfill]:
    """List what is at hand, by version."""
    made = {}
    for path in sorted(folder.glob(f"[!.]*/{_FACTS}")):
        try:
            made[path.parent.name] = Backfill(**json.loads(path.read_text()))
        except (ValueError, TypeError) as error:
            asked = f"asked for the backfill of {path.parent.name}"
            raise CorruptError(path, asked, str(error), _AGAIN) from error
    return made


def tables(folder: Path, backfill: Backfill) -> Iterator[tuple[str, pa.Table]]:
    """Read the tables of a backfill, each once it is known to be what was written.

    Raises
    ------
    CorruptError
        Where a file is not what was written.

    """
    for name, known in backfill.tables.items():
        path = folder / backfill.version / f"{name}.arrow"
        asked = f"asked for the backfill of {backfill.version}"
        try:
            now = _sum(path)
        except OSError as error:
            raise CorruptError(path, asked, str(error.strerror), _AGAIN) from error
        if now != known:
            raise CorruptError(path, asked, f"its sha256 is {now}, not {known}", _AGAIN)
        with pa.memory_map(str(path)) as file:
            yield name, pa.ipc.open_file(file).read_all()


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
