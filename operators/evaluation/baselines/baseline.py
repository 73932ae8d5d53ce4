"""What a baseline is: it says of each row what the labels before it make it say, and no more.

A model that does not beat these has learned nothing that a line of code does not know.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from headrace.operators.evaluation.rows import EvaluationError

__all__ = ["BEFORE", "Baseline"]

BEFORE = 0.5
"""What a baseline of truths says before there is a label; one of numbers says 0."""


class Baseline(ABC):
    """Predicts rows from the labels before them.

    `follow` takes rows whose labels come at once, `delayed` those whose labels come later; `now`
    and `learn` are for those who keep the order themselves, as a stream does.
    """

    name: ClassVar[str]
    binary: ClassVar[bool] = True
    """Whether labels are 0 or 1, and not numbers of any kind."""

    def __init__(self) -> None:
        self._n = 0
        self._total = 0.0
        self._last = self._before

    @property
    def _before(self) -> float:
        return BEFORE if self.binary else 0.0

    @abstractmethod
    def said(
        self, n: NDArray[np.int64], total: NDArray[np.float64], last: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Say the predictions after n labels with this sum, and the last of them."""

    @property
    def now(self) -> float:
        """Say the prediction after all labels so far."""
        return float(self._after(np.empty(0))[0])

    def learn(self, y: NDArray[np.float64]) -> None:
        """Take labels, in their order.

        Raises
        ------
        EvaluationError
            Where a label is neither 0 nor 1, or is no finite number.
        """
        asked = f"asked to follow labels by {self.name!r}"
        if self.binary and not ((y == 0) | (y == 1)).all():
            raise EvaluationError(asked, "a label is neither 0 nor 1", "mend the labels")
        if not np.isfinite(y).all():
            raise EvaluationError(asked, "a label is not finite", "mend the labels")
        if len(y):
            self._n += len(y)
            self._total = float(self._totals(y)[-1])
            self._last = float(y[-1])

    def follow(self, y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Predict each row from all labels before it, in the order given; then learn them."""
        said = self._after(y)[:-1]
        self.learn(y)
        return said

    def delayed(
        self, y: NDArray[np.float64], *, decided: NDArray[np.int64], known: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Predict each row from the labels known before it was decided; learn nothing.

        Parameters
        ----------
        y
            The labels.
        decided
            When each row is predicted, in ms.
        known
            When its label comes, in ms: one of the same instant comes too late. Labels of one
            instant are in the order given.
        """
        arrived = np.asarray(known, np.int64)
        order = np.argsort(arrived, kind="stable")
        before = np.searchsorted(arrived[order], np.asarray(decided, np.int64), side="left")
        return self._after(y[order])[before]

    def state(self) -> dict[str, Any]:
        """Give what `restore` needs, in words of JSON."""
        return {"n": self._n, "total": self._total, "last": self._last}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a state."""
        self._n, self._total, self._last = state["n"], state["total"], state["last"]

    def _after(self, y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Say the predictions after none of the labels, the first, the first two, …."""
        n = self._n + np.arange(len(y) + 1, dtype=np.int64)
        last = np.concatenate([[self._last], y])
        return np.where(n > 0, self.said(np.maximum(n, 1), self._totals(y), last), self._before)

    def _totals(self, y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Add the labels one after the other, so that cuts change no bit."""
        return np.cumsum(np.concatenate([[self._total], y]))
