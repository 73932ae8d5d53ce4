"""The linear models: one weight per slot, learned row by row, whatever the loss.

ftrl       logistic regression: the probability of a bool
linear     squared loss: a number
poisson    a count: the logarithm of its expectation is linear
quantile   the number that the label stays below with probability tau
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from headrace.online_learning.models import ftrl, losses
from headrace.online_learning.models.model import Arrays, Inputs, Kind, State, Steps
from headrace.online_learning.models.sparse import dense, visited
from headrace.online_learning.settings import Encoding, Ftrl, LearningError

__all__ = ["Linear", "LinearModel", "Logistic", "Poisson", "Quantile", "Squared"]


@dataclass(frozen=True)
class Linear(Kind):
    """What the linear models are told: the rate and the penalties of FTRL-proximal."""

    loss: ClassVar[int]
    refreshes = True
    ftrl: Ftrl = field(default_factory=Ftrl)

    @property
    def facts(self) -> Mapping[str, Any]:
        """Say the settings."""
        return {"kind": self.name, **asdict(self)}

    @property
    def level(self) -> float:
        """Give the quantile that is learned, where one is."""
        return 0.5

    def blank(self, encoding: Encoding) -> LinearModel:
        """Make a model that has seen nothing."""
        return LinearModel(self, encoding)

    def serves(self, encoding: Encoding, arrays: Arrays) -> LinearServed:
        """Make what predicts with the weights of a version."""
        return LinearServed(self, dense(arrays, "weights", encoding.weights))


@dataclass(frozen=True)
class Logistic(Linear):
    """The probability of a bool.

    >>> Logistic().facts
    {'kind': 'ftrl', 'ftrl': {'alpha': 0.05, 'beta': 1.0, 'l1': 0.0, 'l2': 1.0}}
    """

    name = "ftrl"
    loss = losses.LOGISTIC


@dataclass(frozen=True)
class Squared(Linear):
    """A number, as the mean of what comes."""

    name = "linear"
    task = "number"
    loss = losses.SQUARED


@dataclass(frozen=True)
class Poisson(Linear):
    """The expectation of a count."""

    name = "poisson"
    task = "number"
    loss = losses.POISSON

    def fits(self, labels: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Say of each label whether it is a count, or another number of at least 0."""
        return np.isfinite(labels) & (labels >= 0.0)


@dataclass(frozen=True)
class Quantile(Linear):
    """The number that the label stays below with probability `tau`.

    >>> Quantile(tau=1.0)
    Traceback (most recent call last):
    ...
    headrace.online_learning.settings.LearningError: asked for the quantile 1.0; it is no share b...
    """

    name = "quantile"
    task = "number"
    loss = losses.QUANTILE
    tau: float = 0.5

    def __post_init__(self) -> None:
        if not (math.isfinite(self.tau) and 0 < self.tau < 1):
            asked = f"asked for the quantile {self.tau}"
            raise LearningError(asked, "it is no share between 0 and 1", "give one like 0.9")

    @property
    def level(self) -> float:
        """Give tau."""
        return self.tau


class LinearModel:
    """The weights of a linear model, as the state of FTRL-proximal, and which slots have learned.

    >>> encoding = Encoding({}, {}, (), slots=4, bias=True)
    >>> model = Logistic().blank(encoding)
    >>> one = Inputs.of(np.array([[3]], np.int32))
    >>> steps = Steps(np.zeros(2, np.int64), np.array([1.0, np.nan]))
    >>> model.advance(one, steps).round(3).tolist()
    [0.5, 0.504]
    """

    def __init__(self, kind: Linear, encoding: Encoding) -> None:
        self.kind = kind
        self.slots = encoding.slots
        self.zr = ftrl.blank(encoding.weights)
        self.touched = np.zeros(encoding.weights, np.bool_)
        self.touched[encoding.slots :] = True  # the numbers' weights are few

    def advance(self, inputs: Inputs, steps: Steps) -> NDArray[np.float64]:
        """Take the steps in order; give the prediction at each."""
        steps.check(inputs, self.slots)
        losses.check(self.kind.loss, steps.labels)
        return self.joint(inputs, steps, None)[0]

    def joint(
        self, inputs: Inputs, steps: Steps, offsets: NDArray[np.float64] | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Take steps with what another model adds to each sum; give the gradients, too.

        Rows and labels are not checked here.
        """
        return ftrl.advance(
            *(self.zr, inputs.slots, steps.rows, steps.targets, self.kind.ftrl),
            loss=self.kind.loss,
            tau=self.kind.level,
            numbers=inputs.numbers,
            weights=inputs.weights,
            offsets=offsets,
            learned_offset=steps.offset,
            touched=self.touched,
        )

    def refresh(self, slots: NDArray[np.int64]) -> None:
        """Forget what the weights of slots learned of their rate; they stay as they are."""
        now = ftrl.weights(self.zr[slots], self.kind.ftrl)
        self.zr[slots] = ftrl.seeded(now, np.zeros(len(slots)), self.kind.ftrl)

    def state(self) -> State:
        """Give z and r of the slots that learned."""
        ids = np.flatnonzero(self.touched)
        return State({"ids": ids, "zr": self.zr[ids]}, {})

    def restore(self, state: State) -> None:
        """Take them up."""
        self.zr[state.arrays["ids"]] = state.arrays["zr"]
        self.touched[state.arrays["ids"]] = True

    def weights(self) -> Arrays:
        """Give the weights that are not 0."""
        ids = np.flatnonzero(self.touched)
        return visited(ids, ftrl.weights(self.zr[ids], self.kind.ftrl))


class LinearServed:
    """The weights of a version."""

    def __init__(self, kind: Linear, weights: NDArray[np.float64]) -> None:
        self._loss = kind.loss
        self._weights = weights

    def score(self, inputs: Inputs) -> NDArray[np.float64]:
        """Predict rows."""
        return self.joint(inputs, None)

    def joint(self, inputs: Inputs, offsets: NDArray[np.float64] | None) -> NDArray[np.float64]:
        """Predict rows with what another model adds to each sum."""
        Steps(np.empty(0, np.int64), np.empty(0)).check(inputs, len(self._weights))
        return ftrl.score(
            self._weights, inputs.slots, inputs.numbers, offsets=offsets, loss=self._loss
        )

    def contributions(self, inputs: Inputs) -> NDArray[np.float64]:
        """Give the row's weights, and those of its numbers times the numbers."""
        last = len(self._weights) - inputs.numbers.shape[1]
        numbers = self._weights[last:] * inputs.numbers[0]
        return np.concatenate([self._weights[inputs.slots[0]], numbers])
