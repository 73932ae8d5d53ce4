"""A score per window of event time."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from headrace.operators.evaluation.rows import EvaluationError, Rows
from headrace.operators.evaluation.score import Score, State

__all__ = ["Windowed"]


class Windowed(Score):
    """The same score for each window of `at`: window b has the rows with b ≤ at < b + every.

    Windows are named by their begin, aligned to the epoch; those without rows are absent. With
    `keep`, only the newest `keep` windows stand alone, counted back from the newest row there is;
    what is older, a late row too, is scored in `before`, so that nothing is lost and the order of
    the rows does not matter.

    Parameters
    ----------
    score
        What is scored in each.
    every_ms
        The length of a window.
    keep
        How many windows stay; None keeps all.

    Raises
    ------
    EvaluationError
        At `add`, where rows have no `at`.

    Examples
    --------
    >>> from headrace.operators.evaluation.base_rate import BaseRate
    >>> daily = Windowed(BaseRate(), every_ms=10, keep=2)
    >>> daily.update([0.5] * 5, [1, 0, 1, 1, 0], at=[3, 12, 14, 35, 21])
    >>> daily.value(), daily.before.value(), daily.n
    ({20: 0.0, 30: 1.0}, 0.6666666666666666, 5)
    """

    def __init__(self, score: Score, every_ms: int, keep: int | None = None) -> None:
        if every_ms < 1 or (keep is not None and keep < 1):
            asked = f"asked for {keep} windows of {every_ms} ms"
            raise EvaluationError(asked, "there is none of that kind", "give 1 or more")
        self.every_ms = every_ms
        self.keep = keep
        self.before = score.blank()
        self.windows: dict[int, Score] = {}

    @property
    def n(self) -> int:
        """Count the rows scored, in all windows and before."""
        return self.before.n + sum(score.n for score in self.windows.values())

    @property
    def told(self) -> dict[str, Any]:
        """Say the windows and what is scored in them."""
        return {"every_ms": self.every_ms, "keep": self.keep, "of": self.before.told}

    def add(self, rows: Rows) -> None:
        """Score each row in its window."""
        if rows.at is None:
            asked, found = "asked to score rows by windows", "they have no event time"
            raise EvaluationError(asked, found, "give `at`, in ms")
        begins = rows.at // self.every_ms * self.every_ms
        for begin in np.unique(begins).tolist():
            self._of(begin).add(rows.take(np.flatnonzero(begins == begin)))
        self._drop()

    def value(self) -> dict[int, Any]:
        """Give the value of each window, the oldest first."""
        return {begin: self.windows[begin].value() for begin in sorted(self.windows)}

    def blank(self) -> Self:
        """Make one without rows."""
        return type(self)(self.before.blank(), self.every_ms, self.keep)

    def state(self) -> State:
        """Give the state of each window, and of what was before."""
        parts = [
            ("before", self.before),
            *((str(b), self.windows[b]) for b in sorted(self.windows)),
        ]
        states = {name: score.state() for name, score in parts}
        arrays = {
            k: array for name, state in states.items() for k, array in state.within(name).items()
        }
        return State(arrays, {"told": self.told, "parts": {n: s.facts for n, s in states.items()}})

    def _restore(self, state: State) -> None:
        parts = {
            name: self.before.from_state(state.part(name, facts))
            for name, facts in state.facts["parts"].items()
        }
        self.before = parts.pop("before")
        self.windows = {int(name): score for name, score in parts.items()}

    def _merge(self, other: Self) -> None:
        self.before.merge(other.before)
        for begin, score in other.windows.items():
            self._of(begin).merge(score)
        self._drop()

    def _of(self, begin: int) -> Score:
        return self.windows.setdefault(begin, self.before.blank())

    def _drop(self) -> None:
        """Score what has grown too old together."""
        if self.keep is None or not self.windows:
            return
        oldest = max(self.windows) - (self.keep - 1) * self.every_ms
        for begin in [begin for begin in self.windows if begin < oldest]:
            self.before.merge(self.windows.pop(begin))
