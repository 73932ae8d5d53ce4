"""The files of a source, as columns: Parquet, Arrow IPC and CSV, typed where they are.

::

    file ─┬─ Parquet, Arrow: values ─┬─ plain ── said as they are ──┐
          │                          └─ NaN, an infinity ─► texts ──┤ DuckDB checks them
          └─ CSV: cells, which are texts ───────────────────────────┘ as it checks a log

A file's number in the order of their names and a row's in the file are its place in the log. What
is wrong with a row makes it a dead letter; what is wrong with a file is an error, before any row.
Of Parquet only codecs are read that are known to be safe with foreign files: none, Snappy,
Zstandard. Arrow IPC has no others than LZ4, which Feather files have by default, and Zstandard.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from csv import Error as UnreadHead
from csv import reader
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv

from headrace.operators.engines.duckdb_log import TYPED
from headrace.operators.errors import StoreError
from headrace.operators.hashing import whole_array
from headrace.operators.message import NOT_UTF8
from headrace.operators.record import ARROW, CELLS, CSV, PARQUET, text_of
from headrace.operators.source import AT, FILE_PARTITION, Column, Source
from headrace.operators.types import Type

__all__ = ["FileRows", "count_rows", "found", "read"]

_CODECS = ("UNCOMPRESSED", "SNAPPY", "ZSTD")
_MOST_FILES = 49_999
_MOST_AT = 10**14


@dataclass(frozen=True)
class FileRows:
    """A file's rows: `plain` and `odd` ones, as `checked_file_sql` takes them."""

    plain: pa.Table
    odd: pa.Table


def found(source: Source, folder: Path) -> list[Path]:
    """List a source's files in their order: by name, from the pipeline's `folder` on.

    Raises
    ------
    StoreError
        Where there are none, too many, or one of a kind that is not read.

    """
    if source.files is None:
        return []
    pattern = Path(source.files)
    base = Path(pattern.anchor) if pattern.is_absolute() else folder
    below = pattern.relative_to(pattern.anchor) if pattern.is_absolute() else pattern
    paths = sorted(path for path in base.glob(str(below)) if path.is_file())
    asked = f"asked for the files {source.files!r} of the source {source.name!r}"
    if not paths:
        raise StoreError(asked, f"there are none below {base}", "mend the path or the pattern")
    if len(paths) > _MOST_FILES:
        raise StoreError(asked, f"there are {len(paths)}", f"keep {_MOST_FILES} at most")
    for path in paths:
        if path.suffix not in (*ARROW, *CSV, *PARQUET):
            known = ", ".join((*PARQUET, *CSV, *ARROW))
            raise StoreError(asked, f"{path.name} is none of {known}", "match only such files")
    return paths


def count_rows(path: Path) -> int:
    """Count a file's rows, those of CSV by its line feeds."""
    if path.suffix in PARQUET:
        return int(pq.read_metadata(path).num_rows)
    if path.suffix in ARROW:
        with pa.memory_map(str(path)) as file:
            return int(sum(batch.num_rows for batch in _batches(pa.ipc.open_file(file))))
    with path.open("rb") as lines:
        return max(
            sum(block.count(b"\n") for block in iter(lambda: lines.read(1 << 20), b"")) - 1, 0
        )


def _batches(file: pa.ipc.RecordBatchFileReader) -> Iterator[pa.RecordBatch]:
    return (file.get_batch(i) for i in range(file.num_record_batches))


