"""The types a value can have, with the name that each engine gives them.

There are few on purpose: every type here has the same values, the same order and the same
arithmetic in every engine. Times are int64 milliseconds since the epoch, in UTC.
"""

from __future__ import annotations

from typing import ClassVar, Self

import pyarrow as pa

__all__ = ["Type"]


class Type:
    """A value's type. There is one object per type, so types are compared with `is`.

    >>> Type("int64").flink, Type("int64").duckdb, Type("int64").arrow
    ('BIGINT', 'BIGINT', DataType(int64))
    >>> Type("list<string>") is Type.list_of(Type.STRING)
    True
    """

    BOOL: ClassVar[Type]
    INT64: ClassVar[Type]
    FLOAT64: ClassVar[Type]
    STRING: ClassVar[Type]
    INT128: ClassVar[Type]
    """Sums of products, in tiles only: nobody writes it."""

    _known: ClassVar[dict[str, Type]] = {}

    value: str
    """How it is written."""
    flink: str
    """Its name in Flink SQL."""
    duckdb: str
    """Its name in DuckDB SQL."""
    arrow: pa.DataType
    item: Type | None
    """Of a list: the type of its items."""

    def __new__(cls, value: str) -> Self:
        """Give the type that is written so; a ValueError where there is none."""
        known = cls._known.get(value)
        if known is None and value.startswith("list<") and value.endswith(">"):
            known = cls.list_of(cls(value[5:-1]))
        if not isinstance(known, cls):
            raise ValueError(value)
        return known

    @classmethod
    def _make(
        cls, value: str, flink: str, duckdb: str, arrow: pa.DataType, item: Type | None = None
    ) -> Self:
        if value in cls._known:
            message = f"the type {value} exists already"
            raise ValueError(message)
        made = super().__new__(cls)
        made.value, made.flink, made.duckdb, made.arrow = value, flink, duckdb, arrow
        made.item = item
        cls._known[value] = made
        return made

    @classmethod
    def list_of(cls, item: Type) -> Type:
        """Give the type of lists of `item`."""
        value = f"list<{item.value}>"
        if value in cls._known:
            return cls._known[value]
        kinds = f"ARRAY<{item.flink}>", f"{item.duckdb}[]", pa.list_(item.arrow)
        return cls._make(value, *kinds, item=item)

    def __repr__(self) -> str:
        return f"Type({self.value!r})"

    @property
    def numeric(self) -> bool:
        """Say whether sums and means of the type exist."""
        return self in (Type.INT64, Type.FLOAT64)


Type.BOOL = Type._make("bool", "BOOLEAN", "BOOLEAN", pa.bool_())
Type.INT64 = Type._make("int64", "BIGINT", "BIGINT", pa.int64())
Type.FLOAT64 = Type._make("float64", "DOUBLE", "DOUBLE", pa.float64())
Type.STRING = Type._make("string", "STRING", "VARCHAR", pa.string())
Type.INT128 = Type._make("int128", "DECIMAL(38, 0)", "HUGEINT", pa.decimal128(38, 0))
