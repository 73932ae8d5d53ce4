"""How often something happens."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
import numpy.typing as npt

from headrace.operators.aggregates.aggregate import Aggregate, Array, Partial, Partials
from headrace.operators.aggregates.count import Count
from headrace.operators.aggregates.parameter import ParameterError
from headrace.operators.types import Type

__all__ = ["Rate"]


class Rate(Aggregate):
    """Count the rows, or a column's values that are not null, per second of the window.

    It is double(count) / W, with the window's length W in seconds; 0 over an empty window.

    >>> Rate("x").over(10_000).of([1, None, 3])
    0.2
    """

    name = "rate"
    columns = (0, 1)
    seconds = 0.0
    """The window's length."""

    def over(self, window_ms: int | None) -> Self:
        """Give the rate over a window; without one there is none."""
        if window_ms is None:
            asked = f"asked for {self.name}() without a window"
            found = "a rate is a count per second of its window"
            raise ParameterError(asked, found, f"write it like {self.name}() over 1h")
        told = copy.copy(self)
        told.seconds = window_ms / 1000
        return told

    @property
    def type(self) -> Type:
        """Give float64."""
        return Type.FLOAT64

    @property
    def partials(self) -> tuple[Partial, ...]:
        """Give the count."""
        return Count(self.column).partials

    def result(self, partials: Partials, age_ms: npt.NDArray[np.int64]) -> tuple[Array, Array]:
        """Divide the count."""
        del age_ms
        count, _ = partials[self.partials[0].name]
        valid = np.ones(len(count), dtype=np.bool_)
        return count.astype(np.float64) / np.float64(self.seconds), valid

    def result_sql(self, merged: Mapping[str, str], age_ms: str) -> str:
        """Print the same."""
        del age_ms
        count = f"CAST(COALESCE({merged[self.partials[0].name]}, 0) AS DOUBLE)"
        return f"{count} / CAST({self.seconds!r} AS DOUBLE)"

    def of(self, values: Sequence[object]) -> float:
        """Divide the count."""
        return float(Count(self.column).of(values)) / self.seconds
