"""The number of positives."""

from __future__ import annotations

from headrace.operators.evaluation.base_rate import BaseRate
from headrace.operators.evaluation.sums import ONE, Tally, double

__all__ = ["Positives"]


class Positives(BaseRate):
    """How many labels are positive, each by its weight: 0 where there are none, None of no rows.

    >>> positives = Positives()
    >>> positives.update([0.5, 0.5, 0.5], [1, 0, 1])
    >>> positives.value()
    2.0
    """

    name = "positives"

    def of(self, tally: Tally) -> float | None:
        """Leave fixed point."""
        return double(tally.total("positives")) / float(ONE)

    def value_sql(self) -> str:
        """Leave fixed point."""
        return f"CAST(SUM(positives) AS DOUBLE) / {ONE}e0"
