"""Transforms of numbers by their quantiles, from a sketch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from headrace.operators.sketch import Sketch
from headrace.operators.transforms.stepped import Scaling

__all__ = ["Sketched"]


@dataclass(eq=False)
class Sketched(Scaling):
    """A scaling that counts its numbers by bins of 7 bits: its quantiles are within 0.79 %.

    A float64 is counted in fixed point, so to six digits after the point at best.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self._sketch = Sketch()

    def learn(self, units: NDArray[np.int64]) -> None:
        """Count."""
        self._sketch.add(units)

    def quantiles(self, shares: list[float]) -> list[float]:
        """Give the quantiles; none where nothing was learned."""
        found = (self._sketch.quantile(share) for share in shares)
        return [unit / self.scale for unit in found if unit is not None]

    def _check_shares(self, low: float, high: float) -> None:
        found = f"its shares are {low} and {high}"
        self.refuse_unless(0 <= low < high <= 1, found, "give two from 0 to 1, the lower first")

    def merge(self, later: Self) -> None:
        """Add up the counts."""
        self._sketch.merge(later._sketch)
        self._merge_steps()

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {**self._sketch.arrays()}

    def _restore(self, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> None:
        super()._restore(arrays, facts)
        self._sketch.restore(arrays)
