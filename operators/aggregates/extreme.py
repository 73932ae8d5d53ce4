"""The smallest and the greatest value of a column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from headrace.operators.aggregates.aggregate import (
    Aggregate,
    Array,
    Merge,
    Partial,
    Partials,
    numbers,
)
from headrace.operators.types import Type

__all__ = ["Max", "Min"]


class _Extreme(Aggregate):
    takes = (Type.INT64, Type.FLOAT64)
    merge: ClassVar[Merge]

    @property
    def type(self) -> Type:
        """Give the column's own type."""
        return self.kind

    @property
    def partials(self) -> tuple[Partial, ...]:
        """Give one extreme."""
        sql = f"{self.name.upper()}(`{self.column}`)"
        name = f"{self.name}_{self.column}"
        return (Partial(name, sql, self.merge, self.kind, self.column, self.of),)

    def of(self, values: Sequence[object]) -> float | None:
        """Take the extreme."""
        return self.merge.of(numbers(values))

    def result(self, partials: Partials, age_ms: npt.NDArray[np.int64]) -> tuple[Array, Array]:
        """Take it as it is."""
        del age_ms
        return partials[self.partials[0].name]

    def result_sql(self, merged: Mapping[str, str], age_ms: str) -> str:
        """Print it as it is."""
        del age_ms
        return merged[self.partials[0].name]


class Min(_Extreme):
    """Take the smallest value, nulls aside; null where there is none.

    >>> Min("x").of([3, None, 1]), Min("x").of([])
    (1, None)
    """

    name = "min"
    merge = Merge.MIN


class Max(_Extreme):
    """Take the greatest value, nulls aside; null where there is none.

    >>> Max("x").of([3, None, 1]), Max("x").of([])
    (3, None)
    """

    name = "max"
    merge = Merge.MAX
