"""Training sets: decisions in, one row out for each, its features as of its own time beside it.

::

    decisions ─► parts of so many rows ─┬─ as they are ───────────────────┐
                                        └─ at, keys ─► read ─► features ──┴─► beside ─► batches

What reads is the hot index, a store process, or DuckDB (`headrace.feature_store.past`): all give
the same bits. One part is in memory at a time, however many there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from headrace.operators.errors import StoreError, UnknownName
from headrace.operators.source import AT
from headrace.operators.status import STATUS_SUFFIX
from headrace.operators.view import View

__all__ = ["AT_ONCE", "Asking", "Read", "TrainingSet", "decisions_of", "names_of"]

Read = Callable[[pa.Table], pa.Table]
"""Gives features, a row for each row of `at` and the views' keys, in order."""

AT_ONCE = 500_000
_MOST_AT = 10**14
_ASKED = "asked for features beside decisions"
_FEAST_AT = "event_timestamp"


@dataclass(frozen=True)
class Asking:
    """Which columns of decisions say when and for which keys, and the features that are wanted.

    Parameters
    ----------
    at
        The column of the time: int64 ms, or a timestamp (without a zone: UTC); unless given ``at``,
        or ``event_timestamp`` where there is no ``at``.
    keys
        The columns that stand for the views' keys, with their types.
    features
        What comes out beside the decisions.

    """

    at: str | None
    keys: Mapping[str, pa.DataType]
    features: pa.Schema

    @classmethod
    def about(
        cls,
        views: Mapping[str, View],
        keys: Mapping[str, Sequence[str]],
        features: Sequence[str],
        *,
        at: str | None = None,
        statuses: bool = False,
    ) -> Asking:
        """Ask for some features of views; with `statuses` what each value stands for, beside it.

        `keys` names per view the columns of the decisions that stand for its key.
        """
        of = {f.name: (view, f) for view in views.values() for f in view.features}
        needed: dict[str, pa.DataType] = {}
        fields = []
        for name in features:
            view, feature = of[name]
            kinds = (kind.arrow for kind in view.key_types)
            needed |= dict(zip(keys[view.name], kinds, strict=True))
            fields.append((name, feature.aggregate.type.arrow))
            fields += [(name + STATUS_SUFFIX, pa.string())] if statuses else []
        return cls(at, needed, pa.schema(fields))

    def check(self, schema: pa.Schema) -> str:
        """Refuse decisions that lack a column, or have one of a feature's name; give the time's."""
        at = self.at
        if at is None:
            at = _FEAST_AT if AT not in schema.names and _FEAST_AT in schema.names else AT
        if at not in schema.names:
            raise UnknownName(kind="column", name=at, known=schema.names)
        for name in self.keys:
            if name not in schema.names:
                found = f"they have no column {name}, only {', '.join(schema.names)}"
                raise StoreError(_ASKED, found, "add it; null where there is none")
        for name in self.features.names:
            if name in schema.names:
                found = f"they have a column {name!r}, as a feature is called"
                raise StoreError(_ASKED, found, "rename it, or drop it")
        return at

    def of(self, decisions: pa.Table, at: str) -> pa.Table:
        """Take the time, as int64 ms, and the keys."""
        columns = {AT: _times(decisions[at], at)}
        for name, kind in self.keys.items():
            try:
                columns[name] = decisions[name].cast(kind)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                found = f"column {name} is {decisions[name].type}, and {kind} is wanted: {error}"
                raise StoreError(_ASKED, found, "cast it") from error
        return pa.table(columns)


