"""Quantiles of whole numbers, from counts of the numbers rounded to 7 significant bits.

A number below 128 in magnitude is a bin of its own; of others the 7 most significant bits are kept,
halves rounded away from zero. So a quantile is within 1/128, 0.79 %, of the number at its rank.
Bins are counted: the order of the numbers does not matter, and sketches add up exactly. A float64
comes in fixed point. In memory every bin has a place in one array, in the order of the values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from headrace.operators.compiled import compiled

__all__ = ["BITS", "VALUES", "Sketch", "places", "rounded"]

BITS = 7
"""How many significant bits of a number its bin keeps."""

_WHOLE = 1 << BITS  # below, each number is a bin
_HALF = _WHOLE >> 1  # bins for each length in bits from there on
_SIDE = _WHOLE + (64 - BITS - 1) * _HALF  # the place of 0; 2^63 is the last


def rounded(value: int) -> int:
    """Round a whole number to its 7 most significant bits, halves away from zero.

    >>> rounded(100), rounded(1_000_000), rounded(-257), rounded(258)
    (100, 999424, -256, 260)
    """
    magnitude = abs(value)
    shift = max(magnitude.bit_length() - BITS, 0)
    near = (magnitude + (1 << shift >> 1)) >> shift << shift
    return near if value >= 0 else -near


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
            top = ((magnitude >> (shift - np.uint64(1))) + np.uint64(1)) >> np.uint64(1)
            # A carry into one bit more falls on the first bin of the next length.
            place = _WHOLE + np.int64(shift - np.uint64(1)) * _HALF + np.int64(top) - _HALF
        out[i] = _SIDE + place if units[i] >= 0 else _SIDE - place
    return out


def _values() -> list[int]:
    longer = [top << shift for shift in range(1, 64 - BITS) for top in range(_HALF, _WHOLE)]
    side = [*range(_WHOLE), *longer, 1 << 63]
    return [-value for value in side[:0:-1]] + side


_EXACT = _values()
VALUES: NDArray[np.float64] = np.array(_EXACT, np.float64)
"""The value of the bin at each place; with 7 bits each is a float64."""


class Sketch:
    """Counts of numbers by bin.

    >>> sketch = Sketch()
    >>> sketch.add(np.array([5, 1, 1_000, 3]))
    >>> sketch.quantile(0.5), sketch.quantile(1.0), Sketch().quantile(0.5)
    (3, 1000, None)
    """

    def __init__(self) -> None:
        self.counts: NDArray[np.int64] = np.zeros(len(VALUES), np.int64)

    def add(self, units: NDArray[np.int64]) -> None:
        """Count numbers."""
        self.counts += np.bincount(places(units), minlength=len(self.counts))

    def merge(self, other: Sketch) -> None:
        """Count what `other` counted too."""
        self.counts += other.counts

    def quantile(self, share: float) -> int | None:
        """Give the bin's value at rank ⌈share · count⌉, at least 1; None where nothing is counted.

        Parameters
        ----------
        share
            From 0, the least number, to 1, the greatest.
        """
        upto = np.cumsum(self.counts)
        if not upto[-1]:
            return None
        rank = max(math.ceil(share * int(upto[-1])), 1)
        return _EXACT[int(np.searchsorted(upto, rank))]

    def arrays(self) -> dict[str, NDArray[np.int64]]:
        """Give the bins that are not empty, and their counts."""
        bins = np.flatnonzero(self.counts)
        return {"bins": bins - _SIDE, "counts": self.counts[bins]}

    def restore(self, arrays: Mapping[str, NDArray[np.int64]]) -> None:
        """Go on from what `arrays` gave."""
        self.counts = np.zeros(len(VALUES), np.int64)
        self.counts[arrays["bins"] + _SIDE] = arrays["counts"]
