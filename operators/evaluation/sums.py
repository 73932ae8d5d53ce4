"""Exact sums: every row becomes whole numbers, and those add up to the same bits in any order.

::

    rows ──► key, one whole number per sum ──► Tally: per key the sums ──► value: divide last

A number enters a sum in fixed point, FLOOR(x · 2^24 + 0.5); a product of unbounded size enters as
four whole numbers of 30 bits (`limbs`), down to 2^−60.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["LIMBS", "ONE", "Tally", "double", "fixed", "limbs", "limbs_sql", "limbs_total"]

ONE = 1 << 24
"""Fixed point: off by 3e-8 a row at most; an int64 holds 5e11 ones."""

LIMBS = ("limb_3", "limb_2", "limb_1", "limb_0")
"""The sums that a product becomes, of 2^30, 1, 2^−30 and 2^−60."""

_LIMB = float(1 << 30)
_MOST = float(1 << 62)
_PENDING = 1024


def fixed(x: NDArray[np.float64]) -> NDArray[np.int64]:
    """Turn numbers of at least 0 into fixed point.

    >>> fixed(np.array([1.0, 0.25, 1e-9])).tolist()
    [16777216, 4194304, 0]
    """
    whole: NDArray[np.float64] = np.floor(x * float(ONE) + 0.5)
    return whole.astype(np.int64)


def limbs(x: NDArray[np.float64]) -> list[NDArray[np.int64]]:
    """Cut numbers of 0 to 2^90 into limbs; what is below 2^−60 is cut off.

    >>> [limb.tolist() for limb in limbs(np.array([2.0**31 + 1.5]))]
    [[2], [1], [536870912], [0]]
    """
    cut: list[NDArray[np.int64]] = []
    rest = x / _LIMB
    for _ in LIMBS:
        whole = np.floor(rest)
        cut.append(whole.astype(np.int64))
        rest = (rest - whole) * _LIMB  # both exact: the upper bits go, the lower ones move up
    return cut


def limbs_sql(x: str) -> tuple[str, ...]:
    """Print the same for DuckDB."""
    cut: list[str] = []
    rest = f"({x}) / {_LIMB!r}"
    for _ in LIMBS:
        cut.append(f"CAST(FLOOR({rest}) AS BIGINT)")
        rest = f"({rest} - FLOOR({rest})) * {_LIMB!r}"
    return tuple(cut)


def limbs_total(totals: Sequence[int]) -> float:
    """Make a number of the sums of limbs, from the highest down."""
    high, one, low, lowest = map(double, totals)
    return high * _LIMB + one + low / _LIMB + lowest / _LIMB / _LIMB


def double(total: int) -> float:
    """Turn a sum into a double, by halves of 64 bits as DuckDB does it with its 128 bits.

    >>> double(2**70 + 1), double(0)
    (1.1805916207174113e+21, 0.0)
    """
    return float(total & (2**64 - 1)) + float(total >> 64) * 2.0**64


class Tally:
    """Sums of whole numbers of at least 0, by a whole key.

    Raises OverflowError, at `add`, when a sum could leave int64.

    >>> tally = Tally(("rows", "loss"))
    >>> tally.add(np.array([7, 3, 7]), np.array([[1, 10], [1, 20], [1, 30]]))
    >>> tally.keys.tolist(), tally.column("loss").tolist(), tally.total("rows")
    ([3, 7], [20, 40], 3)
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._keys = np.empty(0, np.int64)
        self._sums = np.empty((0, len(self.names)), np.int64)
        self._pending: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
        self._waiting = 0
        self._bound = np.zeros(len(self.names))

    def add(self, keys: NDArray[np.int64], terms: NDArray[np.int64]) -> None:
        """Add terms, a row of them for each key; a key may come many times."""
        bound = self._bound + terms.sum(axis=0, dtype=np.float64)
        if (bound >= _MOST).any():
            raise OverflowError(self.names[int(bound.argmax())])
        self._bound = bound
        # Sorted at once it costs a batch, and all that is here only when as much has gathered.
        self._pending.append(_summed(keys, terms))
        self._waiting += len(self._pending[-1][0])
        if self._waiting > max(_PENDING, len(self._keys)):
            self._gather()

    @property
    def keys(self) -> NDArray[np.int64]:
        """List the keys there are, sorted."""
        self._gather()
        return self._keys

    @property
    def sums(self) -> NDArray[np.int64]:
        """Give the sums, a row for each key."""
        self._gather()
        return self._sums

    def column(self, name: str) -> NDArray[np.int64]:
        """Give one sum for each key."""
        return self.sums[:, self.names.index(name)]

    def total(self, name: str) -> int:
        """Give one sum over all keys."""
        return int(self.column(name).sum())

    def _gather(self) -> None:
        if not self._pending:
            return
        parts = [(self._keys, self._sums), *self._pending]
        keys, sums = (np.concatenate(part) for part in zip(*parts, strict=True))
        self._keys, self._sums = _summed(keys, sums)
        self._pending, self._waiting = [], 0


def _summed(
    keys: NDArray[np.int64], terms: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    if not len(keys):
        return keys, terms
    if (keys == keys[0]).all():
        return keys[:1], terms.sum(axis=0, keepdims=True)
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    first = np.flatnonzero(np.diff(ordered, prepend=ordered[0] - 1))
    return ordered[first], np.add.reduceat(terms[order], first, axis=0)
