"""The features of a running pipeline, in Python: for requests now, and for training sets.

::

    entities  ─► get_online_features      ─► the features as of now, and how fresh they are
    decisions ─► get_historical_features  ─► one row out for each, in order, as of its own time
    query     ─► sql                      ─► Arrow

All three read what the store process has; a feature at t is the same whichever way it is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from headrace.jobs.client import Client
from headrace.operators.errors import StoreError, UnknownName

__all__ = ["FeatureStore", "OnlineFeatures"]

Frame = TypeVar("Frame")
_BATCH_ROWS = 50_000
_AT = "at"


@dataclass(frozen=True)
class OnlineFeatures:
    """Features as of a time, and how far each view was complete when they were read (ms, UTC).

    A value is from before ⌊t / every⌋ · every; where its view is complete to less than that, events
    of between may be missing in it.
    """

    rows: pa.Table
    complete_to: Mapping[str, int]

    def to_arrow(self) -> pa.Table:
        """Give a row for each entity, in the order they were given."""
        return self.rows

    def to_dict(self) -> dict[str, list[Any]]:
        """Give each feature's values."""
        values: dict[str, list[Any]] = self.rows.to_pydict()
        return values


class FeatureStore:
    """Reads features from the store process of a running pipeline.

    Parameters
    ----------
    state
        The state folder of the pipeline, in which the store process says where it listens.

    """

    def __init__(self, state: Path | str = ".headrace/demo") -> None:
        self._client = Client(Path(state) / "store" / "address.json")

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def get_online_features(
        self,
        entities: Sequence[Mapping[str, Any]],
        features: Sequence[str] | None = None,
        *,
        at: int | None = None,
    ) -> OnlineFeatures:
        """Read features for entities: each a value per column of the views' keys.

        Parameters
        ----------
        entities
            Rows; columns that are left out are null, and a view whose key is null has no features.
        features
            Their names, in the order wanted; all of them unless given.
        at
            The time they are of, ms, UTC; now unless given.

        """
        rows = [dict(entity) if at is None else {**entity, _AT: at} for entity in entities]
        answer = self._client.features(rows)
        table = pa.Table.from_pylist(answer["features"], self._client.feature_schema())
        return OnlineFeatures(_chosen(table, features), answer["complete_to"])

    def get_historical_features(
        self, decisions: Frame, features: Sequence[str] | None = None, *, at: str = _AT
    ) -> Frame:
        """Append to each decision the features as of its own time.

        One row comes out for each that went in, in the same order, with its columns as they were;
        a feature that has no value is null. int64 stays int64 in pandas, nulls or not.

        Parameters
        ----------
        decisions
            An Arrow table, a pandas or a Polars frame with the time and the views' keys.
        features
            Their names; all of them unless given.
        at
            The column of the time: int64 ms, or a timestamp (without a zone: UTC).

        """
        asked = _arrow(decisions)
        found = pa.Table.from_batches(self._found(asked, features, at), self._wanted(features))
        beside: Frame = _beside(decisions, found)
        return beside

    def iter_historical_features(
        self,
        decisions: pa.RecordBatchReader,
        features: Sequence[str] | None = None,
        *,
        at: str = _AT,
    ) -> Iterator[pa.RecordBatch]:
        """Append features batch by batch: of any number of decisions one batch is in memory."""
        for batch in decisions:
            asked = pa.Table.from_batches([batch])
            for found in self._found(asked, features, at):
                yield pa.RecordBatch.from_arrays(
                    [*batch.columns, *found.columns], [*batch.schema.names, *found.schema.names]
                )

    def sql(self, query: str) -> pa.Table:
        """Ask one SELECT over the store's tables."""
        return self._client.sql(query)

    def _found(
        self, asked: pa.Table, features: Sequence[str] | None, at: str
    ) -> Iterator[pa.RecordBatch]:
        rows = _timed(asked, at)
        wanted = self._wanted(features)
        for start in range(0, rows.num_rows, _BATCH_ROWS):
            found = self._client.training(rows.slice(start, _BATCH_ROWS))
            yield from found.select(wanted.names).combine_chunks().to_batches()

    def _wanted(self, features: Sequence[str] | None) -> pa.Schema:
        return _chosen(self._client.feature_schema().empty_table(), features).schema


def _chosen(table: pa.Table, features: Sequence[str] | None) -> pa.Table:
    if features is None:
        return table
    for name in features:
        if name not in table.column_names:
            raise UnknownName(kind="feature", name=name, known=table.column_names)
    return table.select(list(features))


def _arrow(frame: object) -> pa.Table:
    if isinstance(frame, pa.Table):
        return frame
    if hasattr(frame, "__arrow_c_stream__"):
        return pa.table(frame)
    asked = f"asked for features beside a {type(frame).__name__}"
    raise StoreError(asked, "it is no table", "give an Arrow table, a pandas or a Polars frame")


def _timed(asked: pa.Table, at: str) -> pa.Table:
    """Give the time as int64 ms under its name."""
    if at not in asked.column_names:
        raise UnknownName(kind="column", name=at, known=asked.column_names)
    times = asked[at]
    if pa.types.is_timestamp(times.type):
        times = times.cast(pa.timestamp("ms", times.type.tz), safe=False).cast(pa.int64())
    if times.type != pa.int64() or times.null_count:
        said = f"asked for features as of the column {at!r}"
        found = f"it is {times.type}{', and some are null' if times.null_count else ''}"
        raise StoreError(said, found, "give int64 milliseconds, or a timestamp, for each row")
    others = asked.drop_columns([name for name in {at, _AT} if name in asked.column_names])
    return others.append_column(_AT, times)


def _beside(frame: Any, found: pa.Table) -> Any:
    """Append columns to a frame, of its own kind."""
    if isinstance(frame, pa.Table):
        for name in found.column_names:
            frame = frame.append_column(name, found[name])
        return frame
    if type(frame).__module__.partition(".")[0] == "pandas":
        import pandas as pd

        kinds = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
        made = found.to_pandas(types_mapper=kinds.get).set_axis(frame.index, axis="index")
        return pd.concat([frame, made], axis="columns")
    return frame.hstack(type(frame)(found))
