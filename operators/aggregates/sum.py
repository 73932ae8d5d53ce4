"""The sum of a column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from headrace.operators.aggregates.aggregate import (
    SCALE,
    Aggregate,
    Array,
    Partial,
    Partials,
    fixed,
    numbers,
    summed,
    within_int64,
)
from headrace.operators.types import Type

__all__ = ["Sum"]


class Sum(Aggregate):
    """Sum a column exactly, nulls aside; 0 over an empty window.

    A float64 is summed in fixed point with six digits, so that the order of rows cannot matter.
    A sum that leaves int64 is an error in every engine; it never wraps.

    >>> Sum("x").of([1, None, 3]), Sum("x", Type.FLOAT64).of([0.1, 0.2])
    (4, 0.3)
    """

    name = "sum"
    takes = (Type.INT64, Type.FLOAT64)

    @property
    def type(self) -> Type:
        """Give the column's own type."""
        return self.kind

    @property
    def partials(self) -> tuple[Partial, ...]:
        """Give one sum."""
        return (summed(self.column, self.kind),)

    def result(self, partials: Partials, age_ms: npt.NDArray[np.int64]) -> tuple[Array, Array]:
        """Take the sum, divided by the scale where it was in fixed point."""
        del age_ms
        values, _ = partials[self.partials[0].name]
        valid = np.ones(len(values), dtype=np.bool_)
        if self.kind is Type.INT64:
            return values, valid
        return values.astype(np.float64) / np.float64(SCALE), valid

    def result_sql(self, merged: Mapping[str, str], age_ms: str) -> str:
        """Print the same."""
        del age_ms
        total = f"COALESCE({merged[self.partials[0].name]}, 0)"
        if self.kind is Type.INT64:
            return total
        return f"CAST({total} AS DOUBLE) / CAST({SCALE} AS DOUBLE)"

    def of(self, values: Sequence[object]) -> float:
        """Sum."""
        if self.kind is Type.INT64:
            return within_int64(sum(numbers(values)))
        return float(within_int64(sum(map(fixed, numbers(values))))) / float(SCALE)
