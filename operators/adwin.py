"""ADWIN: a window over a stream that is cut where its older part has another mean than its newer.

::

    values ──► buckets of 1, 1, 2, 4, 4, 8, … values ──► every `CLOCK` values each border between
               (at most `BUCKETS` of a size)              buckets is tried: older | newer
    means further apart than chance allows at `delta` ──► the oldest bucket is dropped, and again

Bifet and Gavaldà, "Learning from time-changing data with adaptive windowing", SDM 2007. The
arithmetic is that of River's `AdaptiveWindowing`, in its order, so that the same values have the
same alarms. After one the window goes on with what stays; `river.drift.ADWIN` begins anew.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.operators.compiled import compiled

__all__ = ["BUCKETS", "CLOCK", "Adwin", "Alarm"]

CLOCK = 32
"""After how many values it looks for a change."""
BUCKETS = 5
"""How many buckets there may be of one size."""
_SIZES = 48  # of buckets: 2^47 values
_LEAST, _GRACE = 5, 10  # of either part; of all
_WIDTH, _TOTAL, _VARIANCE, _TICK = range(4)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Alarm:
    """A change: seen at the value `place` of those given, by one of the detectors.

    `before` is the mean of its window until then and `after` that of what stays, `rows` values.
    """

    place: int
    detector: int
    before: float
    after: float
    rows: int


class Adwin:
    """Several detectors side by side, each of one column of numbers in [0, 1].

    Parameters
    ----------
    delta
        How likely a false alarm may be, at each look and of all detectors together: it is shared
        among them.
    detectors
        How many.

    Examples
    --------
    >>> adwin = Adwin(delta=0.002)
    >>> calm, moved = np.tile([0.0, 1.0], 500), np.ones(100)
    >>> adwin.follow(calm[:, None])
    []
    >>> [(alarm.place, alarm.after > alarm.before) for alarm in adwin.follow(moved[:, None])]
    [(55, True), (87, True)]
    """

    def __init__(self, delta: float, detectors: int = 1) -> None:
        self._delta = delta / detectors
        shape = (detectors, _SIZES, BUCKETS + 1)
        self._totals, self._variances = np.zeros(shape), np.zeros(shape)
        self._filled = np.zeros((detectors, _SIZES), np.int64)
        self._sums = np.zeros((detectors, 4))

    def follow(self, values: Floats) -> list[Alarm]:
        """Take values in their order, a row of one for each detector; give where changes are seen.

        Of several detectors at one value the one with the smallest number is named.
        """
        count = len(values)
        most = (count + int(self._sums[0, _TICK]) % CLOCK) // CLOCK
        place, who = np.empty(most, np.int64), np.empty(most, np.int64)
        means = np.empty((most, 3))
        windows = (self._totals, self._variances, self._filled, self._sums)
        found = _follow(*windows, values, self._delta, place, who, means)
        told = zip(place[:found].tolist(), who.tolist(), means.tolist(), strict=False)
        return [Alarm(at, by, before, after, int(rows)) for at, by, (before, after, rows) in told]

    def state(self) -> dict[str, NDArray[Any]]:
        """Give the windows."""
        return {
            "totals": self._totals,
            "variances": self._variances,
            "filled": self._filled,
            "sums": self._sums,
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take them up."""
        for name, array in self.state().items():
            array[:] = state[name]


@compiled
def _follow(
    totals: NDArray[Any],
    variances: NDArray[Any],
    filled: Ints,
    sums: Floats,
    values: Floats,
    delta: float,
    place: Ints,
    who: Ints,
    means: Floats,
) -> int:
    found = 0
    for i in range(values.shape[0]):
        told = False
        for k in range(values.shape[1]):
            _insert(totals[k], variances[k], filled[k], sums[k], values[i, k])
            width, total = sums[k, _WIDTH], sums[k, _TOTAL]
            if _changed(totals[k], variances[k], filled[k], sums[k], delta) and not told:
                told = True
                place[found], who[found] = i, k
                means[found, 0] = total / width
                means[found, 1] = sums[k, _TOTAL] / sums[k, _WIDTH]
                means[found, 2] = sums[k, _WIDTH]
                found += 1
    return found


