"""What the metrics of numbers share: an error of each row, summed up as limbs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headrace.operators.evaluation.metric import Metric
from headrace.operators.evaluation.rows import EvaluationError, Rows
from headrace.operators.evaluation.sums import (
    LIMBS,
    ONE,
    Tally,
    double,
    limbs,
    limbs_sql,
    limbs_total,
)

__all__ = ["MeanError"]

_MOST = float(2**80)


class MeanError(Metric):
    """The mean of an error of each row; the errors of a row are cut off below 2^−60.

    It refuses rows whose error is above 2^80, or such large ones that their sum leaves int64.
    """

    sums = ("units", *LIMBS)
    error_sql: str
    """Over `p` and `y`."""

    @abstractmethod
    def errors(self, rows: Rows) -> NDArray[np.float64]:
        """Give the error of each row, 0 or more."""

    def terms(self, rows: Rows) -> Sequence[NDArray[np.int64]]:
        """Give the weight, and the weighted error in limbs."""
        with np.errstate(over="ignore"):  # what overflows is refused here
            weighted = self.errors(rows) * rows.weight
        if not (weighted <= _MOST).all():
            asked = f"asked for {self.name!r}"
            raise EvaluationError(asked, "an error is above 2^80", "scale the numbers")
        return rows.units, *limbs(weighted)

    def of(self, tally: Tally) -> float | None:
        """Divide last."""
        units = tally.total("units")
        if not units:
            return None
        return limbs_total([tally.total(limb) for limb in LIMBS]) / (double(units) / float(ONE))

    def terms_sql(self) -> Sequence[str]:
        """Print them."""
        weighted = f"({self.error_sql}) * weight"
        says = "error('an error is above 2^80')"
        cut = limbs_sql(f"CASE WHEN {weighted} <= {_MOST!r} THEN {weighted} ELSE {says} END")
        return "units", *cut

    def value_sql(self) -> str:
        """Divide last."""
        high, one, low, lowest = (f"CAST(SUM({limb}) AS DOUBLE)" for limb in LIMBS)
        limb = repr(float(1 << 30))
        total = f"({high} * {limb} + {one} + {low} / {limb} + {lowest} / {limb} / {limb})"
        mean = f"{total} / (CAST(SUM(units) AS DOUBLE) / {ONE}e0)"
        return f"CASE WHEN SUM(units) > 0 THEN {mean} END"
