"""Decisions that come in requests: rows of JSON, or an Arrow stream of many.

What a decision's stream derives is derived here, too, by the same expressions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc as ipc

from headrace.feature_store.store import Declared
from headrace.jobs.serving.ipc_form import compressed
from headrace.operators.errors import StoreError
from headrace.operators.source import AT, Source
from headrace.operators.types import Type

__all__ = ["DAMAGED", "MOST_ROWS", "Rows", "fits"]

MOST_ROWS = 1_000
DAMAGED = (pa.ArrowException, OSError, UnicodeDecodeError)
"""What Arrow raises where bytes are not what they should be: also a name that is no text."""
_MOST_BATCH_ROWS = 1_000_000
_LEAST_AT, _MOST_AT = -(1 << 53), 1 << 53


class Rows:
    """Reads decisions of a pipeline from what requests carry.

    Parameters
    ----------
    declared
        What the pipeline declares.

    """

    def __init__(self, declared: Declared) -> None:
        source = declared.source
        # What a stream's operators made of earlier rows is not here: a request gives its columns.
        self._derived = source.derived if isinstance(source, Source) else {}
        self._all = source.types
        self.types = {n: kind for n, kind in source.types.items() if n not in self._derived}
        self._schema = pa.schema([(name, kind.arrow) for name, kind in source.types.items()])
        self._needed = {AT: Type.INT64, **declared.asked}

    def of_json(self, rows: Sequence[object], now: int) -> list[dict[str, Any]]:
        """Check rows, and give each all its columns; one without `at` is asked for `now`, ms."""
        if len(rows) > MOST_ROWS:
            asked, found = f"asked for {len(rows)} rows", f"{MOST_ROWS} are answered at once"
            raise StoreError(asked, found, "ask in parts")
        if not rows:
            asked, found = "asked for no rows", "there is nothing to answer"
            raise StoreError(asked, found, "give one at least")
        return [self._whole(i, row, now) for i, row in enumerate(rows)]

    def _whole(self, i: int, row: object, now: int) -> dict[str, Any]:
        types = self.types
        if not isinstance(row, dict):
            asked = f"asked with rows.{i} = {_shown(row)}"
            raise StoreError(asked, "it is no object", "mend it")
        for name, value in row.items():
            kind = types.get(name)
            if kind is None:
                asked = f"asked with {', '.join(sorted(set(row) - set(types))[:5])[:200]}"
                raise StoreError(asked, f"a decision has {', '.join(types)}", "drop or rename it")
            if not fits(kind, value) and (name == AT or value is not None):
                asked = f"asked with {name} = {_shown(value)}"
                raise StoreError(asked, f"it is no {kind.value}", "mend it")
        whole = {**dict.fromkeys(self._all), AT: now, **row}
        if not _LEAST_AT <= whole[AT] <= _MOST_AT:
            asked, found = f"asked with at = {whole[AT]}", "that is out of every calendar"
            raise StoreError(asked, found, "give ms since 1970, UTC")
        # As the stream does for a decision that comes by topic.
        whole.update({name: tree.of(whole) for name, tree in self._derived.items()})
        return whole

    def table(self, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
        """Make Arrow of checked rows."""
        return pa.Table.from_pylist(list(rows), schema=self._schema)

    def of_arrow(self, body: bytes) -> Iterator[pa.Table]:
        """Read an Arrow stream of decisions, batch by batch, each checked by `of_batch`."""
        try:
            if compressed(body):
                asked, found = "asked for the features of decisions", "the batches are compressed"
                raise StoreError(asked, found, "send them as they are: compression=None")
            with ipc.open_stream(body) as reader:
                for batch in reader:
                    yield self.of_batch(batch)
        except DAMAGED as error:
            asked = "asked for the features of decisions"
            found = f"that is no Arrow stream: {_line(error)}"
            raise StoreError(asked, found, "mend it") from error

    def of_batch(self, batch: pa.RecordBatch) -> pa.Table:
        """Check decisions of Arrow: `at` and the columns of the views' keys, of their types."""
        asked = "asked for the features of decisions"
        if batch.num_rows > _MOST_BATCH_ROWS:
            found = f"a batch has {batch.num_rows} rows, and {_MOST_BATCH_ROWS} are read at once"
            raise StoreError(asked, found, "send smaller batches")
        try:
            batch.validate(full=True)
            names = batch.schema.names
        except DAMAGED as error:
            raise StoreError(asked, f"a batch is damaged: {_line(error)}", "mend it") from error
        columns = {name: self._column(asked, batch, names, name) for name in self._needed}
        at = columns[AT]
        if at.null_count:
            raise StoreError(asked, "a row has no time", "give each its at")
        ends = pc.min_max(at).as_py()
        if len(at) and not _LEAST_AT <= ends["min"] <= ends["max"] <= _MOST_AT:
            raise StoreError(asked, "an at is out of every calendar", "give ms since 1970, UTC")
        return pa.table(columns)

    def _column(
        self, asked: str, batch: pa.RecordBatch, names: Sequence[str], name: str
    ) -> pa.Array:
        kind = self._needed[name]
        if names.count(name) != 1:
            found = f"they have no column {name}, only {', '.join(names)[:200]}"
            raise StoreError(asked, found, "add it once; null where there is none")
        column = batch.column(name)
        try:
            return column.cast(kind.arrow)
        except DAMAGED as error:
            wanted = f"{kind.value} is wanted: {_line(error)}"
            found = f"column {name} is {column.type}, and {wanted}"
            raise StoreError(asked, found, "cast it") from error


def fits(kind: Type, value: object) -> bool:
    """Say whether a JSON value is of a type: Arrow itself would cut 1.5 to the integer 1."""
    if isinstance(value, bool):
        return kind is Type.BOOL
    if isinstance(value, int):
        return kind is Type.FLOAT64 or (kind is Type.INT64 and -(1 << 63) <= value < 1 << 63)
    if isinstance(value, float):
        return kind is Type.FLOAT64 and math.isfinite(value)
    return kind is Type.STRING and isinstance(value, str)


def _shown(value: object) -> str:
    return repr(value)[:100]


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
