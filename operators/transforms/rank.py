"""Scaling to ranks: quantile scaling, whatever the distribution is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.operators.errors import NotYet
from headrace.operators.sketch import places
from headrace.operators.transforms.columns import Numbers
from headrace.operators.transforms.sketched import Sketched
from headrace.operators.transforms.stepped import Array, Fit
from headrace.operators.transforms.transform import only_in_process

__all__ = ["Rank"]

_GAP = NotYet("its table of ranks has up to 7425 rows; quantile_bin is one of few")


@dataclass(eq=False)
class Rank(Sketched):
    """Give the share of the numbers before that are less, and half of those in the same bin.

    So the values are spread evenly from 0 to 1, and an outlier is no further out than the last.

    >>> import pyarrow as pa
    >>> from headrace.operators.types import Type
    >>> rank = Rank("x", Type.INT64)
    >>> rank.update(pa.table({"x": [10, 20, 20, 1_000_000]}))
    >>> rank.transform(pa.table({"x": [-5, 10, 20, 30, 9_000_000, None]})).column(0).to_pylist()
    [0.0, 0.125, 0.5, 0.75, 1.0, None]
    """

    name = "rank"
    gaps = only_in_process(_GAP)

    def fit(self) -> Fit:
        """Give the places of the bins that are not empty, then their counts."""
        filled = np.flatnonzero(self._sketch.counts)
        return (*filled.tolist(), *self._sketch.counts[filled].tolist())

    def values(self, given: Numbers, fit: Fit) -> Array:
        """Look up the ranks."""
        filled, counts = np.array(fit, np.int64).reshape(2, -1)
        upto = np.concatenate([[0], np.cumsum(counts)])
        bins = places(given.units)
        at_least = np.searchsorted(filled, bins, side="left")
        at_most = np.searchsorted(filled, bins, side="right")
        twice: NDArray[np.int64] = upto[at_least] + upto[at_most]
        return twice / np.float64(2 * upto[-1])
