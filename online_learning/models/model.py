"""What a learner drives and a scorer serves: one interface for every kind of model.

::

    settings (a Kind) ── blank ──► Model   advance · state · restore · weights
             └───────── serves ──► Served  score · contributions        from a version's arrays

A model takes steps in the order of event time and nothing else: how they are cut into calls must
not change a bit of what it predicts, nor of its state.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.online_learning.settings import Encoding, LearningError
from headrace.operators.types import Type

__all__ = [
    "PREDICT",
    "Arrays",
    "Inputs",
    "Kind",
    "Model",
    "Served",
    "State",
    "Steps",
    "Task",
    "under",
    "within",
]

PREDICT = math.nan
"""The label of a step that only predicts."""

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Inputs:
    """Encoded rows, in columns of equal length.

    Parameters
    ----------
    slots
        int32, rows x tokens (and bias): one weight each.
    ids
        int64, rows x tokens: what embeddings are kept by; no columns where the model has none.
    numbers
        float64, rows x numbers: what is taken as a number; NaN for null until it is scaled.
    weights
        float64, rows: how many times a row counts when it is learned.
    """

    slots: NDArray[np.int32]
    ids: NDArray[np.int64]
    numbers: NDArray[np.float64]
    weights: NDArray[np.float64]

    @classmethod
    def of(cls, slots: NDArray[np.int32], numbers: NDArray[np.float64] | None = None) -> Self:
        """Make rows that have slots, and maybe numbers, and count once each.

        >>> Inputs.of(np.zeros((3, 2), np.int32)).weights.tolist()
        [1.0, 1.0, 1.0]
        """
        rows = len(slots)
        none = np.empty((rows, 0))
        given = none if numbers is None else numbers
        return cls(slots, none.astype(np.int64), given, np.ones(rows))

    def __len__(self) -> int:
        return len(self.slots)


@dataclass(frozen=True, slots=True)
class Steps:
    """What to do, in order: each step predicts a row and, if it has a label, learns it.

    Parameters
    ----------
    rows
        int64: the row of each step.
    labels
        float64: what it learns, or `PREDICT`.
    offset
        What is added to the log-odds wherever a label is learned, and never where one is
        predicted: with negatives kept at the rate r it is −ln r, so that what is served is right.
    at
        int64: the event time of each step in ms, for what is forgotten when it is idle for long.
    back
        float64: what a positive takes back besides, the prediction at which its row was learned as
        negative before; 0 where it was not. Of shape (steps, models) where several learn them:
        each takes those `of` it.
    """

    rows: NDArray[np.int64]
    labels: NDArray[np.float64]
    offset: float = 0.0
    at: NDArray[np.int64] | None = None
    back: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def part(self, start: int, stop: int) -> Self:
        """Give some of the steps, in their order."""
        rows, labels = self.rows[start:stop], self.labels[start:stop]
        at = None if self.at is None else self.at[start:stop]
        back = None if self.back is None else self.back[start:stop]
        return replace(self, rows=rows, labels=labels, at=at, back=back)

    def of(self, model: int) -> Self:
        """Give the steps as one of several models takes them."""
        return self if self.back is None else replace(self, back=self.back[:, model].copy())

    @property
    def targets(self) -> NDArray[np.float64]:
        """Give what the sum's gradient is made with: each label, with what it takes back."""
        return self.labels if self.back is None else self.labels + self.back

    def by_row(self, predicted: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give what was predicted at each step in the order of the rows, of which each has one."""
        out = np.empty(predicted.shape)
        out[self.rows] = predicted
        return out

    def check(self, inputs: Inputs, slots: int) -> None:
        """Refuse rows and slots that are not there: the loops check no bounds."""
        ids = inputs.slots
        if ids.size and not 0 <= ids.min() <= ids.max() < slots:
            asked = "asked for a weight"
            raise LearningError(asked, f"its slot is none of {slots}", "encode it anew")
        if len(self) and not 0 <= self.rows.min() <= self.rows.max() < len(ids):
            asked = "asked to learn"
            raise LearningError(asked, f"a step is of none of {len(ids)} rows", "mend it")


@dataclass(frozen=True, slots=True)
class State:
    """All that a model must remember: arrays by name, and facts that JSON can say."""

    arrays: Arrays
    facts: Mapping[str, Any]


def under(prefix: str, arrays: Arrays) -> dict[str, NDArray[Any]]:
    """Give the arrays whose names begin with a prefix, without it.

    >>> under("a.", {"a.x": np.zeros(1), "b": np.ones(1)})
    {'x': array([0.])}
    """
    return {k.removeprefix(prefix): array for k, array in arrays.items() if k.startswith(prefix)}


def within(prefix: str, arrays: Arrays) -> dict[str, NDArray[Any]]:
    """Give the arrays with a prefix before their names; `under` takes it off.

    >>> within("a.", {"x": np.zeros(1)})
    {'a.x': array([0.])}
    """
    return {prefix + name: array for name, array in arrays.items()}


class Model(Protocol):
    """Weights that learn. Equal settings and equal steps give equal bits, on the CPU."""

    def advance(self, inputs: Inputs, steps: Steps) -> NDArray[np.float64]:
        """Take the steps in order; give the prediction at each, made before it learned.

        Of shape (steps,), or (steps, classes). Raises LearningError for a label that the kind of
        model does not learn; nothing is learned then.
        """

    def state(self) -> State:
        """Give what `restore` needs; arrays may be views that the next step changes."""

    def restore(self, state: State) -> None:
        """Take up a state; this one is blank."""

    def weights(self) -> Arrays:
        """Give what a version holds: no more than predicting takes."""


class Served(Protocol):
    """A version, loaded: it predicts to the bit as the model did when it was published."""

    def score(self, inputs: Inputs) -> NDArray[np.float64]:
        """Predict rows."""

    def contributions(self, inputs: Inputs) -> NDArray[np.float64]:
        """Say what each token, the bias and each number of the one row add before the link."""


Task = str
"""What is predicted: `probability` of a bool, `number`, the `class` of whole numbers, or `bools`.

Of several bools, tasks, a label is one of one task: 2 · task + label, with the task's number.
"""


class Kind(ABC):
    """The settings of one kind of model; frozen dataclasses, checked when they are made."""

    name: ClassVar[str]
    task: ClassVar[Task] = "probability"
    deep: ClassVar[bool] = False
    """Whether its rows need `ids`."""
    refreshes: ClassVar[bool] = False
    """Whether weights of its models can learn as if they were new: `refresh`."""

    @property
    @abstractmethod
    def facts(self) -> Mapping[str, Any]:
        """Say everything that decides what is learned, in words of JSON."""

    @property
    def parts(self) -> tuple[str, ...]:
        """Name what a prediction has a number for each of; nothing where it is one number."""
        return ()

    @property
    def nothing(self) -> float:
        """Give what stands for a number of a prediction that is none."""
        return 0.5

    @property
    def label(self) -> Type:
        """Give the type that labels have where they are written."""
        return Type.FLOAT64 if self.task == "number" else Type.BOOL

    def room(self, count: int) -> NDArray[np.float64]:
        """Give zeros in the place of so many predictions."""
        return np.zeros((count, len(self.parts)) if self.parts else count)

    def tasks_of(self, labels: NDArray[np.float64]) -> NDArray[np.int64]:
        """Give the number of the task of each label; 0 where there is one label a decision."""
        task = labels // 2 if self.task == "bools" else np.zeros(len(labels))
        return task.astype(np.int64)

    def codes(self, labels: pa.ChunkedArray) -> NDArray[np.float64]:
        """Give labels as numbers; the column has no null."""
        codes: NDArray[np.float64] = labels.to_numpy().astype(np.float64)
        return codes

    def fits(self, labels: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Say of each label whether the kind learns it; the others are counted."""
        return np.isfinite(labels)

    @abstractmethod
    def blank(self, encoding: Encoding) -> Model:
        """Make a model that has seen nothing."""

    @abstractmethod
    def serves(self, encoding: Encoding, arrays: Arrays) -> Served:
        """Make what predicts with a version's arrays; of none, as a blank model would.

        Raises
        ------
        LearningError
            Where the arrays are not what such a model publishes.
        """
