"""How many robust standard deviations a number is from the median."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from headrace.operators.aggregates import SCALE
from headrace.operators.evaluation.rows import EvaluationError
from headrace.operators.evaluation.score import State
from headrace.operators.outliers.outliers import Outliers
from headrace.operators.sketch import VALUES, Sketch, places

__all__ = ["RobustZ"]

_OF_MEDIAN = 1.482602218505602  # for normal numbers these make standard deviations of them
_OF_MEAN = 1.2533141373155001
_MOST = 9e12  # of which fixed point is an int64


class RobustZ(Outliers):
    """The distance from the median over the median distance (MAD), scaled as a z-score [^1].

    Up to half of the rows can be strange without hiding one another. Median and MAD are those of
    the rows up to the last multiple of `refresh`, from a sketch that is right to 0.8 %, of numbers
    to six digits after the point and up to 9e12. Where more than half of the rows are equal the
    mean distance stands in for the median one; where all are, an equal row scores 0 and another has
    no score.

    Parameters
    ----------
    column
        The column of numbers.
    refresh
        Every how many rows median and MAD are taken anew; 1 is exact, and slow.
    least
        How many rows there must be before one is scored.

    Examples
    --------
    >>> strange = RobustZ("delay", refresh=1, least=5)
    >>> scores = strange.follow({"delay": [1, 2, 3, 4, 5, 3, 60, None]})
    >>> [None if z is None else round(z, 1) for z in scores.to_pylist()]
    [None, None, None, None, None, 0.0, 38.8, None]

    [^1]: Iglewicz and Hoaglin, How to Detect and Handle Outliers, 1993.
    """

    name = "robust_z"

    def __init__(self, column: str, refresh: int = 100, least: int = 30) -> None:
        if refresh < 1 or least < 1:
            asked = f"asked for refresh = {refresh} and least = {least}"
            raise EvaluationError(asked, "they count rows", "give 1 or more")
        self.column = column
        self.refresh = refresh
        self.least = least
        self._sketch = Sketch()
        self._n = 0
        self._centre: tuple[float, float] | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Name the column."""
        return (self.column,)

    @property
    def told(self) -> dict[str, Any]:
        """Say the column and the counts."""
        counts = {"refresh": self.refresh, "least": self.least}
        return {"outliers": self.name, "column": self.column, **counts}

    def blank(self) -> Self:
        """Make another."""
        return type(self)(self.column, self.refresh, self.least)

    def state(self) -> State:
        """Give the sketch, and the centre that holds until it is next taken."""
        centre = None if self._centre is None else list(self._centre)
        return State(self._sketch.arrays(), {"told": self.told, "centre": centre})

    def _restore(self, state: State) -> None:
        self._sketch.restore(state.arrays)
        self._n = int(self._sketch.counts.sum())
        centre = state.facts["centre"]
        self._centre = None if centre is None else (centre[0], centre[1])

    def _merge(self, other: Self) -> None:
        self._sketch.merge(other._sketch)
        self._n += other._n
        self._take_centre()

    def _follow(self, rows: NDArray[np.float64]) -> list[float | None]:
        if not (np.abs(rows) <= _MOST).all():
            asked = f"asked to score outliers of {self.column}"
            raise EvaluationError(asked, f"a value is beyond {_MOST:g}", "scale the numbers")
        units = np.rint(rows[:, 0] * float(SCALE)).astype(np.int64)
        scores: list[float | None] = []
        while len(scores) < len(units):
            upto = len(scores) + self.refresh - self._n % self.refresh
            chunk = units[len(scores) : upto]
            scores += self._scored(chunk)
            self._sketch.add(chunk)
            self._n += len(chunk)
            if self._n % self.refresh == 0:
                self._take_centre()
        return scores

    def _take_centre(self) -> None:
        """Take the median, and the deviation from it, in fixed point."""
        median = self._sketch.quantile(0.5)
        if median is None:
            return
        bins = np.flatnonzero(self._sketch.counts)
        counts, distances = self._sketch.counts[bins], np.abs(VALUES[bins] - median)
        order = np.argsort(distances, kind="stable")
        upto = np.cumsum(counts[order])
        half = float(distances[order][np.searchsorted(upto, (self._n + 1) // 2)])
        # In the order of the bins, one after the other: the same bits from the same counts.
        mean = float(np.cumsum(distances * counts)[-1]) / float(self._n)
        self._centre = median, half * _OF_MEDIAN or mean * _OF_MEAN

    def _scored(self, units: NDArray[np.int64]) -> list[float | None]:
        """Score rows of which none is beyond the next multiple of `refresh`."""
        enough = self._n + np.arange(len(units)) >= self.least
        if self._centre is None:
            return [None] * len(units)
        median, deviation = self._centre
        if deviation:
            found = np.abs(units - median) / deviation
        else:
            found, enough = np.zeros(len(units)), enough & (VALUES[places(units)] == median)
        return [z if scored else None for z, scored in zip(found.tolist(), enough, strict=True)]
