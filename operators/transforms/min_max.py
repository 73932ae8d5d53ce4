"""Scaling to the range from 0 to 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from headrace.operators.transforms.columns import Numbers
from headrace.operators.transforms.stepped import Array, Fit, Scaling

__all__ = ["MinMax"]


@dataclass(eq=False)
class MinMax(Scaling):
    """Scale so that the least number so far is 0 and the greatest 1; what is beyond them too.

    Where all numbers were one and the same, it is 0 and what is greater is 1. A float64's ends are
    kept to six digits after the point.

    >>> import pyarrow as pa
    >>> from headrace.operators.types import Type
    >>> min_max = MinMax("x", Type.INT64)
    >>> min_max.update(pa.table({"x": [10, None, 30]}))
    >>> min_max.transform(pa.table({"x": [10, 15, 99, None]})).column(0).to_pylist()
    [0.0, 0.25, 1.0, None]
    """

    name = "min_max"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._ends: tuple[int, int] | None = None

    def learn(self, units: NDArray[np.int64]) -> None:
        """Widen the range."""
        if len(units):
            self._widen((int(units.min()), int(units.max())))

    def _widen(self, ends: tuple[int, int]) -> None:
        mine = self._ends or ends
        self._ends = min(mine[0], ends[0]), max(mine[1], ends[1])

    def fit(self) -> Fit:
        """Give the least number and the range."""
        if self._ends is None:
            return ()
        least, greatest = (end / self.scale for end in self._ends)
        return least, greatest - least or 1.0

    def values(self, given: Numbers, fit: Fit) -> Array:
        """Scale."""
        least, width = fit
        share = (given.values - np.float64(least)) / np.float64(width)
        return np.minimum(np.maximum(share, 0.0), 1.0)

    def text(self, fit: Fit) -> str:
        """Write the same."""
        least, width = fit
        return f"LEAST(GREATEST(({{x}} - ({least!r})) / {width!r}, 0.0), 1.0)"

    def merge(self, later: Self) -> None:
        """Take the wider range."""
        if later._ends is not None:
            self._widen(later._ends)
        self._merge_steps()

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {}

    def _facts(self) -> dict[str, Any]:
        return {**super()._facts(), "ends": None if self._ends is None else list(self._ends)}

    def _restore(self, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> None:
        super()._restore(arrays, facts)
        ends = facts["ends"]
        self._ends = None if ends is None else (ends[0], ends[1])
