"""The same where a decision has several labels, tasks: of each task from its own labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.operators.evaluation.baselines.baseline import Baseline

__all__ = ["OfTasks"]


class OfTasks:
    """What a baseline of truths says of each task.

    Parameters
    ----------
    kind
        The baseline.
    tasks
        How many tasks there are: a label is 2 · task + label.

    Examples
    --------
    >>> from headrace.operators.evaluation.baselines.no_change import NoChange
    >>> last = OfTasks(NoChange, 2)
    >>> last.learn(np.array([3.0]))
    >>> times = np.array([10, 20])
    >>> last.delayed(np.array([0.0]), decided=times, known=times[:1]).tolist()
    [[0.5, 1.0], [0.0, 1.0]]
    """

    def __init__(self, kind: type[Baseline], tasks: int) -> None:
        self._each = [kind() for _ in range(tasks)]

    def learn(self, y: NDArray[np.float64]) -> None:
        """Take labels, in their order; an EvaluationError where one is not finite."""
        for number, baseline in enumerate(self._each):
            baseline.learn(y[y // 2 == number] % 2)

    def delayed(
        self, y: NDArray[np.float64], *, decided: NDArray[np.int64], known: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Predict each row, (rows, tasks), as `Baseline.delayed` says."""
        columns = []
        for number, baseline in enumerate(self._each):
            own = y // 2 == number
            columns.append(baseline.delayed(y[own] % 2, decided=decided, known=known[own]))
        return np.stack(columns, axis=1)

    def state(self) -> dict[str, Any]:
        """Give what `restore` needs, in words of JSON."""
        return {"each": [baseline.state() for baseline in self._each]}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a state."""
        for baseline, told in zip(self._each, state["each"], strict=True):
            baseline.restore(told)
