"""A partial of several rows: for each key and tile the bins that its rows fall in, with a number.

::

    rows ─► bin of each, if any ─► (key, end, bin, n) ─┐ merged over the tiles of a window by bin
            a value, a register,    n: how many rows,  ├─► (bin, n) … ─► one value
            a magnitude             or the greatest    ┘
                                    rank of one

To the engines a bin is one more group key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from headrace.operators.aggregates.merge import Merge
from headrace.operators.functions import Value
from headrace.operators.types import Type

__all__ = ["BIN", "NUMBER", "Bins", "values_of"]

BIN, NUMBER = "bin", "n"
"""The columns of a tile's bins, beside key and end."""


@dataclass(frozen=True)
class Bins:
    """The bins of a column's values, each with a number that merges.

    Parameters
    ----------
    name
        Of the companion table; aggregates of a view share bins of equal name.
    column
        Whose values fall into bins; a null falls in none.
    type
        A bin's.
    sql
        A row's bin, as every engine prints it.
    of
        A value's bin and its number: the definition.
    merge
        How the numbers of one bin become one.
    number_sql
        The number of a bin's rows in a tile.
    most_rows
        The most bins that a tile can have; None where there is no bound but its rows.

    """

    name: str
    column: str
    type: Type
    sql: str
    of: Callable[[Value], tuple[Value, int]]
    merge: Merge = Merge.ADD
    number_sql: str = "COUNT(*)"
    most_rows: int | None = None

    @property
    def fields(self) -> tuple[tuple[str, Type], ...]:
        """Give the columns of its rows, beside key and end."""
        return (BIN, self.type), (NUMBER, Type.INT64)

    def gather(self, values: Iterable[Value]) -> dict[Value, int]:
        """Give the bins of rows with these values.

        >>> values_of("x", Type.INT64).gather([7, None, 3, 7])
        {7: 2, 3: 1}
        """
        return self.merged([dict([self.of(value)]) for value in values if value is not None])

    def merged(self, parts: Sequence[Mapping[Value, int]]) -> dict[Value, int]:
        """Merge the bins of several tiles."""
        numbers: dict[Value, list[int]] = {}
        for part in parts:
            for place, number in part.items():
                numbers.setdefault(place, []).append(number)
        return {place: int(self.merge.of(each) or 0) for place, each in numbers.items()}


def values_of(column: str, kind: Type) -> Bins:
    """Give the bins that are the values themselves, with how often each is there."""
    return Bins(f"values_{column}", column, kind, f"`{column}`", _once)


def _once(value: Value) -> tuple[Value, int]:
    return value, 1
