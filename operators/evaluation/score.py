"""What every score is: something that takes rows, merges, and gives a value at any time.

::

    Score ── Metric     one number of all the rows                           auc.py, log_loss.py, …
          ── Several    named scores of the same rows                        several.py
          ── Windowed   the same score per window of event time              windowed.py
          ── Sliced     the same score per value of a column                 sliced.py
          ── Rival      the score of a baseline that saw the same labels     rival.py

They nest: a Windowed of a Sliced of Several is a score too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from headrace.operators.evaluation.rows import Column, EvaluationError, Rows

__all__ = ["Score", "State"]


@dataclass(frozen=True, slots=True)
class State:
    """A score's state: named arrays of int64, and facts that JSON can say.

    The same rows give the same state, however they were ordered, cut and merged, unless the score
    says that it minds the order.
    """

    arrays: Mapping[str, NDArray[np.int64]]
    facts: Mapping[str, Any]

    def within(self, name: str) -> dict[str, NDArray[np.int64]]:
        """Give its arrays as they are named where it is a part of another.

        >>> sorted(State({"keys": np.array([1])}, {}).within("auc"))
        ['auc/keys']
        """
        return {f"{name}/{key}": array for key, array in self.arrays.items()}

    def part(self, name: str, facts: Mapping[str, Any]) -> State:
        """Give back the part that was named so."""
        prefix = f"{name}/"
        of = {key: array for key, array in self.arrays.items() if key.startswith(prefix)}
        return State({key.removeprefix(prefix): array for key, array in of.items()}, facts)


class Score(ABC):
    """A score of predictions given their labels.

    `add` takes rows that were checked, `update` takes columns and checks them.
    """

    @property
    @abstractmethod
    def n(self) -> int:
        """Count the rows scored."""

    @abstractmethod
    def add(self, rows: Rows) -> None:
        """Score more rows."""

    @abstractmethod
    def value(self) -> Any:
        """Give the value: of a metric a float, or None where it does not exist."""

    @abstractmethod
    def blank(self) -> Self:
        """Give a score that was told the same, and has seen no rows."""

    @property
    @abstractmethod
    def told(self) -> dict[str, Any]:
        """Say what it was told, in words of JSON: only those who were told the same merge."""

    @abstractmethod
    def state(self) -> State:
        """Give what `from_state` needs."""

    @abstractmethod
    def _restore(self, state: State) -> None:
        """Take up a state; this one is blank, and was told the same."""

    @abstractmethod
    def _merge(self, other: Self) -> None:
        """Add what the other has seen; it was told the same."""

    def update(
        self,
        p: Column,
        y: Column,
        *,
        weight: Column | None = None,
        at: Column | None = None,
        columns: Mapping[str, Column] | None = None,
    ) -> None:
        """Score predictions `p` given their labels `y`; the rest is as `Rows.of` says."""
        self.add(Rows.of(p, y, weight=weight, at=at, columns=columns))

    def merge(self, other: Self) -> None:
        """Add what the other has seen: as if its rows had been given here.

        Raises
        ------
        EvaluationError
            When the other is another score, or was told otherwise.
        """
        if type(other) is not type(self) or other.told != self.told:
            asked = f"asked to merge {other.told} into {self.told}"
            raise EvaluationError(asked, "they do not score the same", "merge what does")
        self._merge(other)

    def from_state(self, state: State) -> Self:
        """Give a score in that state; this one says what it was told, and stays as it is.

        Raises
        ------
        EvaluationError
            When the state is of another score, or of one that was told otherwise.
        """
        if state.facts.get("told") != self.told:
            asked = f"asked for {self.told} in the state of {state.facts.get('told')}"
            raise EvaluationError(asked, "they do not score the same", "score the rows anew")
        restored = self.blank()
        restored._restore(state)
        return restored
