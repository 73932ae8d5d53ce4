"""How many different values a window has, exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from headrace.operators.aggregates.aggregate import Array, Partials
from headrace.operators.aggregates.bins import Bins, values_of
from headrace.operators.aggregates.of_rows import Gathered, Ints, OfRows
from headrace.operators.types import Type

__all__ = ["CountDistinct"]


class CountDistinct(OfRows):
    """Count the different values of a column, nulls aside; 0 over an empty window.

    Exact, and so a tile keeps every value that it has: `hll` keeps at most 4096 registers. A
    float64 is refused, for it is seldom meant to be compared for equality.

    >>> CountDistinct("x", Type.STRING).of(["a", None, "b", "a"]), CountDistinct("x").of([])
    (2, 0)
    """

    name = "count_distinct"
    takes = (Type.INT64, Type.STRING, Type.BOOL)

    @property
    def type(self) -> Type:
        """Give int64."""
        return Type.INT64

    @property
    def rows(self) -> Bins:
        """Give a bin for each value."""
        return values_of(self.column, self.kind)

    def gathered(self, rows: Gathered, at: Ints) -> Array:
        """Count the bins."""
        del at
        return rows.counts

    def gathered_sql(self, rows: str, by: str) -> str:
        """Count the bins."""
        return f"SELECT {by}, COUNT(*) AS y FROM {rows} GROUP BY {by}"

    def result(self, partials: Partials, age_ms: Ints) -> tuple[Array, Array]:
        """Take the count; a window without bins has 0."""
        del age_ms
        values, valid = partials[self.rows.name]
        return np.where(valid, values, 0), np.ones(len(values), dtype=np.bool_)

    def result_sql(self, merged: Mapping[str, str], age_ms: str) -> str:
        """Print the same."""
        del age_ms
        return f"COALESCE({merged[self.rows.name]}, 0)"

    def of(self, values: Sequence[object]) -> int:
        """Count."""
        return len({value for value in values if value is not None})
