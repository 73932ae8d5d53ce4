"""How many positives were predicted for each that came."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headrace.operators.evaluation.base_rate import positives
from headrace.operators.evaluation.metric import FIXED_SQL, Metric
from headrace.operators.evaluation.rows import Rows
from headrace.operators.evaluation.sums import Tally, double, fixed

__all__ = ["Calibration"]


class Calibration(Metric):
    """The sum of the probabilities over the number of positives: 1 is right, above it too sure.

    A probability enters the sum in fixed point, to 2^−24. None where there is no positive.

    >>> calibration = Calibration()
    >>> calibration.update([0.5, 0.25, 0.75], [1, 0, 0])
    >>> calibration.value()
    1.5
    """

    name = "calibration"
    sums = ("predicted", "positives")

    def terms(self, rows: Rows) -> Sequence[NDArray[np.int64]]:
        """Give the probability, and the weight of a positive."""
        return fixed(rows.weight * rows.p), positives(rows)

    def of(self, tally: Tally) -> float | None:
        """Divide last."""
        came = tally.total("positives")
        return double(tally.total("predicted")) / double(came) if came else None

    def terms_sql(self) -> Sequence[str]:
        """Print them."""
        return FIXED_SQL.format(x="weight * p"), "CASE WHEN y = 1 THEN units ELSE 0 END"

    def value_sql(self) -> str:
        """Divide last."""
        value = "CAST(SUM(predicted) AS DOUBLE) / CAST(SUM(positives) AS DOUBLE)"
        return f"CASE WHEN SUM(positives) > 0 THEN {value} END"
