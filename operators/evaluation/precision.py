"""The share of positives among those that were said to be."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headrace.operators.evaluation.rows import Rows
from headrace.operators.evaluation.sums import Tally
from headrace.operators.evaluation.thresholded import Thresholded

__all__ = ["Precision"]


class Precision(Thresholded):
    """The share of positives among the rows with p ≥ the threshold; None where there are none.

    >>> precision = Precision(threshold=0.5)
    >>> precision.update([0.9, 0.8, 0.6, 0.2, 0.1], [1, 1, 0, 1, 0])
    >>> precision.value()
    0.6666666666666666
    """

    name = "precision"
    sums = ("found", "wrong")

    def terms(self, rows: Rows) -> Sequence[NDArray[np.int64]]:
        """Count what is said to be positive, and is or is not."""
        return (
            self.counted(rows, said=True, came=True),
            self.counted(rows, said=True, came=False),
        )

    def of(self, tally: Tally) -> float | None:
        """Divide last."""
        return self.share(tally, "found", "wrong")

    def terms_sql(self) -> Sequence[str]:
        """Print them."""
        return (
            self.counted_sql(said=True, came=True),
            self.counted_sql(said=True, came=False),
        )

    def value_sql(self) -> str:
        """Divide last."""
        return self.share_sql("found", "wrong")
