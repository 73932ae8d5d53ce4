"""Quantiles of whole numbers, from counts of those that agree in their 7 most significant bits.

A number up to 127 in magnitude is a bin of its own; others share one with those of their sign,
their length in bits and their 7 highest bits. A bin stands for its middle, so a quantile is within
1/128, 0.79 %, of the number at its rank: what the aggregate `quantile` gives. Bins are counted: the
order of the numbers does not matter, and sketches add up exactly. A float64 comes in fixed point.
In memory every bin has a place in one array, in the order of the values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from headrace.operators.compiled import compiled

__all__ = ["BITS", "VALUES", "Sketch", "middle", "places"]

BITS = 7
"""How many significant bits of a number its bin keeps."""

_WHOLE = 1 << BITS  # below, each number is a bin
_HALF = _WHOLE >> 1  # bins for each length in bits from there on
_SIDE = _WHOLE + (64 - BITS - 1) * _HALF  # the place of 0; 2^63 is the last


def middle(value: int) -> float:
    """Give the middle of a number's bin.

    >>> middle(100), middle(1000), middle(-1007)
    (100.0, 1003.5, -1003.5)
    """
    step = 1 << max(abs(value).bit_length() - BITS, 0)
    size = float(abs(value) // step * step) + float(step - 1) / 2.0
    return size if value >= 0 else -size


@compiled
def places(units: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give the place of each number's bin.

    >>> (places(np.array([-1, 0, 1, 128])) - places(np.array([0]))).tolist()
    [-1, 0, 1, 128]
    """
    out = np.empty(len(units), np.int64)
    for i in range(len(units)):
        # The least int64 is its own opposite, and as unsigned it is 2^63: its magnitude.
        magnitude = np.uint64(units[i] if units[i] >= 0 else -units[i])
        shift = np.uint64(0)
        while magnitude >> shift >= np.uint64(_WHOLE):
            shift += np.uint64(1)
        place = np.int64(magnitude)
        if shift > np.uint64(0):
            place = np.int64(shift) * _HALF + np.int64(magnitude >> shift)
        out[i] = _SIDE + place if units[i] >= 0 else _SIDE - place
    return out


def _values() -> list[float]:
    longer = [top << shift for shift in range(1, 64 - BITS) for top in range(_HALF, _WHOLE)]
    side = list(map(middle, [*range(_WHOLE), *longer, 1 << 63]))
    return [-value for value in side[:0:-1]] + side


VALUES: NDArray[np.float64] = np.array(_values())
"""The middle of the bin at each place."""


class Sketch:
    """Counts of numbers by bin.

    >>> sketch = Sketch()
    >>> sketch.add(np.array([5, 1, 1_000, 3]))
    >>> sketch.quantile(0.5), sketch.quantile(1.0), Sketch().quantile(0.5)
    (3.0, 1003.5, None)
    """

    def __init__(self) -> None:
        self.counts: NDArray[np.int64] = np.zeros(len(VALUES), np.int64)

    def add(self, units: NDArray[np.int64]) -> None:
        """Count numbers."""
        self.counts += np.bincount(places(units), minlength=len(self.counts))

    def merge(self, other: Sketch) -> None:
        """Count what `other` counted too."""
        self.counts += other.counts

    def quantile(self, share: float) -> float | None:
        """Give the bin's middle at rank ⌈share · count⌉, at least 1; None where nothing is counted.

        Parameters
        ----------
        share
            From 0, the least number, to 1, the greatest.
        """
        upto = np.cumsum(self.counts)
        if not upto[-1]:
            return None
        rank = max(math.ceil(share * int(upto[-1])), 1)
        return float(VALUES[np.searchsorted(upto, rank)])

    def arrays(self) -> dict[str, NDArray[np.int64]]:
        """Give the bins that are not empty, and their counts."""
        bins = np.flatnonzero(self.counts)
        return {"bins": bins - _SIDE, "counts": self.counts[bins]}

    def restore(self, arrays: Mapping[str, NDArray[np.int64]]) -> None:
        """Go on from what `arrays` gave."""
        self.counts = np.zeros(len(VALUES), np.int64)
        self.counts[arrays["bins"] + _SIDE] = arrays["counts"]
