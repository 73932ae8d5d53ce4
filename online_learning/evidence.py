"""Evidence that a mean is above 0, to be looked at after any row: betting against "it is not".

A gambler who holds that the mean of x is above 0 bets a share of what he has on each x before it is
seen. Were the mean at most 0, whatever came before, no way of betting would make him rich: that he
ever has 1 / alpha times what he began with has a probability of at most alpha, however often one
looks (Ville). So his wealth is evidence, valid at any time [^1]; of two models' losses on the same
rows it tells that one is worse [^2].

Which share is right depends on the mean and the variance, which are not known: he divides what he
has among eight shares, and what the best of them has made of its eighth is counted. No share risks
more than nine tenths on a row. How far an x can go is known before its label: a log loss has one of
two values.

A watch never has less than it began with, so that what comes now counts, whatever was before. It
rises falsely, on average, not before 1 / alpha rows [^3].

[^1]: Waudby-Smith, Ramdas: "Estimating means of bounded random variables by betting", JRSS B 2024.
[^2]: Choe, Ramdas: "Comparing sequential forecasters", Operations Research 2024.
[^3]: Shin, Ramdas, Rinaldo: "E-detectors: a nonparametric framework for sequential change
    detection", New England Journal of Statistics in Data Science 2024.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from headrace.operators.compiled import compiled

__all__ = ["Evidence"]

_SHARES = np.array([0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0])
_MOST = 1e300  # a float64 ends at 1e308, and one row does not double it

Floats = NDArray[np.float64]


class Evidence:
    """Of several means at once, row after row; how rows are cut into calls changes no bit.

    Parameters
    ----------
    watches
        Of each mean, whether it is a watch.

    Examples
    --------
    >>> evidence = Evidence([False, True])
    >>> x = np.array([[0.4, -0.4]] * 50 + [[0.4, 0.4]] * 50)
    >>> evidence.add(x, np.full_like(x, 0.5))
    >>> evidence.logs.round(1).tolist()
    [52.2, 25.0]
    >>> evidence.shown(0, alpha=0.01), evidence.shown(1, alpha=1e-12)
    (True, False)
    """

    def __init__(self, watches: list[bool]) -> None:
        self._watches = np.array(watches)
        self.wealth = np.ones((len(watches), len(_SHARES) + 1))
        """Of each share what it has; in the last place the most that a watch ever had."""

    def add(self, x: Floats, reach: Floats) -> None:
        """Take rows in their order.

        Parameters
        ----------
        x
            Of shape (rows, means); NaN is no bet.
        reach
            How far x could have gone, known before: of the same shape, and no less than x is.
        """
        _add(self.wealth, self._watches, _SHARES, x, reach)

    @property
    def logs(self) -> Floats:
        """Give the logarithm of each wealth: above ln(1 / alpha) it is shown."""
        best = np.where(self._watches, self.wealth[:, -1], self.wealth[:, :-1].max(axis=1))
        logs: Floats = np.log(best / len(_SHARES))
        return logs

    def shown(self, which: int, *, alpha: float) -> bool:
        """Say whether the mean is shown to be above 0; of a watch, whether it ever rose."""
        return bool(self.logs[which] >= math.log(1 / alpha))

    def forget(self, which: list[int]) -> None:
        """Begin anew."""
        self.wealth[which] = 1.0


@compiled
def _add(
    wealth: Floats, watches: NDArray[np.bool_], shares: Floats, x: Floats, reach: Floats
) -> None:
    last = len(shares)
    for row in range(x.shape[0]):
        for i in range(x.shape[1]):
            if math.isnan(x[row, i]):
                continue
            most = 0.9 / max(reach[row, i], 1e-9)
            for j in range(last):
                held = wealth[i, j]
                if watches[i]:
                    held = max(held, 1.0)
                held *= 1.0 + min(shares[j], most) * x[row, i]
                wealth[i, j] = max(min(held, _MOST), 1.0 / _MOST)
                if watches[i]:
                    wealth[i, last] = max(wealth[i, last], wealth[i, j])
