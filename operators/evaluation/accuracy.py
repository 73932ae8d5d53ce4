"""The share of rows that were said right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headrace.operators.evaluation.rows import Rows
from headrace.operators.evaluation.sums import Tally
from headrace.operators.evaluation.thresholded import Thresholded

__all__ = ["Accuracy"]


class Accuracy(Thresholded):
    """The share of rows on whose side of the threshold p is; a p equal to it says positive.

    >>> accuracy = Accuracy(threshold=0.5)
    >>> accuracy.update([0.9, 0.8, 0.6, 0.2, 0.1], [1, 1, 0, 1, 0])
    >>> accuracy.value()
    0.6
    """

    name = "accuracy"
    sums = ("correct", "wrong")

    def terms(self, rows: Rows) -> Sequence[NDArray[np.int64]]:
        """Count what was said right, and the rest."""
        correct = np.where((rows.p >= self.threshold) == (rows.y == 1), rows.units, 0)
        return correct, rows.units - correct

    def of(self, tally: Tally) -> float | None:
        """Divide last."""
        return self.share(tally, "correct", "wrong")

    def terms_sql(self) -> Sequence[str]:
        """Print them."""
        right = f"(p >= {self.threshold!r}) = (y = 1)"
        return (
            f"CASE WHEN {right} THEN units ELSE 0 END",
            f"CASE WHEN {right} THEN 0 ELSE units END",
        )

    def value_sql(self) -> str:
        """Divide last."""
        return self.share_sql("correct", "wrong")
