"""What the metrics of a decision share: a row is said to be positive from a threshold on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.operators.evaluation.metric import Metric
from headrace.operators.evaluation.rows import EvaluationError, Rows
from headrace.operators.evaluation.sums import Tally, double

__all__ = ["Thresholded"]


class Thresholded(Metric):
    """A metric of the rows that are said to be positive: those with p ≥ `threshold`.

    Parameters
    ----------
    threshold
        A probability.
    """

    def __init__(self, threshold: float = 0.5) -> None:
        if not 0.0 <= threshold <= 1.0:
            asked = f"asked for a threshold of {threshold}"
            raise EvaluationError(asked, "it is no probability", "give a number from 0 to 1")
        super().__init__()
        self.threshold = float(threshold)

    @property
    def parameters(self) -> dict[str, Any]:
        """Give the threshold."""
        return {"threshold": self.threshold}

    def counted(self, rows: Rows, *, said: bool, came: bool) -> NDArray[np.int64]:
        """Give the weight of each row that was said to be `said` and was `came`."""
        counts = ((rows.p >= self.threshold) == said) & ((rows.y == 1) == came)
        return np.where(counts, rows.units, 0)

    def counted_sql(self, *, said: bool, came: bool) -> str:
        """Print the same."""
        says = f"p {'>=' if said else '<'} {self.threshold!r}"
        return f"CASE WHEN {says} AND y = {int(came)} THEN units ELSE 0 END"

    @staticmethod
    def share(tally: Tally, of: str, *others: str) -> float | None:
        """Give a sum's share of itself and others; None where all are 0."""
        part = tally.total(of)
        whole = part + sum(map(tally.total, others))
        return double(part) / double(whole) if whole else None

    @staticmethod
    def share_sql(of: str, *others: str) -> str:
        """Print the same."""
        whole = " + ".join(f"SUM({name})" for name in (of, *others))
        value = f"CAST(SUM({of}) AS DOUBLE) / CAST({whole} AS DOUBLE)"
        return f"CASE WHEN {whole} > 0 THEN {value} END"
