"""How many robust standard deviations a number is from the median."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from headrace.operators.evaluation.rows import EvaluationError
from headrace.operators.evaluation.score import State
from headrace.operators.outliers.outliers import Outliers
from headrace.operators.outliers.sketch import Sketch, buckets, middles

__all__ = ["RobustZ"]

_OF_MEDIAN = 1.482602218505602  # for normal numbers these make standard deviations of them
_OF_MEAN = 1.2533141373155001
_GREATEST = 1e300


class RobustZ(Outliers):
    """The distance from the median over the median distance (MAD), scaled as a z-score [^1].

    Up to half of the rows can be strange without hiding one another. Median and MAD are those of
    the rows up to the last multiple of `refresh`, from a sketch that is right to 0.8 %. Where more
    than half of the rows are equal the mean distance stands in for the median one; where all are,
    an equal row scores 0 and another has no score.

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
    [None, None, None, None, None, 0.0, 38.4, None]

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
        arrays = {"keys": self._sketch.tally.keys.copy(), "sums": self._sketch.tally.sums.copy()}
        centre = None if self._centre is None else list(self._centre)
        return State(arrays, {"told": self.told, "centre": centre})

    def _restore(self, state: State) -> None:
        self._sketch.tally.add(state.arrays["keys"], state.arrays["sums"])
        self._n = self._sketch.n
        centre = state.facts["centre"]
        self._centre = None if centre is None else (centre[0], centre[1])

    def _merge(self, other: Self) -> None:
        self._sketch.tally.add(other._sketch.tally.keys, other._sketch.tally.sums)
        self._n += other._n
        self._take_centre()

    def _follow(self, rows: NDArray[np.float64]) -> list[float | None]:
        x = rows[:, 0]
        scores: list[float | None] = []
        while len(scores) < len(x):
            upto = len(scores) + self.refresh - self._n % self.refresh
            chunk = x[len(scores) : upto]
            scores += self._scored(chunk)
            self._sketch.add(chunk)
            self._n += len(chunk)
            if self._n % self.refresh == 0:
                self._take_centre()
        return scores

    def _take_centre(self) -> None:
        if not self._n:
            return
        median = self._sketch.median
        of_median, of_mean = self._sketch.deviation(median)
        self._centre = median, of_median * _OF_MEDIAN or of_mean * _OF_MEAN

    def _scored(self, x: NDArray[np.float64]) -> list[float | None]:
        """Score rows of which none is beyond the next multiple of `refresh`."""
        enough = self._n + np.arange(len(x)) >= self.least
        if self._centre is None:
            return [None] * len(x)
        median, deviation = self._centre
        if deviation:
            with np.errstate(over="ignore"):
                found = np.minimum(np.abs(x - median) / deviation, _GREATEST)
        else:
            found, enough = np.zeros(len(x)), enough & (middles(buckets(x)) == median)
        return [z if scored else None for z, scored in zip(found.tolist(), enough, strict=True)]
