"""The pinball loss: what a quantile is asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.operators.evaluation.error import MeanError
from headrace.operators.evaluation.rows import EvaluationError, Rows

__all__ = ["Pinball"]


class Pinball(MeanError):
    """The mean of level · (y − p) where y is above p, of (1 − level) · (p − y) below [^1].

    No number makes it smaller than the one that y stays below with probability `level`.

    Parameters
    ----------
    level
        Of the quantile, between 0 and 1.

    Examples
    --------
    >>> pinball = Pinball(level=0.75)
    >>> pinball.update([1.0, 1.0], [3.0, 0.0])
    >>> pinball.value()
    0.875

    [^1]: Koenker, Bassett, Regression Quantiles, Econometrica 1978.
    """

    name = "pinball"
    binary = False

    def __init__(self, level: float = 0.5) -> None:
        if not 0 < level < 1:
            asked, found = f"asked for the loss of the quantile {level}", "it is no share"
            raise EvaluationError(asked, found, "give one between 0 and 1")
        super().__init__()
        self.level = level

    @property
    def parameters(self) -> dict[str, Any]:
        """Give the level."""
        return {"level": self.level}

    @property
    def error_sql(self) -> str:
        """Print it."""
        above = f"{self.level!r} * (y - p)"
        return f"CASE WHEN y > p THEN {above} ELSE {1 - self.level!r} * (p - y) END"

    def errors(self, rows: Rows) -> NDArray[np.float64]:
        """Weigh the distance by the side."""
        above, below = self.level * (rows.y - rows.p), (1 - self.level) * (rows.p - rows.y)
        return np.where(rows.y > rows.p, above, below)
