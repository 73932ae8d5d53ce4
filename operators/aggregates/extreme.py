"""The smallest and the greatest value of a column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from headrace.operators.aggregates.aggregate import Aggregate, Array, Merge, Partial, Partials
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
        return (Partial(f"{self.name}_{self.column}", sql, self.merge, self.kind),)

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

    def of(self, values: Sequence[object]) -> object:
        """Take the smallest."""
        return min((value for value in values if isinstance(value, int | float)), default=None)


class Max(_Extreme):
    """Take the greatest value, nulls aside; null where there is none.

    >>> Max("x").of([3, None, 1]), Max("x").of([])
    (3, None)
    """

    name = "max"
    merge = Merge.MAX

    def of(self, values: Sequence[object]) -> object:
        """Take the greatest."""
        return max((value for value in values if isinstance(value, int | float)), default=None)
