"""How surprising what came was, to whoever gave it a probability."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headrace.operators.evaluation.metric import FIXED_SQL, Metric
from headrace.operators.evaluation.rows import Rows
from headrace.operators.evaluation.sums import Tally, double, fixed

__all__ = ["Surprise"]


class Surprise(Metric):
    """The mean of −ln p, in nats: the log loss where p is what was given to the class that came.

    So several classes are scored: p is the probability of the one that came, and y tells whether it
    was the most likely, of which `base_rate` makes the accuracy. As in `log_loss` a probability is
    taken as no nearer than 1e-7 to 0 or 1, and a row's loss enters the sum to 2^−24.

    >>> surprise = Surprise()
    >>> surprise.update([0.9, 0.2, 0.4], [1, 0, 1])
    >>> round(surprise.value(), 4)
    0.877
    """

    name = "surprise"
    sums = ("units", "loss")
    logarithms = True

    def terms(self, rows: Rows) -> Sequence[NDArray[np.int64]]:
        """Give the weight and the loss."""
        return rows.units, fixed(rows.weight * -rows.ln[0])

    def of(self, tally: Tally) -> float | None:
        """Divide last."""
        units = tally.total("units")
        return double(tally.total("loss")) / double(units) if units else None

    def terms_sql(self) -> Sequence[str]:
        """Print them."""
        return "units", FIXED_SQL.format(x="weight * -ln_p")

    def value_sql(self) -> str:
        """Divide last."""
        value = "CAST(SUM(loss) AS DOUBLE) / CAST(SUM(units) AS DOUBLE)"
        return f"CASE WHEN SUM(units) > 0 THEN {value} END"