def read(source: Source, path: Path, number: int) -> FileRows:
    """Read file `number` of a source.

    Raises
    ------
    StoreError
        Where the file is damaged, is packed by another codec, lacks a required column or has one of
        another type.

    """
    asked = f"asked for the file {path.name!r} of the source {source.name!r}"
    wanted = (Column(AT, Type.INT64, required=True), *source.columns)
    try:
        if path.suffix in CSV:
            texts, wrong = _csv(path, asked)
            _check(asked, wanted, texts.schema)
            nothing = _struct(wanted, [pa.array([], _kind(column)) for column in wanted])
            plain = _placed(np.arange(0), number, nothing)
            return FileRows(plain, _texts(wanted, texts, wrong, number))
        table = _parquet(path, asked) if path.suffix in PARQUET else _arrow(path)
        table.validate(full=True)
    except (OSError, UnreadHead, pa.ArrowException) as error:
        text = " ".join(str(error).split())[:120]
        raise StoreError(asked, f"it cannot be read: {text}", "write the file again") from error
    _check(asked, wanted, table.schema)
    return _typed(asked, wanted, table.combine_chunks(), number)


def _parquet(path: Path, asked: str) -> pa.Table:
    file = pq.ParquetFile(path)
    groups = (file.metadata.row_group(i) for i in range(file.num_row_groups))
    for group in groups:
        for i in range(group.num_columns):
            codec = group.column(i).compression
            if codec not in _CODECS:
                name = group.column(i).path_in_schema
                text = f"its column {name!r} is packed by {codec.capitalize()}"
                raise StoreError(asked, text, "write it uncompressed, by Snappy or by Zstandard")
    return file.read()


def _arrow(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).read_all()


