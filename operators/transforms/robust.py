"""Scaling that outliers hardly move."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from headrace.operators.transforms.columns import Numbers
from headrace.operators.transforms.sketched import Sketched
from headrace.operators.transforms.stepped import Array, Fit

__all__ = ["Robust"]


@dataclass(eq=False)
class Robust(Sketched):
    """Take away the median and divide by the distance between two quantiles.

    Where that distance is 0, only the median is taken away.

    Parameters
    ----------
    low, high
        The shares of the numbers below the two quantiles; the quartiles, by default.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from headrace.operators.types import Type
    >>> robust = Robust("x", Type.INT64)
    >>> robust.update(pa.table({"x": [1, 2, 3, 4, 1_000_000]}))
    >>> robust.transform(pa.table({"x": [3, 7, None]})).column(0).to_pylist()
    [0.0, 2.0, None]
    """

    name = "robust"

    low: float = field(default=0.25, kw_only=True)
    high: float = field(default=0.75, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_shares(self.low, self.high)

    def fit(self) -> Fit:
        """Give the median and the distance."""
        found = self.quantiles([0.5, self.low, self.high])
        if not found:
            return ()
        median, low, high = found
        return median, high - low or 1.0

    def values(self, given: Numbers, fit: Fit) -> Array:
        """Scale."""
        median, distance = fit
        return (given.values - np.float64(median)) / np.float64(distance)

    def text(self, fit: Fit) -> str:
        """Write the same."""
        median, distance = fit
        return f"({{x}} - ({median!r})) / {distance!r}"
