"""Sums of int64 and of their squares, exactly: as whole numbers of Python, which have no end."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["total", "total_of_squares"]

_32 = np.uint64(32)
_LOW = np.uint64(2**32 - 1)


def total(units: NDArray[np.int64]) -> int:
    """Sum.

    >>> total(np.array([2**62, 2**62, -1]))
    9223372036854775807
    """
    # Halves of 32 bits: their sums stay within int64 up to 2^31 numbers.
    return (int((units >> 32).sum()) << 32) + int((units & 0xFFFFFFFF).sum())


def total_of_squares(units: NDArray[np.int64]) -> int:
    """Sum the squares.

    >>> total_of_squares(np.array([-(2**63), 3])) == 2**126 + 9
    True
    """
    magnitude = np.abs(units).view(np.uint64)  # of the least int64, too: its bits read 2^63
    high, low = magnitude >> _32, magnitude & _LOW
    middle = _total(high * low) << 33
    return (_total(high * high) << 64) + middle + _total(low * low)


def _total(products: NDArray[np.uint64]) -> int:
    return (int((products >> _32).sum()) << 32) + int((products & _LOW).sum())
