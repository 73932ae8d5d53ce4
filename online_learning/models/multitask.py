"""Several bools of one decision, tasks: a net with a logit for each, which share what they learn.

A label is one of one task: 2 · task + label. Its gradient is that of its task's logit alone; the
others have none of it, so a task whose label never comes is not learned, and harms no other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.online_learning.deep.settings import Deep
from headrace.online_learning.models import losses
from headrace.online_learning.models.batched import Batched, BatchedModel
from headrace.online_learning.models.model import Arrays, Inputs, Served, Steps
from headrace.online_learning.settings import Encoding, LearningError

__all__ = ["Mmoe", "MmoeModel"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Mmoe(Batched):
    """Experts that tasks share, each weighing them by a gate of its own.

    Parameters
    ----------
    tasks
        Their names.
    experts
        How many there are.

    Examples
    --------
    >>> Mmoe(tasks=("click", "buy")).fits(np.array([0.0, 3.0, 4.0, 0.5])).tolist()
    [True, True, False, False]
    """

    name = "mmoe"
    task = "bools"
    tasks: tuple[str, ...] = ("a", "b")
    experts: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        asked = f"asked for the tasks {', '.join(self.tasks)}"
        if len(self.tasks) < 2 or len(set(self.tasks)) < len(self.tasks):
            raise LearningError(asked, "it takes two or more, each once", "mend the list")

    @property
    def facts(self) -> Mapping[str, Any]:
        """Say the settings."""
        return {**super().facts, "tasks": list(self.tasks)}

    @property
    def parts(self) -> tuple[str, ...]:
        """Name the tasks."""
        return self.tasks

    def fits(self, labels: Floats) -> NDArray[np.bool_]:
        """Say of each label whether it is one of a task."""
        right: NDArray[np.bool_] = np.isin(labels, np.arange(2 * len(self.tasks)))
        return right

    def net(self, encoding: Encoding) -> Deep:
        """Give the settings of the net."""
        one = super().net(encoding)
        shape = replace(one.shape, experts=self.experts, tasks=len(self.tasks))
        return replace(one, shape=shape)

    def blank(self, encoding: Encoding) -> MmoeModel:
        """Make a model that has seen nothing; this loads torch."""
        return MmoeModel(self, encoding)

    def serves(self, encoding: Encoding, arrays: Arrays) -> Served:
        """Make what predicts with a version; without one every probability is 0.5."""
        return super().serves(encoding, arrays) if arrays else _Nothing(self)


class MmoeModel(BatchedModel):
    """The weights of all tasks, and the labels of the batch that is not yet full."""

    def check(self, labels: Floats) -> None:
        """Refuse what is no label of a task, nor PREDICT."""
        if not (np.isnan(labels) | self.kind.fits(labels)).all():
            asked, found = "asked to learn", f"a label is none of {len(self.kind.parts)} tasks"
            raise LearningError(asked, found, "give 2 · task + label")

    def learned(self, inputs: Inputs, steps: Steps, logits: Floats) -> tuple[Floats, Floats]:
        """Give the probabilities of all tasks, and the gradient of each label's own."""
        predicted = _probabilities(logits)
        gradients = np.zeros_like(predicted)
        at = np.flatnonzero(~np.isnan(steps.labels))
        labels = steps.labels[at]
        task = self.kind.tasks_of(labels)
        weights = inputs.weights[steps.rows[at]]
        gradients[at, task] = (predicted[at, task] - labels % 2) * weights
        return predicted, gradients


class _Nothing:
    """What predicts before there is a version."""

    def __init__(self, kind: Mmoe) -> None:
        self._kind = kind

    def score(self, inputs: Inputs) -> Floats:
        """Give a half for each task of each row."""
        return self._kind.room(len(inputs)) + 0.5

    def contributions(self, inputs: Inputs) -> Floats:
        """Give 0 for each part."""
        return np.zeros(inputs.slots.shape[1] + inputs.numbers.shape[1])


def _probabilities(logits: Floats) -> Floats:
    return losses.probabilities(logits.ravel()).reshape(logits.shape)
