"""Outliers cut to what is usual (winsorised)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from headrace.operators.transforms.columns import Numbers
from headrace.operators.transforms.sketched import Sketched
from headrace.operators.transforms.stepped import Array, Fit

__all__ = ["Clip"]


@dataclass(eq=False)
class Clip(Sketched):
    """Make what is below a low quantile that quantile, and what is above a high one that.

    Parameters
    ----------
    low, high
        The shares of the numbers below the two quantiles.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from headrace.operators.types import Type
    >>> clip = Clip("x", Type.INT64, high=0.75)
    >>> clip.update(pa.table({"x": [1, 2, 3, 1_000_000]}))
    >>> clip.transform(pa.table({"x": [-5, 2, 7, None]})).column(0).to_pylist()
    [1.0, 2.0, 3.0, None]
    """

    name = "clip"

    low: float = field(default=0.01, kw_only=True)
    high: float = field(default=0.99, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_shares(self.low, self.high)

    def fit(self) -> Fit:
        """Give the two quantiles."""
        return tuple(self.quantiles([self.low, self.high]))

    def values(self, given: Numbers, fit: Fit) -> Array:
        """Cut."""
        low, high = fit
        return np.minimum(np.maximum(given.values, np.float64(low)), np.float64(high))

    def text(self, fit: Fit) -> str:
        """Write the same."""
        low, high = fit
        return f"LEAST(GREATEST({{x}}, {low!r}), {high!r})"
