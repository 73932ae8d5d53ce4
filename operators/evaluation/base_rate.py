"""The share of positives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headrace.operators.evaluation.metric import Metric
from headrace.operators.evaluation.rows import Rows
from headrace.operators.evaluation.sums import Tally, double

__all__ = ["BaseRate", "positives"]


class BaseRate(Metric):
    """The share of positives among the labels, whatever was predicted.

    >>> rate = BaseRate()
    >>> rate.update([0.5, 0.5, 0.5, 0.5], [1, 0, 0, 0])
    >>> rate.value()
    0.25
    """

    name = "base_rate"
    sums = ("units", "positives")

    def terms(self, rows: Rows) -> Sequence[NDArray[np.int64]]:
        """Give the weight, and that of a positive."""
        return rows.units, positives(rows)

    def of(self, tally: Tally) -> float | None:
        """Divide last."""
        units = tally.total("units")
        return double(tally.total("positives")) / double(units) if units else None

    def terms_sql(self) -> Sequence[str]:
        """Print them."""
        return "units", "CASE WHEN y = 1 THEN units ELSE 0 END"

    def value_sql(self) -> str:
        """Divide last."""
        value = "CAST(SUM(positives) AS DOUBLE) / CAST(SUM(units) AS DOUBLE)"
        return f"CASE WHEN SUM(units) > 0 THEN {value} END"


def positives(rows: Rows) -> NDArray[np.int64]:
    """Give the weight of each positive, and 0 of each negative."""
    return np.where(rows.y == 1, rows.units, 0)
