"""What a version learned from, in sixteen bytes: a checksum of rows in their order.

It is no proof against somebody who forges a log. It tells at once whether two versions saw the same
data, and its state is two numbers: so a learner that is started again goes on with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.operators.compiled import compiled

__all__ = ["Checksum"]

_BEGINS = (0x243F6A8885A308D3, 0x13198A2E03707344)


class Checksum:
    """Of rows, however they are cut into calls.

    >>> one, two = Checksum(), Checksum()
    >>> one.add([np.array([1, 2, 3]), np.array([[0.5], [0.25], [0.0]])])
    >>> two.add([np.array([1]), np.array([[0.5]])])
    >>> two.add([np.array([2, 3]), np.array([[0.25], [0.0]])])
    >>> one.text == two.text, one.text
    (True, 'dc12d42dd9d1a4f81bde005d967d5743')
    """

    def __init__(self) -> None:
        self.state = np.array(_BEGINS, np.uint64)

    def add(self, columns: Sequence[NDArray[Any]]) -> None:
        """Take rows: columns of equal length, each of one or two dimensions."""
        rows = len(columns[0])
        whole = [
            column.astype(np.float64 if column.dtype.kind == "f" else np.int64)
            for column in columns
        ]
        bits = [
            column.view(np.uint64).reshape(rows, column.size // max(rows, 1)) for column in whole
        ]
        _add(self.state, np.ascontiguousarray(np.concatenate(bits, axis=1)))

    @property
    def text(self) -> str:
        """Give it in hexadecimal."""
        return "".join(f"{int(half):016x}" for half in self.state)


@compiled
def _add(state: NDArray[np.uint64], bits: NDArray[np.uint64]) -> None:
    left, right = state[0], state[1]
    for row in range(bits.shape[0]):
        for j in range(bits.shape[1]):
            left = (left ^ bits[row, j]) * np.uint64(0x9E3779B97F4A7C15)
            left ^= left >> np.uint64(29)
            right = (right + bits[row, j]) * np.uint64(0xBF58476D1CE4E5B9)
            right ^= right >> np.uint64(32)
    state[0], state[1] = left, right
