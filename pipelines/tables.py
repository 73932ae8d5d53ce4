"""Static tables, read from a file beside the pipeline's, with every cell checked."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from headrace.operators.errors import HeadraceError, UnknownName
from headrace.operators.functions import Value
from headrace.operators.streams.join import MOST_BYTES, MOST_ROWS, PART, ROW, Table
from headrace.operators.types import Type

__all__ = ["TableError", "Wanted", "read"]

_COLUMN = "column"
MOST_FILE_BYTES = 16 << 20
"""Of the file, of which some columns may be left out."""
_FORMS = {
    Type.BOOL: r"true|false",
    Type.INT64: r"0|-?[1-9][0-9]{0,18}",
    Type.FLOAT64: r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?",
}


class TableError(HeadraceError):
    """A file that is no table of the kind that is asked for."""


@dataclass(frozen=True)
class Wanted:
    """A column wanted of a file: its name there, and its type."""

    name: str
    type: Type


def read(path: Path, key: Sequence[Wanted], columns: Mapping[str, Wanted]) -> Table:
    """Read a CSV file (with a head line, in UTF-8; an empty cell is null) or a Parquet file.

    Raises
    ------
    TableError
        Where the file cannot be read or is too large, a cell is not of its type, or a key is null
        or stands twice.
    UnknownName
        Where it lacks a column.

    """
    asked = f"asked for the table {path.name!r}"
    wanted = [*key, *columns.values()]
    try:
        if path.stat().st_size > MOST_FILE_BYTES:
            found = f"it has more than {MOST_FILE_BYTES} bytes"
            raise TableError(asked, found, "keep what is joined in a smaller file")
        cells = _parquet(path, wanted) if path.suffix == ".parquet" else _csv(path, wanted)
    except (OSError, ValueError, csv.Error, pa.ArrowException) as error:
        found = " ".join(str(getattr(error, "strerror", None) or error).split())[:80]
        raise TableError(asked, found, "give a CSV or Parquet file") from error
    if len(cells[0]) > MOST_ROWS:
        found = f"it has {len(cells[0])} rows, and {MOST_ROWS} are taken"
        raise TableError(asked, found, "send it as a topic, and look it up in a view")
    rows: dict[tuple[Value, ...], tuple[Value, ...]] = {}
    for n, cell in enumerate(zip(*cells, strict=True), start=1):
        part, rest = cell[: len(key)], cell[len(key) :]
        if None in part:
            raise TableError(asked, f"the key of row {n} is null", "remove the row")
        if part in rows:
            found = f"the key {', '.join(map(str, part))} stands twice"
            raise TableError(asked, found, "keep one row of each key")
        rows[part] = rest
    table = Table(path.name, {name: each.type for name, each in columns.items()}, rows)
    size = sum(len(f"{k}{v}".encode()) for k, v in table.texts.items())
    if size > MOST_BYTES:
        found = f"its texts are {size} bytes, and {MOST_BYTES} are taken"
        raise TableError(asked, found, "send it as a topic, and look it up in a view")
    return table


def _csv(path: Path, wanted: Sequence[Wanted]) -> list[list[Value]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file, strict=True)
        head = next(lines, [])
        for each in wanted:
            if each.name not in head:
                raise UnknownName(_COLUMN, each.name, head)
        places = [head.index(each.name) for each in wanted]
        cells: list[list[Value]] = [[] for _ in wanted]
        for line in lines:
            if len(line) != len(head):
                found = f"line {lines.line_num} has {len(line)} cells, and the head {len(head)}"
                raise ValueError(found)
            for column, place, each in zip(cells, places, wanted, strict=True):
                column.append(_value(line[place], each, lines.line_num))
    return cells


def _parquet(path: Path, wanted: Sequence[Wanted]) -> list[list[Value]]:
    file = pq.ParquetFile(path)
    for each in wanted:
        if each.name not in file.schema_arrow.names:
            raise UnknownName(_COLUMN, each.name, file.schema_arrow.names)
    table = file.read([each.name for each in wanted])
    # A safe cast: a number that is cut would be an error.
    cells = [table[each.name].cast(each.type.arrow).to_pylist() for each in wanted]
    for column, each in zip(cells, wanted, strict=True):
        for n, value in enumerate(column):
            column[n] = _sound(value, each, n + 1)
    return cells


def _value(text: str, wanted: Wanted, line: int) -> Value:
    if not text:
        return None
    if wanted.type is Type.STRING:
        return _sound(text, wanted, line)
    if not re.fullmatch(_FORMS[wanted.type], text, re.ASCII):
        raise ValueError(_wrong(wanted, line, text))
    if wanted.type is Type.BOOL:
        return text == "true"
    return _sound((int if wanted.type is Type.INT64 else float)(text), wanted, line)


def _sound(value: Value, wanted: Wanted, line: int) -> Value:
    """Refuse what no engine's value is."""
    if isinstance(value, str) and any(mark in value for mark in (ROW, PART, "\0")):
        raise ValueError(_wrong(wanted, line, value))
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(_wrong(wanted, line, str(value)))
        return value + 0.0
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(_wrong(wanted, line, str(value)))
    return value


def _wrong(wanted: Wanted, line: int, text: str) -> str:
    return f"row {line}: {wanted.name} is {text[:40]!r}, no {wanted.type.value}"
