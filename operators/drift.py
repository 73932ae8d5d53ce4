"""How far a feature has moved: the population stability index of its values against a baseline's.

::

    baseline ─► counts ─► bins: its tenths, or its values ─┐
                                                           ├─► PSI = Σ (q − p) ln (q / p)
    now ──────► counts ─► the same bins ───────────────────┘

Numbers are counted in a sketch, other values one by one, nulls apart; counts add up exactly over
batches and processes, in any order, so the index of the same rows is the same, bit for bit. The
bins are made when two counts are compared: of numbers, between the baseline's tenths, as the sketch
has them (right to 0.8 %); of other values the most frequent of the baseline, one bin each, and one
for all else; and one for nulls. A bin that nobody is in is left out.

A share is (n + ½) / (N + ½ · bins), so that an empty bin is no infinity: half a row more in each.

References
----------
.. [1] N. Siddiqi, Credit Risk Scorecards (2006): below 0.1 nothing to speak of, up to 0.2 a change
   to look at, above it one to act on.

"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headrace.operators.aggregates.aggregate import MOST_FIXED, SCALE
from headrace.operators.evaluation.logarithm import ln
from headrace.operators.sketch import VALUES, Sketch
from headrace.operators.types import Type

__all__ = ["BINS", "MOST_VALUES", "PSI", "Binned", "Counts", "Numbers", "Values", "psi", "said"]

BINS = 10
"""Of numbers: between the tenths of the baseline."""
MOST_VALUES = 20
"""Of other values: so many have a bin of their own."""
_STEPS = ((0.1, "stable"), (0.2, "moved"))

PSI = "psi."
"""How the names of metrics begin that tell how far a feature has moved."""

Binned = list[tuple[str, int, int]]
"""Each bin's name, and its rows in the baseline and now."""


class Counts(ABC):
    """Counts of a feature's values: `Numbers`, or `Values` of any other type."""

    nulls = 0

    @staticmethod
    def of(kind: Type) -> Counts:
        """Give empty counts for a feature of this type.

        >>> counts = Counts.of(Type.INT64)
        >>> counts.add(pa.array([1, 2, None]))
        >>> counts.rows, counts.nulls
        (3, 1)
        """
        return Numbers(kind) if kind in (Type.INT64, Type.FLOAT64) else Values()

    def add(self, values: pa.Array | pa.ChunkedArray) -> None:
        """Count values; nulls count, too."""
        self.nulls += values.null_count
        self._add(values.drop_null())

    def merge(self, other: Self) -> None:
        """Count what `other` counted, too."""
        self.nulls += other.nulls
        self._merge(other)

    @property
    def rows(self) -> int:
        """Count the rows, nulls among them."""
        return self.nulls + self._known()

    def beside(self, now: Self) -> Binned:
        """Put what is counted `now` beside this baseline, in the baseline's bins."""
        bins = [*self._bins(now), ("null", self.nulls, now.nulls)]
        return [each for each in bins if each[1] or each[2]]

    @abstractmethod
    def _add(self, values: pa.Array | pa.ChunkedArray) -> None: ...

    @abstractmethod
    def _merge(self, other: Self) -> None: ...

    @abstractmethod
    def _known(self) -> int: ...

    @abstractmethod
    def _bins(self, now: Self) -> Binned: ...


class Numbers(Counts):
    """Counts of whole numbers, or of float64s in fixed point, by the bins of a sketch."""

    def __init__(self, kind: Type) -> None:
        self._unit = 1 if kind is Type.INT64 else SCALE
        self._sketch = Sketch()

    def _add(self, values: pa.Array | pa.ChunkedArray) -> None:
        numbers = values.to_numpy()
        if self._unit != 1:
            held = np.clip(numbers, -MOST_FIXED, MOST_FIXED) * self._unit
            # Half away from zero, as everywhere in fixed point.
            numbers = np.trunc(held + np.copysign(0.5, held)).astype(np.int64)
        self._sketch.add(numbers)

    def _merge(self, other: Self) -> None:
        self._sketch.merge(other._sketch)

    def _known(self) -> int:
        return int(self._sketch.counts.sum())

    def _bins(self, now: Self) -> Binned:
        """Cut where the baseline's tenths end; equal ones are one bin."""
        upto = np.cumsum(self._sketch.counts)
        ranks = -(-upto[-1] * np.arange(1, BINS) // BINS)
        ends = np.unique(np.searchsorted(upto, np.maximum(ranks, 1))) if upto[-1] else []
        edges = np.concatenate([[-1], ends, [len(upto) - 1]]).astype(np.int64)
        counts = [_between(each._sketch.counts, edges) for each in (self, now)]
        values = VALUES / self._unit
        names = [f"≤ {values[end]:g}" for end in edges[1:-1]]
        names.append(f"> {values[edges[-2]]:g}" if len(edges) > 2 else "all")
        return list(zip(names, *(each.tolist() for each in counts), strict=True))


def _between(counts: npt.NDArray[np.int64], edges: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    upto = np.concatenate([[0], np.cumsum(counts)])
    found: npt.NDArray[np.int64] = np.diff(upto[edges + 1])
    return found


class Values(Counts):
    """Counts of values that are no numbers, by the value; a list is one."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def _add(self, values: pa.Array | pa.ChunkedArray) -> None:
        self._counts.update(map(str, values.to_pylist()))

    def _merge(self, other: Self) -> None:
        self._counts.update(other._counts)

    def _known(self) -> int:
        return self._counts.total()

    def _bins(self, now: Self) -> Binned:
        kept = sorted(self._counts, key=lambda value: (-self._counts[value], value))[:MOST_VALUES]
        bins = [(value, self._counts[value], now._counts[value]) for value in kept]
        others = [
            each._counts.total() - sum(each._counts[value] for value in kept)
            for each in (self, now)
        ]
        return [*bins, ("other", others[0], others[1])]


def psi(bins: Sequence[tuple[str, int, int]]) -> float | None:
    """Give the index of what `Counts.beside` gave; None where either has no row.

    >>> psi([("a", 50, 50), ("b", 50, 50)])
    0.0
    >>> round(psi([("a", 50, 90), ("b", 50, 10)]), 6)
    0.853059
    """
    counts = np.array([(base, now) for _, base, now in bins], np.float64).reshape(-1, 2)
    totals = counts.sum(axis=0)
    if not totals.all():
        return None
    share = (counts + 0.5) / (totals + 0.5 * len(counts))
    before, now = share[:, 0], share[:, 1]
    total = 0.0
    for term in ((now - before) * (ln(now) - ln(before))).tolist():
        total += term
    return total


def said(index: float) -> str:
    """Say what an index means: ``stable`` below 0.1, ``moved`` below 0.2, else ``drifted``.

    >>> said(0.0999), said(0.1), said(0.2)
    ('stable', 'moved', 'drifted')
    """
    return next((word for least, word in _STEPS if index < least), "drifted")
