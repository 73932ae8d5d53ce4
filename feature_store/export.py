"""The store's tables as Parquet: one sorted file each, and a manifest that says what they are.

::

    folder/
        manifest.json          versions, offsets; of each file rows, size, schema, sha256; its own
        views.tail.parquet     sorted by time, then by every column; zstd
        …

The same rows make the same bytes, so the sha256 of a file is the digest of its table. Written
aside, brought to the disk, renamed: a folder is whole or not there.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from headrace.feature_store.catalogue import Catalogue
from headrace.operators.errors import CorruptError, EnvironmentProblem, HeadraceError, StoreError
from headrace.operators.sealed import sealed, unsealed

__all__ = ["MANIFEST", "Exported", "check", "digests", "export", "synced", "written"]

MANIFEST = "manifest.json"
_DO = "export again"


@dataclass(frozen=True)
class Exported:
    """A table's file: its rows, its size, its columns, and the sha256 of its bytes."""

    table: str
    rows: int
    size_bytes: int
    schema: Mapping[str, str]
    sha256: str


def export(catalogue: Catalogue, folder: Path) -> list[Exported]:
    """Write every table, as it is committed now, into a new folder.

    Parameters
    ----------
    catalogue
        The open file.
    folder
        Must not be there yet; its parent must.

    Raises
    ------
    StoreError
        Where the folder is there.
    EnvironmentProblem
        Where the disk is full.

    """
    asked = f"asked to export to '{folder}'"
    if folder.exists():
        raise StoreError(asked, "it is there already", "name a folder that is not there yet")
    aside = folder.with_name(f".{folder.name}.staging")
    shutil.rmtree(aside, ignore_errors=True)  # of an export that was killed
    try:
        aside.mkdir()
        files = digests(catalogue, aside)
        offsets = [[*place, following] for place, following in sorted(catalogue.offsets().items())]
        facts = {
            "versions": catalogue.read("SELECT * FROM versions ORDER BY rowid").to_pylist(),
            "offsets": offsets,
            "files": list(map(asdict, files)),
        }
        (aside / MANIFEST).write_bytes(sealed(facts))
        synced(aside / MANIFEST)
        synced(aside)
        aside.rename(folder)
        synced(folder.parent)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        do = "free some space, or name a folder that you may write"
        raise EnvironmentProblem(asked, str(error), do) from error
    return files


def digests(catalogue: Catalogue, folder: Path) -> list[Exported]:
    """Write every table as a file of a folder that is there, all as of one moment."""
    with catalogue.snapshot() as read:
        return [written(table, read(table), folder) for table in catalogue.tables()]


def written(table: str, rows: pa.RecordBatchReader, folder: Path) -> Exported:
    """Write a table's file, ``<table>.parquet``, and bring it to the disk."""
    path, count = folder / f"{table}.parquet", 0
    # The footer holds no time and no name: the same rows are the same bytes.
    with pq.ParquetWriter(path, rows.schema, compression="zstd") as writer:
        for batch in rows:
            writer.write_batch(batch)
            count += batch.num_rows
    synced(path)
    schema = {field.name: str(field.type) for field in rows.schema}
    return Exported(table, count, path.stat().st_size, schema, _sha256(path))


def check(folder: Path) -> list[HeadraceError]:
    """Compare an export with its manifest: what is wrong with it, if anything is."""
    path = folder / MANIFEST
    try:
        facts = unsealed(path, path.read_bytes(), _DO)
    except FileNotFoundError:
        return [StoreError(f"asked to check '{folder}'", f"it has no {MANIFEST}", _DO)]
    except CorruptError as error:
        return [error]
    named = {f"{file['table']}.parquet": file for file in facts["files"]}
    others = sorted({each.name for each in folder.iterdir()} - {MANIFEST, *named})
    found: list[HeadraceError] = [
        CorruptError(folder / name, "asked for what the manifest names", "it does not name it", _DO)
        for name in others
    ]
    for name, file in named.items():
        asked = f"asked for sha256 {file['sha256'][:12]}…"
        if not (folder / name).exists():
            found.append(CorruptError(folder / name, asked, "it is not there", _DO))
        elif (sha256 := _sha256(folder / name)) != file["sha256"]:
            found.append(CorruptError(folder / name, asked, f"it has {sha256[:12]}…", _DO))
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def synced(path: Path) -> None:
    """Wait until the disk has a file's bytes, or a folder's names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
