"""The Brier score."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headrace.operators.evaluation.error import MeanError
from headrace.operators.evaluation.rows import Rows

__all__ = ["Brier"]


class Brier(MeanError):
    """The mean of (p − y)², of probabilities: bounded, where log loss is not [^1].

    >>> brier = Brier()
    >>> brier.update([0.5, 0.75], [1, 1])
    >>> brier.value()
    0.15625

    [^1]: Brier, Verification of Forecasts Expressed in Terms of Probability, 1950.
    """

    name = "brier"
    error_sql = "(p - y) * (p - y)"

    def errors(self, rows: Rows) -> NDArray[np.float64]:
        """Take the square."""
        off = rows.p - rows.y
        return off * off
