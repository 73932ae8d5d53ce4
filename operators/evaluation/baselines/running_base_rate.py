"""The share of positives so far."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headrace.operators.evaluation.baselines.baseline import Baseline

__all__ = ["RunningBaseRate"]


class RunningBaseRate(Baseline):
    """The share of positives among the labels so far; one half before there is one.

    >>> RunningBaseRate().follow(np.array([1.0, 0.0, 0.0, 1.0])).tolist()
    [0.5, 1.0, 0.5, 0.3333333333333333]
    """

    name = "base_rate"

    def said(
        self, n: NDArray[np.int64], total: NDArray[np.float64], last: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Divide."""
        del last
        return total / n
