"""The root of the mean squared error."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from headrace.operators.evaluation.error import MeanError
from headrace.operators.evaluation.rows import Rows
from headrace.operators.evaluation.sums import Tally

__all__ = ["RMSE"]


class RMSE(MeanError):
    """The root of the mean of (p − y)², of numbers of any kind.

    >>> rmse = RMSE()
    >>> rmse.update([1.0, 3.0], [0.0, 10.0])
    >>> rmse.value()
    5.0
    """

    name = "rmse"
    binary = False

    @property
    def error_sql(self) -> str:
        """Print it."""
        return "(p - y) * (p - y)"

    def errors(self, rows: Rows) -> NDArray[np.float64]:
        """Take the square."""
        off = rows.p - rows.y
        return off * off

    def of(self, tally: Tally) -> float | None:
        """Take the root last."""
        mean = super().of(tally)
        return None if mean is None else math.sqrt(mean)

    def value_sql(self) -> str:
        """Take the root last."""
        return f"SQRT({super().value_sql()})"
