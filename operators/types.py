"""The types a column can have, with the name that each engine gives them.

There are few on purpose: every type here has the same values, the same order and the same
arithmetic in every engine. Times are int64 milliseconds since the epoch, in UTC.
"""

from __future__ import annotations

import enum

import pyarrow as pa

__all__ = ["Type"]


class Type(enum.Enum):
    """A column's type.

    >>> Type("int64").flink, Type("int64").duckdb, Type("int64").arrow
    ('BIGINT', 'BIGINT', DataType(int64))
    """

    BOOL = "bool"
    INT64 = "int64"
    FLOAT64 = "float64"
    STRING = "string"

    @property
    def flink(self) -> str:
        """Name the type in Flink SQL."""
        return _FLINK[self]

    @property
    def duckdb(self) -> str:
        """Name the type in DuckDB SQL."""
        return _DUCKDB[self]

    @property
    def arrow(self) -> pa.DataType:
        """Give the type in Arrow."""
        return _ARROW[self]

    @property
    def numeric(self) -> bool:
        """Say whether sums and means of the type exist."""
        return self in (Type.INT64, Type.FLOAT64)


_FLINK = {
    Type.BOOL: "BOOLEAN",
    Type.INT64: "BIGINT",
    Type.FLOAT64: "DOUBLE",
    Type.STRING: "STRING",
}
_DUCKDB = {**_FLINK, Type.STRING: "VARCHAR"}
_ARROW = {
    Type.BOOL: pa.bool_(),
    Type.INT64: pa.int64(),
    Type.FLOAT64: pa.float64(),
    Type.STRING: pa.string(),
}
