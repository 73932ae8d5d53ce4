"""A score per value of a column."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from headrace.operators.evaluation.rows import EvaluationError, Name, Rows, grouped
from headrace.operators.evaluation.score import Score, State

__all__ = ["Sliced"]


class Sliced(Score):
    """The same score for each value of a column; null is a value like any other.

    There are at most `most` slices: the first to come stay, and the rows of all others are scored
    together in `rest`. So the order of rows and merges decides who is a slice, but only where there
    are more values than slices.

    Parameters
    ----------
    score
        What is scored in each.
    by
        The column: strings, whole numbers or truths.
    most
        How many slices there may be.

    Examples
    --------
    >>> from headrace.operators.evaluation.base_rate import BaseRate
    >>> sliced = Sliced(BaseRate(), by="carrier", most=2)
    >>> carriers = ["UA", "AA", "UA", "B6", "WN"]
    >>> sliced.update([0.5] * 5, [1, 0, 0, 1, 1], columns={"carrier": carriers})
    >>> sliced.value(), sliced.rest.value(), sliced.rest.n
    ({'AA': 0.0, 'UA': 0.5}, 1.0, 2)
    """

    def __init__(self, score: Score, by: str, most: int = 1000) -> None:
        if most < 1:
            asked = f"asked for {most} slices"
            raise EvaluationError(asked, "that is none", "give 1 or more")
        self.by = by
        self.most = most
        self.rest = score.blank()
        self.slices: dict[Name, Score] = {}

    @property
    def n(self) -> int:
        """Count the rows scored, in all slices and the rest."""
        return self.rest.n + sum(score.n for score in self.slices.values())

    @property
    def told(self) -> dict[str, Any]:
        """Say the slices and what is scored in them."""
        return {"by": self.by, "most": self.most, "of": self.rest.told}

    def add(self, rows: Rows) -> None:
        """Score each row in its slice."""
        names, codes = grouped(rows.column(self.by))
        for code, name in enumerate(names):
            self._of(name).add(rows.take(np.flatnonzero(codes == code)))

    def value(self) -> dict[Name, Any]:
        """Give the value of each slice, in the order of their names."""
        return {name: self.slices[name].value() for name in self._names()}

    def blank(self) -> Self:
        """Make one without rows."""
        return type(self)(self.rest.blank(), self.by, self.most)

    def state(self) -> State:
        """Give the state of each slice, and of the rest."""
        names = self._names()
        states = [self.rest.state(), *(self.slices[name].state() for name in names)]
        arrays = {k: a for i, state in enumerate(states) for k, a in state.within(str(i)).items()}
        parts = [state.facts for state in states]
        return State(arrays, {"told": self.told, "names": names, "parts": parts})

    def _restore(self, state: State) -> None:
        parts = [
            self.rest.from_state(state.part(str(i), facts))
            for i, facts in enumerate(state.facts["parts"])
        ]
        self.rest = parts[0]
        self.slices = dict(zip(state.facts["names"], parts[1:], strict=True))

    def _merge(self, other: Self) -> None:
        self.rest.merge(other.rest)
        for name, score in other.slices.items():
            self._of(name).merge(score)

    def _of(self, name: Name) -> Score:
        if name in self.slices or len(self.slices) < self.most:
            return self.slices.setdefault(name, self.rest.blank())
        return self.rest

    def _names(self) -> list[Name]:
        return sorted(self.slices, key=lambda x: (x is not None, isinstance(x, str), x))
