"""Scaling to a mean of 0 and a standard deviation of 1."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from headrace.operators.transforms.columns import Numbers
from headrace.operators.transforms.exact import total, total_of_squares
from headrace.operators.transforms.stepped import Array, Fit, Scaling

__all__ = ["Standard"]


@dataclass(eq=False)
class Standard(Scaling):
    """Take away the mean and divide by the standard deviation (of the population).

    Where all numbers were one and the same, only the mean is taken away. Count, sum and sum of
    squares are exact; the mean and the variance are rounded once each, from their ratios.

    >>> import pyarrow as pa
    >>> from headrace.operators.types import Type
    >>> standard = Standard("x", Type.INT64)
    >>> standard.update(pa.table({"x": [1, None, 3]}))
    >>> standard.transform(pa.table({"x": [1, 2, 5, None]})).column(0).to_pylist()
    [-1.0, 0.0, 3.0, None]
    """

    name = "standard"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._count = self._sum = self._squares = 0

    def learn(self, units: NDArray[np.int64]) -> None:
        """Add to the sums."""
        self._count += len(units)
        self._sum += total(units)
        self._squares += total_of_squares(units)

    def fit(self) -> Fit:
        """Give the mean and the standard deviation."""
        if not self._count:
            return ()
        spread = self._count * self._squares - self._sum**2
        deviation = math.sqrt(spread / (self._count * self.scale) ** 2)
        return self._sum / (self._count * self.scale), deviation or 1.0

    def values(self, given: Numbers, fit: Fit) -> Array:
        """Scale."""
        mean, deviation = fit
        return (given.values - np.float64(mean)) / np.float64(deviation)

    def text(self, fit: Fit) -> str:
        """Write the same."""
        mean, deviation = fit
        return f"({{x}} - ({mean!r})) / {deviation!r}"

    def merge(self, later: Self) -> None:
        """Add up the sums."""
        self._count += later._count
        self._sum += later._sum
        self._squares += later._squares
        self._merge_steps()

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {}

    def _facts(self) -> dict[str, Any]:
        # As text: the sums may have more digits than a number in JSON keeps.
        sums = {"sum": str(self._sum), "squares": str(self._squares)}
        return {**super()._facts(), "count": self._count, **sums}

    def _restore(self, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> None:
        super()._restore(arrays, facts)
        self._count = facts["count"]
        self._sum, self._squares = int(facts["sum"]), int(facts["squares"])
