"""The types a value can have, with the name that each engine gives them.

There are few on purpose: every type here has the same values, the same order and the same
arithmetic in every engine. Times are int64 milliseconds since the epoch, in UTC.

What a producer writes may be narrower than what an event holds: an int32 is checked where it is
read, and is an int64 from there on, so that no engine computes in 32 bits.
"""

from __future__ import annotations

from typing import ClassVar, Self

import pyarrow as pa

from headrace.operators.errors import Gap, NotYet

__all__ = ["NO_COLUMN", "WRITTEN", "Type"]


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
    INT32: ClassVar[Type]
    """Written only: an int64 from −2³¹ to 2³¹ − 1."""
    TIMESTAMP_MS: ClassVar[Type]
    """Written only: an int64 of ms since the epoch, in the years 1 to 9999."""
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
    limits: tuple[int, int] | None = None
    """Of a type that is written only: the least and the greatest of its values."""

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
    def held(self) -> Type:
        """Give the type that an event's value has, where this is how it is written.

        >>> Type("int32").held, Type("string").held
        (Type('int64'), Type('string'))
        """
        return self if self.limits is None else Type.INT64

    @property
    def numeric(self) -> bool:
        """Say whether sums and means of the type exist."""
        return self in (Type.INT64, Type.FLOAT64)


Type.BOOL = Type._make("bool", "BOOLEAN", "BOOLEAN", pa.bool_())
Type.INT64 = Type._make("int64", "BIGINT", "BIGINT", pa.int64())
Type.FLOAT64 = Type._make("float64", "DOUBLE", "DOUBLE", pa.float64())
Type.STRING = Type._make("string", "STRING", "VARCHAR", pa.string())
Type.INT32 = Type._make("int32", "BIGINT", "BIGINT", pa.int64())
Type.INT32.limits = (-(2**31), 2**31 - 1)
Type.TIMESTAMP_MS = Type._make("timestamp_ms", "BIGINT", "BIGINT", pa.int64())
Type.TIMESTAMP_MS.limits = (-62_135_596_800_000, 253_402_300_799_999)
Type.INT128 = Type._make("int128", "DECIMAL(38, 0)", "HUGEINT", pa.decimal128(38, 0))

WRITTEN = (Type.BOOL, Type.INT32, Type.INT64, Type.FLOAT64, Type.STRING, Type.TIMESTAMP_MS)
"""What a producer's columns can be."""
NO_COLUMN: dict[str, Gap] = {
    "decimal": NotYet(
        "engines widen and round decimals apart; sums of float64 are exact to six digits, and an "
        "int64 of the smallest unit is exact"
    ),
    "bytes": NotYet("no function takes them; send them as base64 in a string"),
    "date": NotYet("send the ms of its midnight as timestamp_ms, or its text as string"),
    "list": NotYet("Flink reads an array of a message as NULL; send one event for each item"),
    "struct": NotYet("Flink reads an object of a message as NULL; send its text and use json_…"),
}
"""Types that a column cannot be, and why."""
