"""Several scores of the same rows, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from headrace.operators.evaluation.rows import Rows
from headrace.operators.evaluation.score import Score, State

__all__ = ["Several"]


class Several(Score):
    """Named scores that are given the same rows; what they take of a row is computed once.

    >>> from headrace.operators.evaluation.auc import AUC
    >>> from headrace.operators.evaluation.accuracy import Accuracy
    >>> both = Several({"auc": AUC(), "right": Accuracy()})
    >>> both.update([0.9, 0.6], [1, 0])
    >>> both.n, both.value()
    (2, {'auc': 1.0, 'right': 0.5})
    """

    def __init__(self, scores: Mapping[str, Score]) -> None:
        self._scores = dict(scores)
        self._n = 0

    @property
    def n(self) -> int:
        """Count the rows scored."""
        return self._n

    @property
    def told(self) -> dict[str, Any]:
        """Say what each was told."""
        return {"several": {name: score.told for name, score in self._scores.items()}}

    def __getitem__(self, name: str) -> Score:
        return self._scores[name]

    def add(self, rows: Rows) -> None:
        """Score the rows by each; where one refuses them, those before it have taken them."""
        for score in self._scores.values():
            score.add(rows)
        self._n += len(rows)

    def value(self) -> dict[str, Any]:
        """Give each value by name."""
        return {name: score.value() for name, score in self._scores.items()}

    def blank(self) -> Self:
        """Make each anew."""
        return type(self)({name: score.blank() for name, score in self._scores.items()})

    def state(self) -> State:
        """Give all their states."""
        states = {name: score.state() for name, score in self._scores.items()}
        arrays = {
            k: array for name, state in states.items() for k, array in state.within(name).items()
        }
        parts = {name: state.facts for name, state in states.items()}
        return State(arrays, {"told": self.told, "n": self._n, "parts": parts})

    def _restore(self, state: State) -> None:
        for name, facts in state.facts["parts"].items():
            self._scores[name] = self._scores[name].from_state(state.part(name, facts))
        self._n = state.facts["n"]

    def _merge(self, other: Self) -> None:
        for name, score in self._scores.items():
            score.merge(other._scores[name])
        self._n += other._n