class TrainingSet:
    """Decisions with their features: nothing is read before it is asked for.

    A row comes out for each that went in, in the same order, its columns as they were; a key that
    is null or unknown has the features of no rows.

    Parameters
    ----------
    decisions
        An Arrow table or reader, a pandas or Polars frame, the path of a Parquet file.
    asking
        Their time, their keys, what is wanted.
    read
        What gives the features.
    at_once
        How many rows are read at a time; more is faster and takes more memory.

    Raises
    ------
    StoreError, UnknownName
        Where `decisions` is no table, lacks a column, or holds a time or a key of a wrong type.

    """

    def __init__(
        self, decisions: object, asking: Asking, read: Read, *, at_once: int = AT_ONCE
    ) -> None:
        self._given = decisions
        self._schema, self._batches = decisions_of(decisions)
        self._at = asking.check(self._schema)
        self._asking, self._read, self._at_once = asking, read, at_once
        self._used = False

    @property
    def schema(self) -> pa.Schema:
        """Give the columns: the decisions', then the features."""
        return pa.schema([*self._schema, *self._asking.features])

    def to_record_batches(self) -> pa.RecordBatchReader:
        """Stream it: a part of the decisions is in memory at a time.

        Raises
        ------
        StoreError
            Where the decisions were a reader, and were read before.

        """
        return pa.RecordBatchReader.from_batches(self.schema, self._parts())

    def to_arrow(self) -> pa.Table:
        """Give all of it as an Arrow table."""
        return self.to_record_batches().read_all()

    def to_df(self) -> Any:
        """Give all of it as a pandas frame, in which int64 and bool keep nulls.

        Of a pandas frame the index and the columns are what they were.
        """
        import pandas as pd

        kinds = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
        table = self.to_arrow()
        if not isinstance(self._given, pd.DataFrame):
            return table.to_pandas(types_mapper=kinds.get)
        found = table.select(self._asking.features.names).to_pandas(types_mapper=kinds.get)
        made = found.set_axis(self._given.index, axis="index")
        return pd.concat([self._given, made], axis="columns")

    def to_parquet(self, path: Path | str, *, group_rows: int = 65_536) -> Path:
        """Write it to a Parquet file, batch by batch; the file is there when it is whole."""
        whole = Path(path)
        part = whole.with_name(whole.name + ".part")
        try:
            with pq.ParquetWriter(part, self.schema) as writer:
                for batch in self._parts():
                    writer.write_batch(batch, row_group_size=group_rows)
            return part.rename(whole)
        finally:
            part.unlink(missing_ok=True)

    def _parts(self) -> Iterator[pa.RecordBatch]:
        if self._used and isinstance(self._given, pa.RecordBatchReader):
            found = "they are a reader, and it was read already"
            raise StoreError(_ASKED, found, "give a new one, or a table")
        self._used = True
        names = self._asking.features.names
        for part in _parts(self._batches(), self._schema, self._at_once):
            found = self._read(self._asking.of(part, self._at)).select(names)
            for name, column in zip(names, found.columns, strict=True):
                part = part.append_column(name, column)
            yield from part.cast(self.schema).to_batches()


def decisions_of(given: object) -> tuple[pa.Schema, Callable[[], Iterator[pa.RecordBatch]]]:
    """Give the schema of decisions, and what begins to read them.

    >>> schema, batches = decisions_of(pa.table({"at": [1, 2]}))
    >>> schema.names, [batch.num_rows for batch in batches()]
    (['at'], [2])
    """
    if isinstance(given, pa.RecordBatchReader):
        return given.schema, lambda: iter(given)
    if isinstance(given, str | Path):
        file = _parquet(Path(given))
        return file.schema_arrow, file.iter_batches
    if isinstance(given, pa.RecordBatch):
        given = pa.Table.from_batches([given])
    if not isinstance(given, pa.Table):
        if not hasattr(given, "__arrow_c_stream__"):
            asked = f"asked for features beside a {type(given).__name__}"
            do = "give an Arrow table or reader, a pandas or a Polars frame, a Parquet file"
            raise StoreError(asked, "it is no table", do)
        given = pa.table(given)
    table: pa.Table = given
    return table.schema, lambda: iter(table.to_batches())


def _parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowInvalid) as error:
        asked = f"asked for features beside the decisions of '{path}'"
        raise StoreError(asked, str(error), "give a Parquet file") from error


def _parts(batches: Iterator[pa.RecordBatch], schema: pa.Schema, rows: int) -> Iterator[pa.Table]:
    """Put batches together, or cut them, to `rows` rows; the last part may be shorter."""
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        while count + batch.num_rows >= rows:
            here = rows - count
            yield pa.Table.from_batches([*held, batch.slice(0, here)], schema)
            batch, held, count = batch.slice(here), [], 0
        if batch.num_rows:
            held.append(batch)
            count += batch.num_rows
    if held:
        yield pa.Table.from_batches(held, schema)


def _times(times: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Give times as int64 ms."""
    kind = times.type
    if pa.types.is_timestamp(kind):
        times = times.cast(pa.timestamp("ms", kind.tz), safe=False).cast(pa.int64())
    asked = f"asked for features as of the column {name!r}"
    if times.type != pa.int64() or times.null_count:
        found = f"it is {kind}{', and some are null' if times.null_count else ''}"
        raise StoreError(asked, found, "give int64 milliseconds, or a timestamp, for each row")
    ends = pc.min_max(times).as_py()
    if len(times) and not (ends["min"] >= 0 and ends["max"] < _MOST_AT):
        found = f"it has times from {ends['min']} to {ends['max']} ms"
        raise StoreError(asked, found, "give times from 1970 on, in milliseconds of UTC")
    return times


def names_of(features: Sequence[str] | None, views: Mapping[str, Sequence[str]]) -> list[str]:
    """Give the features that are meant by names, alone or as ``view:feature``; all unless given.

    `views` are each view's features; under "" those that are in none.

    Raises
    ------
    UnknownName
        Where there is no such view, or no such feature in it.

    Examples
    --------
    >>> names_of(["trips:n", "mean"], {"trips": ["n", "mean"]})
    ['n', 'mean']
    """
    known = [name for names in views.values() for name in names]
    if features is None:
        return known
    found = []
    for text in features:
        view, colon, name = text.rpartition(":")
        if colon and view not in views:
            raise UnknownName(kind="view", name=view, known=[name for name in views if name])
        of = views[view] if colon else known
        if name not in of:
            raise UnknownName(kind="feature", name=name, known=of)
        found.append(name)
    return found