def _csv(path: Path, asked: str) -> tuple[pa.Table, list[int]]:
    """Read cells as bytes; give the numbers of the rows that are not as long as the head, too."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        names = next(reader(file), [])
    if not names:
        raise StoreError(asked, "it has no head line", "begin it with the columns' names")
    wrong: list[int] = []

    def skip(row: csv.InvalidRow) -> str:
        wrong.append(row.number - 2)  # it counts from 1, and the head
        return "skip"

    form = csv.ParseOptions(newlines_in_values=True, invalid_row_handler=skip)
    cells = csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.binary()),
        strings_can_be_null=True,
        quoted_strings_can_be_null=True,
        null_values=[""],
    )
    options = csv.ReadOptions(use_threads=False, block_size=1 << 24)
    table = csv.read_csv(path, read_options=options, parse_options=form, convert_options=cells)
    return table, wrong


def _check(asked: str, wanted: Sequence[Column], schema: pa.Schema) -> None:
    for column in wanted:
        count = schema.names.count(column.name)
        if count == 0 and column.required:
            known = ", ".join(map(repr, schema.names[:20]))
            raise StoreError(
                asked, f"it lacks the column {column.name!r}; it has {known}", "add it"
            )
        if count > 1:
            raise StoreError(asked, f"it has two columns {column.name!r}", "rename one of the two")


def _texts(
    wanted: Sequence[Column], cells: pa.Table, wrong: Sequence[int], number: int
) -> pa.Table:
    """Give cells of bytes as odd rows."""
    count = cells.num_rows + len(wrong)
    right = np.setdiff1d(np.arange(count), np.array(wrong, np.int64))
    unread = np.full(count, None, np.object_)
    unread[list(wrong)] = CELLS
    columns: dict[str, npt.NDArray[np.object_]] = {}
    for name in cells.column_names:
        texts = np.full(count, None, np.object_)
        try:
            texts[right] = cells[name].cast(pa.string()).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid:
            known = [_decoded(cell) for cell in cells[name].to_pylist()]
            texts[right] = [each if each is not False else None for each in known]
            unread[right[[each is False for each in known]]] = NOT_UTF8
        columns[name] = texts
    said = [columns.get(column.name, np.full(count, None, np.object_)) for column in wanted]
    struct = _struct(wanted, [pa.array(texts, pa.string()) for texts in said])
    return _placed(np.arange(count), number, struct, pa.array(unread, pa.string()))


def _decoded(cell: bytes | None) -> str | Literal[False] | None:
    if cell is None:
        return None
    try:
        return cell.decode()
    except UnicodeDecodeError:
        return False


def _typed(asked: str, wanted: Sequence[Column], table: pa.Table, number: int) -> FileRows:
    """Give values as plain rows, and those with a number that is none as odd ones."""
    count = table.num_rows
    values = [
        _value(asked, column, whole_array(table[column.name]))
        if column.name in table.column_names
        else pa.nulls(count, _kind(column))
        for column in wanted
    ]
    infinite = np.zeros(count, np.bool_)
    for value in values:
        if pa.types.is_floating(value.type):
            infinite |= ~np.isfinite(value.fill_null(0).to_numpy(zero_copy_only=False))
    places, odd = np.flatnonzero(~infinite), np.flatnonzero(infinite)
    plain = _struct(wanted, [value.take(pa.array(places)) for value in values])
    texts = [
        pa.array([text_of(each) for each in value.take(pa.array(odd)).to_pylist()], pa.string())
        for value in values
    ]
    unread = pa.nulls(len(odd), pa.string())
    return FileRows(
        _placed(places, number, plain), _placed(odd, number, _struct(wanted, texts), unread)
    )


def _kind(column: Column) -> pa.DataType:
    return column.type.arrow if column.type in TYPED else pa.string()


def _value(asked: str, column: Column, values: pa.Array) -> pa.Array:
    """Give a column's values as plain rows hold them: typed, or texts."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        values, kind = values.dictionary_decode(), kind.value_type
    whole = pa.types.is_signed_integer(kind) or kind in (pa.uint8(), pa.uint16(), pa.uint32())
    if column.type is Type.STRING and (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return values.cast(pa.string())
    if column.type is Type.BOOL and pa.types.is_boolean(kind):
        return values
    if column.type is Type.FLOAT64 and (whole or pa.types.is_floating(kind)):
        return pc.cast(values, pa.float64(), safe=False)  # a large whole number is rounded
    time = pa.types.is_timestamp(kind) and (column.name == AT or column.type is Type.TIMESTAMP_MS)
    if column.type.held is not Type.INT64 or not (whole or time):
        found = f"its column {column.name!r} is {kind}, and {column.type.value} is declared"
        raise StoreError(asked, found, "declare what it is, or write it as it is declared")
    numbers = _milliseconds(values) if time else values.cast(pa.int64())
    if column.name == AT:
        within = pc.and_(pc.greater_equal(numbers, 0), pc.less(numbers, _MOST_AT))
        return pc.if_else(within, numbers, pa.scalar(None, pa.int64()))
    return numbers if column.type in TYPED else numbers.cast(pa.string())


def _milliseconds(values: pa.Array) -> pa.Array:
    """Cut times to whole milliseconds, downwards, as the oracle does."""
    ticks, unit = values.cast(pa.int64()), values.type.unit
    if unit in ("s", "ms"):
        return pc.multiply(ticks, pa.scalar(1000 if unit == "s" else 1, pa.int64()))
    known = ticks.fill_null(0).to_numpy() // {"us": 1_000, "ns": 1_000_000}[unit]
    return pa.array(known, mask=ticks.is_null().to_numpy(zero_copy_only=False))


def _struct(wanted: Sequence[Column], values: Sequence[pa.Array]) -> pa.StructArray:
    return pa.StructArray.from_arrays(values, [column.name for column in wanted])


def _placed(
    offsets: npt.NDArray[np.int64],
    number: int,
    said: pa.StructArray,
    unread: pa.Array | None = None,
) -> pa.Table:
    """Put rows at their places; they are never too far ahead, for no clock stamped them."""
    count = len(offsets)
    columns = {
        "partition": pa.array(np.full(count, FILE_PARTITION + number, np.int32)),
        "offset": pa.array(offsets, pa.int64()),
        "timestamp": pa.array(np.full(count, _MOST_AT), pa.int64()),
        "said": said,
    }
    return pa.table(columns if unread is None else {**columns, "unread": unread})
