"""Numbers on one scale, from what was learned before them and nothing else.

A number becomes (x − mean) / deviation over the labelled rows so far, cut at 10 either way; null
becomes 0. Beyond the first 30 rows a number further out counts in the moments as what it was cut
to, so that one outlier does not flatten all that come after it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headrace.operators.compiled import compiled

__all__ = ["Moments"]

_FURTHEST = 10.0
_FIRST = 30.0

Floats = NDArray[np.float64]


class Moments:
    """Count, mean and squared deviation of each of `width` numbers, in float64, row after row.

    >>> moments = Moments(1)
    >>> numbers, labels = np.array([[1.0], [3.0], [2.0], [np.nan]]), np.array([0.0, 1.0, 0.0, 1.0])
    >>> moments.scale(numbers, np.arange(4), labels).tolist()
    [[0.0], [0.0], [0.0], [0.0]]
    >>> moments.scaled(np.array([[3.0]])).round(3).tolist()
    [[1.225]]
    """

    def __init__(self, width: int, state: Floats | None = None) -> None:
        self.state = np.zeros((width, 3)) if state is None else state.copy()

    def scale(self, numbers: Floats, rows: NDArray[np.int64], labels: Floats) -> Floats:
        """Scale rows in the order `rows`, learning those that have a label after scaling them."""
        out = np.zeros_like(numbers)
        _scale(self.state, numbers, rows, labels, out)
        return out

    def refresh(self, places: Sequence[int]) -> None:
        """Let numbers go on as if their mean and deviation were of the first rows alone."""
        for place in places:
            count = self.state[place, 0]
            if count > _FIRST:
                self.state[place, 2] *= _FIRST / count
                self.state[place, 0] = _FIRST

    def scaled(self, numbers: Floats) -> Floats:
        """Scale rows, learning none."""
        return self.scale(numbers, np.arange(len(numbers)), np.full(len(numbers), np.nan))


@compiled
def _scale(
    state: Floats, numbers: Floats, rows: NDArray[np.int64], labels: Floats, out: Floats
) -> None:
    for step in range(rows.shape[0]):
        row = rows[step]
        for j in range(numbers.shape[1]):
            x = numbers[row, j]
            if math.isnan(x):
                continue
            count, mean, squares = state[j, 0], state[j, 1], state[j, 2]
            deviation = math.sqrt(squares / count) if count > 0.0 else 0.0
            if deviation > 0.0:
                cut = max(min((x - mean) / deviation, _FURTHEST), -_FURTHEST)
                out[row, j] = cut
                if count >= _FIRST:
                    x = mean + cut * deviation
            if math.isnan(labels[step]):
                continue
            x = max(min(x, 1e100), -1e100)
            state[j, 0] = count + 1.0
            state[j, 1] = mean + (x - mean) / (count + 1.0)
            state[j, 2] = squares + (x - mean) * (x - state[j, 1])
