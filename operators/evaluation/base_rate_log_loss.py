"""The log loss of always saying the share of positives."""

from __future__ import annotations

import numpy as np

from headrace.operators.evaluation.base_rate import BaseRate
from headrace.operators.evaluation.logarithm import ln, with_ln_sql
from headrace.operators.evaluation.sums import Tally

__all__ = ["BaseRateLogLoss", "entropy", "with_entropy_sql"]


class BaseRateLogLoss(BaseRate):
    """The log loss, in nats, of saying the share of positives of these same rows to each of them.

    It is the entropy of the labels: 0 where they are of one class. No model can say it, for it
    knows the share beforehand; `RunningBaseRate` is the baseline that does not.

    >>> loss = BaseRateLogLoss()
    >>> loss.update([0.5, 0.5], [1, 0])
    >>> loss.value()
    0.6931471805599453
    """

    name = "base_rate_log_loss"

    def of(self, tally: Tally) -> float | None:
        """Take the entropy of the share."""
        return entropy(super().of(tally))

    def values_sql(self, tally: str, *, by: bool) -> str:
        """Take the entropy of the share."""
        share = super().values_sql(tally, by=by)
        kept = "slice, " if by else ""
        return f"SELECT {kept}entropy AS value FROM {with_entropy_sql(f'({share})', 'value')}"


def entropy(share: float | None) -> float | None:
    """Give the entropy of a share in nats.

    >>> entropy(0.25), entropy(1.0), entropy(None)
    (0.5623351446188083, 0.0, None)
    """
    if share is None or not 0.0 < share < 1.0:
        return None if share is None else 0.0
    yes, no = ln(np.array([share, 1.0 - share])).tolist()
    return float(-(share * yes + (1.0 - share) * no))


def with_entropy_sql(table: str, share: str) -> str:
    """Print a query in brackets that adds `entropy`, of the column `share`, for DuckDB."""
    inside = f"{share} > 0 AND {share} < 1"
    logged = with_ln_sql(
        f"(SELECT *, CASE WHEN {inside} THEN {share} ELSE 5e-1 END AS inner_share FROM {table})",
        {"ln_yes": "inner_share", "ln_no": "(1e0 - inner_share)"},
    )
    value = f"-({share} * ln_yes + (1e0 - {share}) * ln_no)"
    return (
        f"(SELECT *, CASE WHEN {inside} THEN {value} WHEN {share} IS NOT NULL THEN 0e0 END "
        f"AS entropy FROM ({logged}))"
    )
