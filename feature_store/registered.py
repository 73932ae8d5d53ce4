"""Arrow tables that DuckDB's queries see under a name for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
import pyarrow as pa

__all__ = ["registered"]


@contextmanager
def registered(connection: duckdb.DuckDBPyConnection, name: str, table: pa.Table) -> Iterator[None]:
    """Let queries see a table under a name.

    >>> connection = duckdb.connect()
    >>> with registered(connection, "given", pa.table({"x": [1, 2]})):
    ...     connection.sql("SELECT SUM(x) FROM given").fetchall()
    [(3,)]
    """
    connection.register(name, table)
    try:
        yield
    finally:
        connection.unregister(name)
