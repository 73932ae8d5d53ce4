"""A share of the rows, chosen by a hash."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from headrace.operators.event import Event
from headrace.operators.functions import Value
from headrace.operators.streams.operator import Dialect, Step, Types
from headrace.operators.types import Type

__all__ = ["Sample"]

_STEPS = 1 << 32


@dataclass(frozen=True)
class Sample(Step):
    """Keep the rows whose `by` hashes below `share`: all the rows of a value, or none.

    The hash is the first 32 bits of the MD5 of the value's text, compared with ⌊share · 2³²⌋, so a
    larger share holds every smaller one. Null is a value like any other.

    Parameters
    ----------
    by
        One column or several; no float64, whose texts the engines write differently.
    share
        Above 0, up to 1.

    Examples
    --------
    >>> rows = [Event(0, n, {"at": n, "user": f"u{n % 5}"}) for n in range(10)]
    >>> [row.offset for row in Sample(("user",), 0.4).of(rows)]
    [1, 2, 6, 7]

    """

    name = "sample"
    by: tuple[str, ...]
    share: float

    @property
    def bound(self) -> int:
        """Give the least hash that is not kept."""
        numerator, denominator = self.share.as_integer_ratio()
        return numerator * _STEPS // denominator

    def types(self, given: Types) -> dict[str, Type]:
        """Give the same columns."""
        return dict(given)

    def sql(self, rows: str, given: Types, dialect: Dialect) -> str:
        """Print a filter; eight hexadecimal digits compare as the number that they are."""
        texts = [_text_sql(dialect.quote(name), given[name]) for name in self.by]
        digits = f"SUBSTRING(MD5({' || '.join(texts)}), 1, 8)"
        kept = "TRUE" if self.bound >= _STEPS else f"{digits} < '{self.bound:08x}'"
        return f"SELECT {dialect.columns(given)} FROM {rows} WHERE {kept}"

    def of(self, rows: Sequence[Event]) -> list[Event]:
        """Keep what hashes below the bound."""
        return [row for row in rows if self._hash(row) < self.bound]

    def _hash(self, row: Event) -> int:
        said = "".join(_text(row.values[name]) for name in self.by)
        digest = hashlib.md5(said.encode(), usedforsecurity=False).digest()
        return int.from_bytes(digest[:4], "big")


# A bar before each value: so null, which has none, is no empty text.
def _text(value: Value) -> str:
    if value is None:
        return ""
    return f"|{str(value).lower()}" if isinstance(value, bool) else f"|{value}"


def _text_sql(column: str, kind: Type) -> str:
    # Flink writes TRUE, DuckDB true.
    said = f"CAST({column} AS VARCHAR(2147483647))" if kind is Type.INT64 else column
    if kind is Type.BOOL:
        said = f"CASE {column} WHEN TRUE THEN 'true' WHEN FALSE THEN 'false' END"
    return f"COALESCE('|' || {said}, '')"
