"""The share of the positives that were found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headrace.operators.evaluation.rows import Rows
from headrace.operators.evaluation.sums import Tally
from headrace.operators.evaluation.thresholded import Thresholded

__all__ = ["Recall"]


class Recall(Thresholded):
    """The share of the positives that have p ≥ the threshold; None where there are none.

    >>> recall = Recall(threshold=0.5)
    >>> recall.update([0.9, 0.8, 0.6, 0.2, 0.1], [1, 1, 0, 1, 0])
    >>> recall.value()
    0.6666666666666666
    """

    name = "recall"
    sums = ("found", "missed")

    def terms(self, rows: Rows) -> Sequence[NDArray[np.int64]]:
        """Count the positives that are found, and those that are missed."""
        return (
            self.counted(rows, said=True, came=True),
            self.counted(rows, said=False, came=True),
        )

    def of(self, tally: Tally) -> float | None:
        """Divide last."""
        return self.share(tally, "found", "missed")

    def terms_sql(self) -> Sequence[str]:
        """Print them."""
        return (
            self.counted_sql(said=True, came=True),
            self.counted_sql(said=False, came=True),
        )

    def value_sql(self) -> str:
        """Divide last."""
        return self.share_sql("found", "missed")
