"""What a row of a file says: the text of each field, as a message says it.

The oracle reads every file with it, row by row in plain Python; history reads the same files as
columns (`headrace.feature_store.files`). A cell of CSV is its text, an empty one null; a value of
Parquet or Arrow IPC is the text that JSON has for it, a time the text of its whole milliseconds.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from headrace.operators.message import NOT_UTF8

__all__ = ["ARROW", "CELLS", "CSV", "PARQUET", "Said", "records"]

Said = dict[str, str | None] | str
"""The text of each field; or why the row is refused."""
ARROW, CSV, PARQUET = (".arrow", ".feather"), (".csv",), (".parquet",)
CELLS = "row: not as many cells as the head has"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def records(path: Path) -> Iterator[Said]:
    """Read a file's rows, in its order; `path` ends as one of the kinds does."""
    if path.suffix in CSV:
        yield from _csv(path)
        return
    table = pq.read_table(path) if path.suffix in PARQUET else pa.ipc.open_file(path).read_all()
    for row in table.to_pylist():
        yield {name: text_of(value) for name, value in row.items()}


def _csv(path: Path) -> Iterator[Said]:
    # What is no UTF-8 becomes half surrogate pairs, which no text of ours has.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        lines = csv.reader(file)
        head = next(lines, [])
        for line in lines:
            if not line:
                continue
            if len(line) != len(head):
                yield CELLS
            elif any("\udc80" <= mark <= "\udcff" for cell in line for mark in cell):
                yield NOT_UTF8
            else:
                yield {name: cell or None for name, cell in zip(head, line, strict=True)}


def text_of(value: object) -> str | None:
    """Give the text that JSON has for a value; none for what is nested.

    >>> text_of(1.5), text_of(True), text_of(datetime(1970, 1, 1, 0, 0, 1, 999)), text_of([1])
    ('1.5', 'true', '1000', None)
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        return str((aware - _EPOCH) // timedelta(milliseconds=1))
    return str(value) if isinstance(value, int | float | str) else None
