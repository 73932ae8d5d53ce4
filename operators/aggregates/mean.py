"""The arithmetic mean of a column."""

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
    counted,
    fixed,
    numbers,
    summed,
    within_int64,
)
from headrace.operators.types import Type

__all__ = ["Mean"]


class Mean(Aggregate):
    """Take the mean of a column, nulls aside; null where there is no value.

    The order of operations is (double(sum) / scale) / double(count), with an exact sum.

    >>> Mean("x").of([1, None, 4]), Mean("x").of([None])
    (2.5, None)
    """

    name = "mean"
    takes = (Type.INT64, Type.FLOAT64)

    @property
    def type(self) -> Type:
        """Give float64."""
        return Type.FLOAT64

    @property
    def partials(self) -> tuple[Partial, ...]:
        """Give the sum and the count."""
        return summed(self.column, self.kind), counted(self.column)

    def result(self, partials: Partials, age_ms: npt.NDArray[np.int64]) -> tuple[Array, Array]:
        """Divide last."""
        del age_ms
        total, count = (partials[partial.name][0] for partial in self.partials)
        valid = np.greater(count, 0)
        value = total.astype(np.float64)
        if self.kind is Type.FLOAT64:
            value = value / np.float64(SCALE)
        return value / np.where(valid, count, 1).astype(np.float64), valid

    def result_sql(self, merged: Mapping[str, str], age_ms: str) -> str:
        """Print the same, in the same order."""
        del age_ms
        total, count = (merged[partial.name] for partial in self.partials)
        value = f"CAST({total} AS DOUBLE)"
        if self.kind is Type.FLOAT64:
            value = f"({value} / CAST({SCALE} AS DOUBLE))"
        return f"CASE WHEN {count} > 0 THEN {value} / CAST({count} AS DOUBLE) END"

    def of(self, values: Sequence[object]) -> float | None:
        """Take the mean."""
        known = numbers(values)
        if not known:
            return None
        if self.kind is Type.FLOAT64:
            total = within_int64(sum(map(fixed, known)))
            return float(total) / float(SCALE) / float(len(known))
        return float(within_int64(sum(known))) / float(len(known))
