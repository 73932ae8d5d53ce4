"""Numbers into bins that are about equally full."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from headrace.operators.transforms.columns import Numbers
from headrace.operators.transforms.sketched import Sketched
from headrace.operators.transforms.stepped import Array, Fit
from headrace.operators.types import Type

__all__ = ["QuantileBin"]


@dataclass(eq=False)
class QuantileBin(Sketched):
    """Give the number of edges at or below the number; the edges are quantiles of those before.

    Equal quantiles make one edge, so there may be fewer bins than asked for.

    Parameters
    ----------
    bins
        At most so many; from 2 to 1000.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from headrace.operators.types import Type
    >>> bins = QuantileBin("x", Type.INT64, bins=4)
    >>> bins.update(pa.table({"x": [10, 20, 30, 40]}))
    >>> bins.transform(pa.table({"x": [-5, 10, 25, 99, None]})).column(0).to_pylist()
    [0, 1, 2, 3, None]
    """

    name = "quantile_bin"
    makes = Type.INT64

    bins: int = field(default=10, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.refuse_unless(2 <= self.bins <= 1000, f"it has {self.bins} bins", "give 2 to 1000")

    def fit(self) -> Fit:
        """Give the edges, ascending."""
        return tuple(sorted(set(self.quantiles([i / self.bins for i in range(1, self.bins)]))))

    def values(self, given: Numbers, fit: Fit) -> Array:
        """Count the edges."""
        edges = np.array(fit, np.float64)
        return np.searchsorted(edges, given.values, side="right").astype(np.int64)

    def text(self, fit: Fit) -> str:
        """Write the same."""
        cases = " ".join(f"WHEN {{x}} < ({edge!r}) THEN {i}" for i, edge in enumerate(fit))
        return f"CASE WHEN {{x}} IS NULL THEN NULL {cases} ELSE {len(fit)} END"
