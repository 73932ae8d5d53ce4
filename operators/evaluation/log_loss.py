"""The mean logarithmic loss of probabilities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headrace.operators.evaluation.metric import FIXED_SQL, Metric
from headrace.operators.evaluation.rows import Rows
from headrace.operators.evaluation.sums import Tally, double, fixed

__all__ = ["LOSS_SQL", "LogLoss", "losses"]

LOSS_SQL = FIXED_SQL.format(x="weight * -(CASE WHEN y = 1 THEN ln_p ELSE ln_q END)")
"""The loss of a row in fixed point."""


class LogLoss(Metric):
    """The mean of −ln of the probability that was given to what came, in nats.

    A probability is taken as no nearer than 1e-7 to 0 or 1, so that a row costs at most 16.118.
    The loss of a row enters the sum in fixed point, to 2^−24.

    >>> loss = LogLoss()
    >>> loss.update([0.9, 0.2, 0.4], [1, 0, 0])
    >>> round(loss.value(), 4)
    0.2798
    """

    name = "log_loss"
    sums = ("units", "loss")
    logarithms = True

    def terms(self, rows: Rows) -> Sequence[NDArray[np.int64]]:
        """Give the weight and the loss."""
        return rows.units, losses(rows)

    def of(self, tally: Tally) -> float | None:
        """Divide last."""
        units = tally.total("units")
        return double(tally.total("loss")) / double(units) if units else None

    def terms_sql(self) -> Sequence[str]:
        """Print them."""
        return "units", LOSS_SQL

    def value_sql(self) -> str:
        """Divide last."""
        value = "CAST(SUM(loss) AS DOUBLE) / CAST(SUM(units) AS DOUBLE)"
        return f"CASE WHEN SUM(units) > 0 THEN {value} END"


def losses(rows: Rows) -> NDArray[np.int64]:
    """Give the weighted loss of each row in fixed point."""
    ln_p, ln_q = rows.ln
    return fixed(rows.weight * -np.where(rows.y == 1, ln_p, ln_q))
