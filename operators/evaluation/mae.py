"""The mean absolute error."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headrace.operators.evaluation.error import MeanError
from headrace.operators.evaluation.rows import Rows

__all__ = ["MAE"]


class MAE(MeanError):
    """The mean of |p − y|, of numbers of any kind.

    >>> mae = MAE()
    >>> mae.update([2.5, -1.0], [2.0, 1.0])
    >>> mae.value()
    1.25
    """

    name = "mae"
    binary = False

    @property
    def error_sql(self) -> str:
        """Print it."""
        return "ABS(p - y)"

    def errors(self, rows: Rows) -> NDArray[np.float64]:
        """Take the distance."""
        distance: NDArray[np.float64] = np.abs(rows.p - rows.y)
        return distance
