"""The expected calibration error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.operators.evaluation.base_rate import positives
from headrace.operators.evaluation.metric import FIXED_SQL, Metric
from headrace.operators.evaluation.rows import EvaluationError, Rows
from headrace.operators.evaluation.sums import Tally, double, fixed

__all__ = ["ECE"]

_MOST_BINS = 10_000


class ECE(Metric):
    """How far the probabilities of a bin are from the share of its positives, in the mean [^1].

    The bins are of equal width in probability, each weighted by its rows. 0 is right, and what
    `Calibration` lets cancel out shows here.

    Parameters
    ----------
    bins
        How many, 1 to 10,000.

    Examples
    --------
    >>> ece = ECE(bins=10)
    >>> ece.update([0.25, 0.25, 0.75, 0.75], [0, 0, 1, 0])
    >>> ece.value()
    0.25

    [^1]: Naeini et al., Obtaining Well Calibrated Probabilities Using Bayesian Binning, AAAI 2015.
    """

    name = "ece"
    sums = ("units", "predicted", "positives")

    def __init__(self, bins: int = 15) -> None:
        if not 1 <= bins <= _MOST_BINS:
            asked, found = f"asked for an ECE of {bins} bins", f"there can be 1 to {_MOST_BINS}"
            raise EvaluationError(asked, found, "choose among them")
        super().__init__()
        self.bins = bins

    @property
    def parameters(self) -> dict[str, Any]:
        """Give the number of bins."""
        return {"bins": self.bins}

    def key(self, rows: Rows) -> NDArray[np.int64]:
        """Give the bin; the last one holds 1."""
        place: NDArray[np.float64] = np.floor(rows.p * float(self.bins))
        return np.minimum(place, self.bins - 1).astype(np.int64)

    def terms(self, rows: Rows) -> Sequence[NDArray[np.int64]]:
        """Give the weight, the probability, and the weight of a positive."""
        return rows.units, fixed(rows.weight * rows.p), positives(rows)

    def of(self, tally: Tally) -> float | None:
        """Sum up how far each bin is off, exactly; divide last."""
        units = tally.total("units")
        off = np.abs(tally.column("predicted") - tally.column("positives"))
        return double(int(off.sum())) / double(units) if units else None

    @property
    def key_sql(self) -> str:  # type: ignore[override]  # it depends on the number of bins
        """Print the bin."""
        return f"CAST(LEAST(FLOOR(p * {float(self.bins)!r}), {self.bins - 1}) AS BIGINT)"

    def terms_sql(self) -> Sequence[str]:
        """Print them."""
        return (
            "units",
            FIXED_SQL.format(x="weight * p"),
            "CASE WHEN y = 1 THEN units ELSE 0 END",
        )

    def value_sql(self) -> str:
        """Sum up, divide last."""
        off = "CAST(SUM(ABS(predicted - positives)) AS DOUBLE)"
        return f"CASE WHEN SUM(units) > 0 THEN {off} / CAST(SUM(units) AS DOUBLE) END"
