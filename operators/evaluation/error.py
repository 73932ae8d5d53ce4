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

    @property
    @abstractmethod
    def error_sql(self) -> str:
        """Print the error of a row, over `p` and `y`."""

    @abstractmethod
    def errors(self, rows: Rows) -> NDArray[np.float64]:
        """Give the error of each row, 0 or more."""

    def terms(self, rows: Rows) -> Sequence[NDArray[np.int64]]:
        """Give the weight, and the weighted error in limbs."""
        with np.errstate(over="ignore"):  # what overflows is refused here
            return rows.units, *limbs_of(self.name, self.errors(rows) * rows.weight)

    def of(self, tally: Tally) -> float | None:
        """Divide last."""
        units = tally.total("units")
        if not units:
            return None
        return limbs_total([tally.total(limb) for limb in LIMBS]) / (double(units) / float(ONE))

    def terms_sql(self) -> Sequence[str]:
        """Print them."""
        return "units", *limbs_terms_sql(f"({self.error_sql}) * weight")

    def value_sql(self) -> str:
        """Divide last."""
        return limbs_mean_sql(LIMBS)


def limbs_of(name: str, weighted: NDArray[np.float64]) -> list[NDArray[np.int64]]:
    """Give weighted errors in limbs; refuse what is above 2^80."""
    if not (weighted <= _MOST).all():
        asked = f"asked for {name!r}"
        raise EvaluationError(asked, "an error is above 2^80", "scale the numbers")
    return limbs(weighted)


def limbs_terms_sql(weighted: str) -> tuple[str, ...]:
    """Print the same for DuckDB."""
    says = "error('an error is above 2^80')"
    return limbs_sql(f"CASE WHEN {weighted} <= {_MOST!r} THEN {weighted} ELSE {says} END")


def limbs_mean_sql(limbs: Sequence[str], less: Sequence[str] = ()) -> str:
    """Print the mean of what is summed in limbs, less what is in others."""
    total = _total_sql(limbs)
    total = f"({total} - {_total_sql(less)})" if less else total
    mean = f"{total} / (CAST(SUM(units) AS DOUBLE) / {ONE}e0)"
    return f"CASE WHEN SUM(units) > 0 THEN {mean} END"


def _total_sql(limbs: Sequence[str]) -> str:
    high, one, low, lowest = (f"CAST(SUM({limb}) AS DOUBLE)" for limb in limbs)
    limb = repr(float(1 << 30))
    return f"({high} * {limb} + {one} + {low} / {limb} + {lowest} / {limb} / {limb})"
