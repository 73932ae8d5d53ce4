"""Counts of numbers in buckets of nearly equal relative width: a median from whole numbers.

A number is m · 2^e with m in [½, 1); each e has 64 buckets of m. A bucket is so at most 1/64 of its
numbers wide, its middle is off by less than 0.8 %, and no logarithm is taken: which bucket a number
is in is exact, on any machine.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headrace.operators.evaluation.sums import Tally

__all__ = ["Sketch", "buckets", "middles"]

_PER_POWER = 64
_LEAST_POWER = -1074  # of the smallest double


class Sketch:
    """A multiset of numbers, to 0.8 % of each; the order and the cut of what is added is the same.

    >>> sketch = Sketch()
    >>> sketch.add(np.array([-3.0, 0.0, 1.0, 5.0, 1000.0]))
    >>> sketch.n, sketch.median
    (5, 1.0078125)
    """

    def __init__(self) -> None:
        self.tally = Tally(("rows",))

    @property
    def n(self) -> int:
        """Count the numbers."""
        return self.tally.total("rows")

    def add(self, x: NDArray[np.float64]) -> None:
        """Add finite numbers."""
        self.tally.add(buckets(x), np.ones((len(x), 1), np.int64))

    @property
    def median(self) -> float:
        """Give the middle of the bucket of the median, the lower one where there are two."""
        return _median(middles(self.tally.keys), self.tally.column("rows"))

    def deviation(self, centre: float) -> tuple[float, float]:
        """Give the median and the mean of the distances from a centre."""
        counts = self.tally.column("rows")
        distances = np.abs(middles(self.tally.keys) - centre)
        order = np.argsort(distances, kind="stable")
        mean = float(np.cumsum(distances * counts)[-1] / counts.sum())  # one after the other
        return _median(distances[order], counts[order]), mean


def buckets(x: NDArray[np.float64]) -> NDArray[np.int64]:
    """Give the bucket of each number; a greater number is never in a lower one."""
    mantissa, power = np.frexp(np.abs(x))
    place = np.floor((mantissa * 2.0 - 1.0) * _PER_POWER).astype(np.int64)
    bucket = (power.astype(np.int64) - _LEAST_POWER) * _PER_POWER + place + 1
    return np.where(x == 0, 0, np.where(x < 0, -bucket, bucket))


def middles(keys: NDArray[np.int64]) -> NDArray[np.float64]:
    """Give the middle of each bucket.

    >>> middles(buckets(np.array([0.0, 1.0, -3.0]))).tolist()
    [0.0, 1.0078125, -3.015625]
    """
    power, place = np.divmod(np.abs(keys) - 1, _PER_POWER)
    mantissa = 0.5 + (place + 0.5) / (2.0 * _PER_POWER)
    middle: NDArray[np.float64] = np.ldexp(mantissa, power + _LEAST_POWER)
    return np.where(keys < 0, -middle, np.where(keys > 0, middle, 0.0))


def _median(values: NDArray[np.float64], counts: NDArray[np.int64]) -> float:
    upto = np.cumsum(counts)
    return float(values[np.searchsorted(upto, (upto[-1] + 1) // 2)])
