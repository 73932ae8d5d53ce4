"""The same where labels are the numbers of classes: of each class, whether it was that one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.operators.evaluation.baselines.baseline import Baseline

__all__ = ["OfClasses"]


class OfClasses:
    """What a baseline of truths says of each class; before there is a label all are alike.

    So `no_change` says the last class for sure, and `base_rate` the share of each so far, of which
    the most likely is the majority.

    Parameters
    ----------
    kind
        The baseline.
    classes
        How many classes there are: labels are the numbers from 0 on.

    Examples
    --------
    >>> from headrace.operators.evaluation.baselines.running_base_rate import RunningBaseRate
    >>> rate = OfClasses(RunningBaseRate, 4)
    >>> rate.learn(np.array([2.0]))
    >>> times = np.array([10, 20])
    >>> rate.delayed(np.array([0.0]), decided=times, known=times[:1]).tolist()
    [[0.0, 0.0, 1.0, 0.0], [0.5, 0.0, 0.5, 0.0]]
    >>> blank = OfClasses(RunningBaseRate, 4)
    >>> blank.delayed(np.empty(0), decided=times[:1], known=times[:0]).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """

    def __init__(self, kind: type[Baseline], classes: int) -> None:
        self._each = [kind() for _ in range(classes)]

    def learn(self, y: NDArray[np.float64]) -> None:
        """Take labels, in their order; an EvaluationError where one is not finite."""
        for number, baseline in enumerate(self._each):
            baseline.learn((y == number).astype(np.float64))

    def delayed(
        self, y: NDArray[np.float64], *, decided: NDArray[np.int64], known: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Predict each row, (rows, classes), as `Baseline.delayed` says."""
        columns = [
            baseline.delayed((y == number).astype(np.float64), decided=decided, known=known)
            for number, baseline in enumerate(self._each)
        ]
        said = np.stack(columns, axis=1)
        shares: NDArray[np.float64] = said / said.sum(axis=1, keepdims=True)
        return shares

    def state(self) -> dict[str, Any]:
        """Give what `restore` needs, in words of JSON."""
        return {"each": [baseline.state() for baseline in self._each]}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a state."""
        for baseline, told in zip(self._each, state["each"], strict=True):
            baseline.restore(told)
