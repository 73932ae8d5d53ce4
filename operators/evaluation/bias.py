"""The mean error, with its sign."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headrace.operators.evaluation.error import limbs_mean_sql, limbs_of, limbs_terms_sql
from headrace.operators.evaluation.metric import Metric
from headrace.operators.evaluation.rows import Rows
from headrace.operators.evaluation.sums import LIMBS, ONE, Tally, double, limbs_total

__all__ = ["Bias"]

_OVER = tuple(f"over_{limb}" for limb in LIMBS)
_UNDER = tuple(f"under_{limb}" for limb in LIMBS)


class Bias(Metric):
    """The mean of p − y: above 0 is too much, and errors of either side make up for each other.

    >>> bias = Bias()
    >>> bias.update([2.0, 1.0], [1.0, 4.0])
    >>> bias.value()
    -1.0
    """

    name = "bias"
    binary = False
    sums = ("units", *_OVER, *_UNDER)

    def terms(self, rows: Rows) -> Sequence[NDArray[np.int64]]:
        """Give the weight, and both sides apart: what is summed is never below 0."""
        with np.errstate(over="ignore"):  # what overflows is refused here
            off = (rows.p - rows.y) * rows.weight
        over, under = np.maximum(off, 0.0), np.maximum(-off, 0.0)
        return rows.units, *limbs_of(self.name, over), *limbs_of(self.name, under)

    def of(self, tally: Tally) -> float | None:
        """Divide last."""
        units = tally.total("units")
        if not units:
            return None
        over, under = (limbs_total([tally.total(one) for one in side]) for side in (_OVER, _UNDER))
        return (over - under) / (double(units) / float(ONE))

    def terms_sql(self) -> Sequence[str]:
        """Print them."""
        off = "((p - y) * weight)"
        over, under = f"GREATEST({off}, 0e0)", f"GREATEST(-{off}, 0e0)"
        return "units", *limbs_terms_sql(over), *limbs_terms_sql(under)

    def value_sql(self) -> str:
        """Divide last."""
        return limbs_mean_sql(_OVER, _UNDER)