@compiled
def _insert(totals: Floats, variances: Floats, filled: Ints, sums: Floats, value: float) -> None:
    totals[0, filled[0]], variances[0, filled[0]] = value, 0.0
    filled[0] += 1
    sums[_WIDTH] += 1.0
    width = sums[_WIDTH]
    if width > 1.0:
        off = value - sums[_TOTAL] / (width - 1.0)
        sums[_VARIANCE] += (width - 1.0) * off * off / width
    sums[_TOTAL] += value
    size = 0
    while filled[size] == totals.shape[1]:  # one too many: the two oldest become one
        n = 2.0**size
        off = totals[size, 0] / n - totals[size, 1] / n
        upper = size + 1
        at = filled[upper]
        totals[upper, at] = totals[size, 0] + totals[size, 1]
        between = n * n * off * off / (n + n)
        variances[upper, at] = variances[size, 0] + variances[size, 1] + between
        filled[upper] += 1
        _drop(totals[size], variances[size], 2)
        filled[size] -= 2
        size = upper


@compiled
def _drop(totals: Floats, variances: Floats, count: int) -> None:
    length = totals.shape[0]
    for i in range(count, length):
        totals[i - count], variances[i - count] = totals[i], variances[i]
    for i in range(length - count, length):
        totals[i], variances[i] = 0.0, 0.0


@compiled
def _changed(totals: Floats, variances: Floats, filled: Ints, sums: Floats, delta: float) -> bool:
    """Drop buckets from the older end for as long as a border between buckets is a change."""
    sums[_TICK] += 1.0
    if sums[_TICK] % CLOCK != 0.0 or sums[_WIDTH] <= _GRACE:
        return False
    changed, again = False, True
    while again:
        again = _border(totals, filled, sums, delta)
        if again:
            changed = True
            _drop_oldest(totals, variances, filled, sums)
    return changed


@compiled
def _oldest(filled: Ints) -> int:
    size: int = filled.shape[0] - 1
    while size > 0 and filled[size] == 0:
        size -= 1
    return size


@compiled
def _border(totals: Floats, filled: Ints, sums: Floats, delta: float) -> bool:
    """Say whether at some border the older part has another mean than the newer."""
    older, newer = 0.0, sums[_WIDTH]
    older_total, newer_total = 0.0, sums[_TOTAL]
    for size in range(_oldest(filled), -1, -1):
        n = 2.0**size
        for k in range(filled[size]):
            older += n
            newer -= n
            older_total += totals[size, k]
            newer_total -= totals[size, k]
            if size == 0 and k == filled[0] - 1:
                return False
            apart = older_total / older - newer_total / newer
            if newer >= _LEAST and older >= _LEAST:
                chance = math.log(2.0 * math.log(sums[_WIDTH]) / delta)
                parts = 1.0 / (older - _LEAST + 1.0) + 1.0 / (newer - _LEAST + 1.0)
                spread = sums[_VARIANCE] / sums[_WIDTH]
                bound = math.sqrt(2.0 * parts * spread * chance) + 2.0 / 3.0 * chance * parts
                if abs(apart) > bound:
                    return True
    return False


@compiled
def _drop_oldest(totals: Floats, variances: Floats, filled: Ints, sums: Floats) -> None:
    size = _oldest(filled)
    n = 2.0**size
    total, variance = totals[size, 0], variances[size, 0]
    sums[_WIDTH] -= n
    sums[_TOTAL] -= total
    off = total / n - sums[_TOTAL] / sums[_WIDTH]
    width = sums[_WIDTH]
    sums[_VARIANCE] -= variance + n * width * off * off / (n + width)
    _drop(totals[size], variances[size], 1)
    filled[size] -= 1
