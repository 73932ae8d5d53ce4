"""Log loss as a share of what the base rate alone would cost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headrace.operators.evaluation.base_rate import positives
from headrace.operators.evaluation.base_rate_log_loss import entropy, with_entropy_sql
from headrace.operators.evaluation.log_loss import LOSS_SQL, losses
from headrace.operators.evaluation.metric import Metric
from headrace.operators.evaluation.rows import Rows
from headrace.operators.evaluation.sums import Tally, double

__all__ = ["NormalisedEntropy"]


class NormalisedEntropy(Metric):
    """Log loss over the entropy of the same rows' share of positives [^1].

    Below 1 is better than knowing the share. None where the rows are of one class.

    >>> ne = NormalisedEntropy()
    >>> ne.update([0.9, 0.2, 0.4], [1, 0, 0])
    >>> round(ne.value(), 4)
    0.4395

    [^1]: He et al., Practical Lessons from Predicting Clicks on Ads at Facebook, ADKDD 2014.
    """

    name = "normalised_entropy"
    sums = ("units", "positives", "loss")
    logarithms = True

    def terms(self, rows: Rows) -> Sequence[NDArray[np.int64]]:
        """Give the weight, that of a positive, and the loss."""
        return rows.units, positives(rows), losses(rows)

    def of(self, tally: Tally) -> float | None:
        """Divide the one mean by the other."""
        units = double(tally.total("units"))
        if not units:
            return None
        base = entropy(double(tally.total("positives")) / units)
        return double(tally.total("loss")) / units / base if base else None

    def terms_sql(self) -> Sequence[str]:
        """Print them."""
        return "units", "CASE WHEN y = 1 THEN units ELSE 0 END", LOSS_SQL

    def value_sql(self) -> str:
        """Take the share; the rest is in `values_sql`."""
        return "CAST(SUM(positives) AS DOUBLE) / CAST(SUM(units) AS DOUBLE)"

    def values_sql(self, tally: str, *, by: bool) -> str:
        """Divide the one mean by the other."""
        kept, group = ("slice, ", " GROUP BY slice") if by else ("", "")
        loss = "CAST(SUM(loss) AS DOUBLE) / CAST(SUM(units) AS DOUBLE)"
        means = f"(SELECT {kept}{loss} AS loss, {self.value_sql()} AS share FROM {tally}{group})"
        value = "CASE WHEN entropy > 0 THEN loss / entropy END"
        return f"SELECT {kept}{value} AS value FROM {with_entropy_sql(means, 'share')}"
