"""Whole numbers of 128 bits, in arrays: sums of squares, exact.

Such an array has a row for each number and two int64 columns: the bits of its lower half, and its
upper half. That is how Arrow keeps a decimal128, so nothing is converted. Python's own integers
would do the same, at 0.4 µs an operation against 5 ns.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["floats", "from_arrow", "minus", "times", "zeros"]

Ints = npt.NDArray[np.int64]
Unsigned = npt.NDArray[np.uint64]

_HALF = np.uint64(32)
_LOWER = np.uint64(0xFFFFFFFF)


def zeros(count: int) -> Ints:
    """Give so many zeros."""
    return np.zeros((count, 2), dtype=np.int64)


def from_arrow(array: pa.Array) -> Ints:
    """Give the numbers of a decimal128 without digits after the point; 0 where it is null.

    >>> from_arrow(pa.array([-1, None, 2**64], pa.decimal128(38, 0))).tolist()
    [[-1, -1], [0, 0], [0, 1]]
    """
    bits = np.frombuffer(array.buffers()[1] or b"", dtype=np.int64).reshape(-1, 2)
    wide = bits[array.offset : array.offset + len(array)].copy()
    wide[array.is_null().to_numpy(zero_copy_only=False)] = 0
    return wide


def minus(a: Ints, b: Ints) -> Ints:
    """Subtract; the difference fits.

    >>> minus(np.array([[0, 1]]), np.array([[1, 0]])).tolist()
    [[-1, 0]]
    """
    wide = a - b
    wide[:, 1] -= (a[:, 0].view(np.uint64) < b[:, 0].view(np.uint64)).astype(np.int64)
    return wide


def times(a: Ints, b: Ints) -> Ints:
    """Multiply int64 by int64, without loss.

    >>> times(np.array([-(2**63), 3]), np.array([-(2**63), -1])).tolist()
    [[0, 4611686018427387904], [-3, -1]]
    """
    x, y = (np.ascontiguousarray(each).view(np.uint64) for each in (a, b))
    x0, x1, y0, y1 = x & _LOWER, x >> _HALF, y & _LOWER, y >> _HALF
    middle = x1 * y0 + (x0 * y0 >> _HALF)
    other = x0 * y1 + (middle & _LOWER)
    upper = (x1 * y1 + (middle >> _HALF) + (other >> _HALF)).view(np.int64)
    # As unsigned numbers a negative one is 2^64 too large.
    upper = upper - np.where(a < 0, b, 0) - np.where(b < 0, a, 0)
    return np.stack([(x * y).view(np.int64), upper], axis=1)


def floats(wide: Ints) -> npt.NDArray[np.float64]:
    """Give float64s: double(upper half) · 2^64 + double(lower half), each half rounded once.

    DuckDB does not round a HUGEINT to the nearest DOUBLE; its casts of the halves do.

    >>> floats(np.array([[5, 0], [0, 1], [-1, 2**62]])).tolist()
    [5.0, 1.8446744073709552e+19, 8.507059173023462e+37]
    """
    upper = wide[:, 1].astype(np.float64) * np.float64(2**64)
    return upper + np.ascontiguousarray(wide[:, 0]).view(np.uint64).astype(np.float64)
