"""What scores outliers: each row by the rows before it, and only then is it learned.

::

    rows, in their order ──► score each with what is known ──► learn it ──► the next

Unlike a metric it minds the order, and how the rows are cut into batches changes nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.operators.errors import Gap, NotYet, UnknownName
from headrace.operators.evaluation.rows import Column, EvaluationError, numbers
from headrace.operators.evaluation.score import State

__all__ = ["Outliers"]


class Outliers(ABC):
    """Scores how strange rows are: the greater, the stranger.

    A row with a null among its columns has a null score and is not learned, and so has one that
    comes before there is enough to compare it with.
    """

    name: ClassVar[str]
    gaps: ClassVar[Mapping[str, Gap]] = dict.fromkeys(
        ("duckdb", "flink"), NotYet("each score needs the state after all rows before it")
    )

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """Name the columns it looks at."""

    @property
    @abstractmethod
    def told(self) -> dict[str, Any]:
        """Say what it was told, in words of JSON."""

    @abstractmethod
    def blank(self) -> Self:
        """Give one that was told the same, and has seen no rows."""

    @abstractmethod
    def state(self) -> State:
        """Give what `from_state` needs."""

    @abstractmethod
    def _follow(self, rows: NDArray[np.float64]) -> list[float | None]:
        """Score and learn each of the rows, whose columns are in their order."""

    @abstractmethod
    def _restore(self, state: State) -> None:
        """Take up a state; this one is blank."""

    @abstractmethod
    def _merge(self, other: Self) -> None:
        """Add what the other has seen."""

    def follow(self, columns: Mapping[str, Column]) -> pa.Array:
        """Score each row by the rows before it, then learn it; null where there is no score.

        Raises
        ------
        UnknownName
            Where a column is missing.
        EvaluationError
            Where a value is no finite number, or columns differ in length.
        """
        for name in self.columns:
            if name not in columns:
                raise UnknownName(kind="column", name=name, known=list(columns))
        given = [numbers(name, columns[name]) for name in self.columns]
        lengths = {len(values) for values, _ in given}
        if len(lengths) > 1 or not all(np.isfinite(values).all() for values, _ in given):
            asked = f"asked to score outliers of {', '.join(self.columns)}"
            found = "a value is no finite number, or columns differ in length"
            raise EvaluationError(asked, found, "mend the values, or make them null")
        rows = np.stack([values for values, _ in given], axis=1)
        null = np.zeros(len(rows), np.bool_)
        for _, nulls in given:
            null |= False if nulls is None else nulls
        scores: list[float | None] = [None] * len(rows)
        places = np.flatnonzero(~null)
        for place, score in zip(places.tolist(), self._follow(rows[places]), strict=True):
            scores[place] = score
        return pa.array(scores, pa.float64())

    def merge(self, other: Self) -> None:
        """Add what the other has seen.

        Raises
        ------
        EvaluationError
            When it was told otherwise, or is of a kind that does not merge.
        """
        if type(other) is not type(self) or other.told != self.told:
            asked = f"asked to merge {other.told} into {self.told}"
            raise EvaluationError(asked, "they do not score the same", "merge what does")
        self._merge(other)

    def from_state(self, state: State) -> Self:
        """Give one in that state; this one says what it was told, and stays as it is.

        Raises
        ------
        EvaluationError
            When the state is of one that was told otherwise.
        """
        if state.facts.get("told") != self.told:
            asked = f"asked for {self.told} in the state of {state.facts.get('told')}"
            raise EvaluationError(asked, "they do not score the same", "start anew")
        restored = self.blank()
        restored._restore(state)
        return restored
