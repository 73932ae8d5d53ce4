"""The harmonic mean of precision and recall."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headrace.operators.evaluation.rows import Rows
from headrace.operators.evaluation.sums import Tally
from headrace.operators.evaluation.thresholded import Thresholded

__all__ = ["F1"]


class F1(Thresholded):
    """Twice the found positives over that and all mistakes; None where there is neither.

    >>> f1 = F1(threshold=0.5)
    >>> f1.update([0.9, 0.8, 0.6, 0.2, 0.1], [1, 1, 0, 1, 0])
    >>> f1.value()
    0.6666666666666666
    """

    name = "f1"
    sums = ("found", "wrong", "missed")

    def terms(self, rows: Rows) -> Sequence[NDArray[np.int64]]:
        """Count the positives that are found, the negatives said to be, and those missed."""
        return (
            self.counted(rows, said=True, came=True),
            self.counted(rows, said=True, came=False),
            self.counted(rows, said=False, came=True),
        )

    def of(self, tally: Tally) -> float | None:
        """Divide last: 2 found / (2 found + wrong + missed)."""
        half = self.share(tally, "found", "found", "wrong", "missed")
        return None if half is None else 2.0 * half

    def terms_sql(self) -> Sequence[str]:
        """Print them."""
        return (
            self.counted_sql(said=True, came=True),
            self.counted_sql(said=True, came=False),
            self.counted_sql(said=False, came=True),
        )

    def value_sql(self) -> str:
        """Divide last."""
        return f"2e0 * {self.share_sql('found', 'found', 'wrong', 'missed')}"
