"""What came most often comes again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headrace.operators.evaluation.baselines.baseline import Baseline

__all__ = ["Majority"]


class Majority(Baseline):
    """The class of most labels so far, 0 where both have as many; one half before there is one.

    >>> Majority().follow(np.array([1.0, 0.0, 0.0, 1.0])).tolist()
    [0.5, 1.0, 0.0, 0.0]
    """

    name = "majority"

    def said(
        self, n: NDArray[np.int64], total: NDArray[np.float64], last: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Say the class of more than half."""
        del last
        return (2 * total > n).astype(np.float64)
