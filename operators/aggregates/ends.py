"""A partial of several rows: the newest or the oldest rows of a tile that have a value."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from headrace.operators.functions import Value
from headrace.operators.types import Type

__all__ = ["AT", "PLACE", "VALUE", "Ends", "Entry"]

AT, PLACE, VALUE = "value_at", ("value_partition", "value_offset"), "value"
"""The columns of a tile's ends, beside key and end."""

Entry = tuple[int, int, int, Value]
"""At, partition, offset, value: they sort as they should, for no two have one place."""


@dataclass(frozen=True)
class Ends:
    """At most `most_rows` rows of a tile whose column is not null: the newest, or the oldest.

    Rows are ordered by (at, partition, offset). Aggregates of a view share ends of equal name, and
    the greatest number of rows among them.
    """

    column: str
    type: Type
    most_rows: int = 1
    newest: bool = True

    @property
    def name(self) -> str:
        """Name the companion table."""
        return f"{'last' if self.newest else 'first'}_{self.column}"

    @property
    def fields(self) -> tuple[tuple[str, Type], ...]:
        """Give the columns of its rows, beside key and end."""
        return *((name, Type.INT64) for name in (AT, *PLACE)), (VALUE, self.type)

    def kept(self, entries: Iterable[Entry]) -> list[Entry]:
        """Give those of a tile's entries that it keeps, oldest first: the definition.

        >>> Ends("x", Type.STRING, 2).kept([(5, 1, 0, "c"), (5, 0, 7, "b"), (9, 0, 8, None),
        ...                                 (1, 0, 0, "a")])
        [(5, 0, 7, 'b'), (5, 1, 0, 'c')]
        """
        known = sorted(entry for entry in entries if entry[3] is not None)
        return known[-self.most_rows :] if self.newest else known[: self.most_rows]
