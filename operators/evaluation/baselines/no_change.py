"""What came last comes again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headrace.operators.evaluation.baselines.baseline import Baseline

__all__ = ["NoChange"]


class NoChange(Baseline):
    """The last known label; one half before there is one.

    It beats most models where labels come in runs.

    >>> NoChange().follow(np.array([1.0, 1.0, 0.0, 1.0])).tolist()
    [0.5, 1.0, 1.0, 0.0]
    """

    name = "no_change"

    def said(
        self, n: NDArray[np.int64], total: NDArray[np.float64], last: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Say the last label."""
        del n, total
        return last
