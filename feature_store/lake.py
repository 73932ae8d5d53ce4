"""The store's tables as tables of Delta Lake or of Iceberg, for other engines to read.

::

    folder/views.tail/3f….parquet    as `export` writes it, named by its sha256
                     /_delta_log/    Delta's
    folder/iceberg.db                Iceberg's catalogue, and in each folder its metadata/

Every export is the next version of each table whose rows have changed, whole: its file is written
and on the disk before the version that names it, so one that is killed leaves the version before.
What is written again has the same bytes and is passed over. Older versions stay readable until
the formats' own tools remove them.

Both formats hold what the store has: 128-bit sums are decimal(38, 0) there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa

from headrace.feature_store.catalogue import Catalogue
from headrace.feature_store.export import Exported, synced, written
from headrace.operators.errors import EnvironmentProblem, StoreError

__all__ = ["Form", "Laid", "lay"]

Form = Literal["delta", "iceberg"]
_MAIN = "store"
"""The namespace, in Iceberg, of tables that are in no schema."""
_KNOWN = "iceberg.db"
_SHA256 = "headrace.sha256"
"""What Iceberg's snapshots say, too: a file without rows is in none of its plans."""


@dataclass(frozen=True)
class Laid:
    """A table's file, and whether it became a version of its own: it did not if it was there."""

    file: Exported
    new: bool


def lay(catalogue: Catalogue, folder: Path, form: Form) -> list[Laid]:
    """Write every table, as it is committed now, as the next version of a table of this format.

    Parameters
    ----------
    catalogue
        The open file.
    folder
        Of an export before this one, or a new one.
    form
        The format; both may be in one folder, and share its files.

    Raises
    ------
    EnvironmentProblem
        Where the format's library is not installed, or the disk is full.
    StoreError
        Where a table there has a column of another type, and the format cannot change it.

    """
    with _FORMS[form](folder) as add, catalogue.snapshot() as read:
        return [_laid(table, read(table), folder, add) for table in catalogue.tables()]


Add = Callable[[Exported, pa.Schema, Path], bool]
"""Makes a file the whole of a table's next version; says whether it was not so before."""


def _laid(table: str, rows: pa.RecordBatchReader, folder: Path, add: Add) -> Laid:
    place, schema = folder / table, rows.schema
    try:
        place.mkdir(parents=True, exist_ok=True)
        file = written(table, rows, place)
        path = place / f"{file.sha256}.parquet"
        (place / f"{table}.parquet").replace(path)
        synced(place)
        synced(folder)
    except OSError as error:
        asked, do = f"asked to export to '{folder}'", "free some space, or name another folder"
        raise EnvironmentProblem(asked, str(error), do) from error
    return Laid(file, add(file, schema, path))


@contextmanager
def _delta(folder: Path) -> Iterator[Add]:
    try:
        from deltalake import DeltaTable
        from deltalake import Schema as DeltaSchema
        from deltalake.transaction import AddAction, create_table_with_add_actions
    except ModuleNotFoundError as error:
        raise _absent(error) from error
    del folder

    def add(file: Exported, schema: pa.Schema, path: Path) -> bool:
        place, then = str(path.parent), int(path.stat().st_mtime * 1000)
        stats = json.dumps({"numRecords": file.rows})
        action = AddAction(path.name, file.size_bytes, {}, then, data_change=True, stats=stats)
        columns = DeltaSchema.from_arrow(schema)
        if not DeltaTable.is_deltatable(place):
            create_table_with_add_actions(place, columns, [action])
            return True
        table = DeltaTable(place)
        if [Path(each).name for each in table.file_uris()] == [path.name]:
            return False
        table.create_write_transaction([action], "overwrite", columns)
        return True

    yield add


@contextmanager
def _iceberg(folder: Path) -> Iterator[Add]:
    try:
        from pyiceberg.catalog.sql import SqlCatalog
        from pyiceberg.exceptions import ValidationError
        from pyiceberg.expressions import AlwaysTrue
    except ModuleNotFoundError as error:
        raise _absent(error) from error
    folder.mkdir(parents=True, exist_ok=True)
    whole = folder.absolute()
    known = SqlCatalog("headrace", uri=f"sqlite:///{whole / _KNOWN}", warehouse=whole.as_uri())

    def add(file: Exported, schema: pa.Schema, path: Path) -> bool:
        space, _, name = file.table.rpartition(".")
        known.create_namespace_if_not_exists(space or _MAIN)
        table = known.create_table_if_not_exists(
            (space or _MAIN, name), schema=schema, location=path.parent.absolute().as_uri()
        )
        newest = table.current_snapshot()
        if newest is not None and newest.summary and newest.summary[_SHA256] == file.sha256:
            return False
        with table.transaction() as change:
            try:
                with change.update_schema() as columns:
                    columns.union_by_name(schema)
            except ValidationError as error:
                asked, do = f"asked for the next version of {file.table}", "name another folder"
                raise StoreError(asked, str(error), do) from error
            if newest is not None:
                change.delete(AlwaysTrue())
            files, told = [str(path.absolute())], {_SHA256: file.sha256}
            change.add_files(files, told, check_duplicate_files=False)
        return True

    with closing(known):
        yield add


def _absent(error: ModuleNotFoundError) -> EnvironmentProblem:
    asked, found = "asked for tables of another format", f"{error.name} is not installed"
    return EnvironmentProblem(asked, found, "install headrace[lake]")


_FORMS = {"delta": _delta, "iceberg": _iceberg}
