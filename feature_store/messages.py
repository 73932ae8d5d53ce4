"""What the messages of a raw log say: DuckDB reads those that are plain, the oracle the others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
import pyarrow as pa

from headrace.feature_store.registered import registered
from headrace.operators.engines.duckdb_log import checked_sql, forms, odd_sql
from headrace.operators.message import texts
from headrace.operators.source import AT, Source

__all__ = ["LOG", "said"]

LOG = pa.schema(
    [
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("timestamp", pa.int64()),
        ("payload", pa.binary()),
    ]
)
"""The form of a raw log: messages with their place and the broker's time stamp."""

_SAMPLE = 64
"""So many messages say which forms a log has: a millisecond."""
_BATCH = 65_536


@contextmanager
def said(
    connection: duckdb.DuckDBPyConnection, source: Source, log: pa.Table, *, corrected: bool = False
) -> Iterator[str]:
    """Give the query of `checked_sql` for a log, which has the name ``log`` as long as it lasts."""
    sample = (log["payload"][at].as_py() for at in range(0, len(log), len(log) // _SAMPLE + 1))
    # DuckDB's threads share a table by its batches.
    batches = log.to_batches(max_chunksize=_BATCH)
    with registered(connection, "log", pa.Table.from_batches(batches, log.schema)):
        found = connection.sql(odd_sql(source, "log", forms(sample))).to_arrow_reader()
        schema = _odd_schema(source)
        odd = pa.Table.from_batches((_said(each, schema) for each in found), schema)
        with registered(connection, "odd", odd):
            which = "odd" if odd.num_rows else ""
            yield checked_sql(source, "log", which, corrected=corrected)


def _odd_schema(source: Source) -> pa.Schema:
    texts = [(name, pa.string()) for name in (AT, *(column.name for column in source.columns))]
    fields = [*list(LOG)[:3], ("said", pa.struct(texts)), ("unread", pa.string())]
    return pa.schema(fields)


def _said(odd: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Read messages that are not plain: none of the million of the flights."""
    read = [texts(payload) for payload in odd["payload"].to_pylist()]
    said = pa.array([None if isinstance(each, str) else each for each in read], schema[3].type)
    unread = pa.array([each if isinstance(each, str) else None for each in read], pa.string())
    return pa.RecordBatch.from_arrays([*odd.columns[:3], said, unread], schema=schema)
