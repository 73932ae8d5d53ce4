"""One of several classes, as FTRL-proximal learns it: a weight a slot and class.

    p_c = exp(s_c) / Σ exp(s)      s_c as in `ftrl`, with the weights of class c
    g_c = p_c − 1 where the label is c, else p_c

Labels are the numbers of the classes, from 0 on, or their names. Of two classes it learns as fast
as `ftrl` does at twice the gradient: each has its weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from headrace.online_learning.models import ftrl
from headrace.online_learning.models.ftrl import learn_row, settings_of, sum_of
from headrace.online_learning.models.model import Arrays, Inputs, Kind, State, Steps
from headrace.online_learning.settings import Encoding, Ftrl, LearningError
from headrace.operators.compiled import compiled
from headrace.operators.types import Type

__all__ = ["Softmax", "SoftmaxModel", "SoftmaxServed"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Softmax(Kind):
    """The probabilities of classes.

    Parameters
    ----------
    ftrl
        The rate and the penalties.
    classes
        How many there are.
    names
        Their names, where labels are texts; none where they are the numbers from 0 on.

    Examples
    --------
    >>> kind = Softmax(classes=3)
    >>> model = kind.blank(Encoding({}, {}, (), slots=4, bias=True))
    >>> one = Inputs.of(np.array([[3]], np.int32))
    >>> steps = Steps(np.zeros(2, np.int64), np.array([2.0, np.nan]))
    >>> model.advance(one, steps).round(3).tolist()
    [[0.333, 0.333, 0.333], [0.33, 0.33, 0.34]]
    >>> weather = Softmax.of(["sun", "rain"])
    >>> weather.codes(pa.chunked_array([["rain", "hail", "sun"]])).tolist()
    [1.0, nan, 0.0]
    """

    name = "softmax"
    task = "class"
    refreshes = True
    ftrl: Ftrl = field(default_factory=Ftrl)
    classes: int = 2
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        asked = f"asked for {self.classes} classes"
        if self.classes < 2:
            raise LearningError(asked, "there is nothing to tell apart", "give 2 or more")
        if self.names and len(set(self.names)) != self.classes:
            found = f"they have {len(set(self.names))} different names"
            raise LearningError(asked, found, "give each a name of its own, or none")

    @classmethod
    def of(cls, classes: int | Sequence[str], ftrl: Ftrl | None = None) -> Self:
        """Make it of so many classes, or of those with these names."""
        rate = ftrl or Ftrl()
        if isinstance(classes, int):
            return cls(rate, classes)
        return cls(rate, len(classes), tuple(classes))

    @property
    def facts(self) -> Mapping[str, Any]:
        """Say the settings."""
        classes = list(self.names) or self.classes
        return {"kind": self.name, "ftrl": asdict(self.ftrl), "classes": classes}

    @property
    def parts(self) -> tuple[str, ...]:
        """Name the classes."""
        return self.names or tuple(map(str, range(self.classes)))

    @property
    def nothing(self) -> float:
        """Give what a model that has seen nothing says of each class."""
        return 1 / self.classes

    @property
    def label(self) -> Type:
        """Give the type that labels have: a class' name, or its number."""
        return Type.STRING if self.names else Type.INT64

    def codes(self, labels: pa.ChunkedArray) -> Floats:
        """Give the number of each label's class; NaN of a name that is none."""
        if not self.names:
            return super().codes(labels)
        places = pc.index_in(labels, pa.array(self.names, pa.string()))
        codes: Floats = places.cast(pa.float64()).fill_null(math.nan).to_numpy()
        return codes

    def fits(self, labels: Floats) -> NDArray[np.bool_]:
        """Say of each label whether it is the number of a class."""
        right: NDArray[np.bool_] = np.isin(labels, np.arange(self.classes))
        return right

    def blank(self, encoding: Encoding) -> SoftmaxModel:
        """Make a model that has seen nothing."""
        return SoftmaxModel(self, encoding)

    def serves(self, encoding: Encoding, arrays: Arrays) -> SoftmaxServed:
        """Make what predicts with the weights of a version."""
        weights = np.zeros((self.classes, encoding.weights))
        if arrays:
            _check(arrays, weights)
            weights[:, arrays["ids"]] = arrays["weights"]
        return SoftmaxServed(weights)


class SoftmaxModel:
    """The state of each class' weights."""

    def __init__(self, kind: Softmax, encoding: Encoding) -> None:
        self.kind = kind
        self.slots = encoding.slots
        self.zr = np.zeros((kind.classes, encoding.weights, 2))
        self._touched = np.zeros(encoding.weights, np.bool_)
        self._touched[encoding.slots :] = True

    def advance(self, inputs: Inputs, steps: Steps) -> Floats:
        """Take the steps in order; give the probabilities at each, (steps, classes)."""
        steps.check(inputs, self.slots)
        if not (np.isnan(steps.labels) | self.kind.fits(steps.labels)).all():
            found = f"a label is no class of {self.kind.classes}, nor PREDICT"
            asked = "asked to learn"
            raise LearningError(asked, found, "number the classes from 0 on")
        predicted = np.empty((len(steps), self.kind.classes))
        told = inputs.slots, inputs.numbers, steps.rows, steps.labels, inputs.weights
        _advance(self.zr, *(*told, predicted, self._touched, *settings_of(self.kind.ftrl)))
        return predicted

    def refresh(self, slots: NDArray[np.int64]) -> None:
        """Forget what the weights of slots learned of their rate; they stay as they are."""
        for zr in self.zr:
            now = ftrl.weights(zr[slots], self.kind.ftrl)
            zr[slots] = ftrl.seeded(now, np.zeros(len(slots)), self.kind.ftrl)

    def state(self) -> State:
        """Give z and r of the slots that learned."""
        ids = np.flatnonzero(self._touched)
        return State({"ids": ids, "zr": self.zr[:, ids]}, {})

    def restore(self, state: State) -> None:
        """Take them up."""
        self.zr[:, state.arrays["ids"]] = state.arrays["zr"]
        self._touched[state.arrays["ids"]] = True

    def weights(self) -> Arrays:
        """Give the weights of the slots where one of a class is not 0."""
        ids = np.flatnonzero(self._touched)
        weights = np.stack([ftrl.weights(zr, self.kind.ftrl) for zr in self.zr[:, ids]])
        kept = (weights != 0).any(axis=0)
        return {"ids": ids[kept], "weights": np.ascontiguousarray(weights[:, kept])}


class SoftmaxServed:
    """The weights of a version."""

    def __init__(self, weights: Floats) -> None:
        self._weights = weights

    def score(self, inputs: Inputs) -> Floats:
        """Give the probabilities of rows, (rows, classes)."""
        slots = self._weights.shape[1] - inputs.numbers.shape[1]
        Steps(np.empty(0, np.int64), np.empty(0)).check(inputs, slots)
        out = np.empty((len(inputs), len(self._weights)))
        _score(self._weights, inputs.slots, inputs.numbers, out)
        return out

    def contributions(self, inputs: Inputs) -> Floats:
        """Give what each part of the one row adds to the sum of the class that is most likely."""
        weights = self._weights[self.score(inputs)[0].argmax()]
        last = len(weights) - inputs.numbers.shape[1]
        return np.concatenate([weights[inputs.slots[0]], weights[last:] * inputs.numbers[0]])


def _check(arrays: Arrays, weights: Floats) -> None:
    """Refuse what is no version of such weights."""
    asked, do = "asked for weights", "keep the version you have"
    if not {"ids", "weights"} <= set(arrays):
        raise LearningError(asked, f"it holds {sorted(arrays)}", do)
    ids, own = arrays["ids"], arrays["weights"]
    fits = ids.dtype == np.int64 and own.dtype == np.float64
    if not fits or own.shape != (len(weights), len(ids)):
        raise LearningError(asked, f"they are {own.dtype}{list(own.shape)}", do)
    if len(ids) and not (ids[0] >= 0 and ids[-1] < weights.shape[1] and (np.diff(ids) > 0).all()):
        raise LearningError(asked, f"the ids do not increase within {weights.shape[1]}", do)


@compiled
def _shares(sums: Floats, out: Floats) -> None:
    """Write the probabilities that sums stand for; the greatest is taken off, so none overflows."""
    most, total = sums.max(), 0.0
    for c in range(sums.shape[0]):
        out[c] = math.exp(sums[c] - most)
        total += out[c]
    for c in range(sums.shape[0]):
        out[c] /= total


@compiled
def _advance(
    zr: Floats,
    slots: NDArray[np.int32],
    numbers: Floats,
    rows: NDArray[np.int64],
    labels: Floats,
    weights: Floats,
    predicted: Floats,
    touched: NDArray[np.bool_],
    a: float,
    beta: float,
    l1: float,
    l2: float,
) -> None:
    classes = zr.shape[0]
    used = np.empty((classes, slots.shape[1] + numbers.shape[1]))
    sums, shares = np.empty(classes), np.empty(classes)
    for step in range(rows.shape[0]):
        row, label = rows[step], labels[step]
        left = 0.0 if math.isnan(label) else weights[row]
        first = True
        while first or left > 0.0:
            for c in range(classes):
                sums[c] = sum_of(zr[c], slots, numbers, row, used[c], a, beta, l1, l2)
            _shares(sums, shares)
            if first:
                predicted[step] = shares
                first = False
            if left <= 0.0:
                break
            part = min(left, 1.0)
            left -= 1.0
            for c in range(classes):
                g = (shares[c] - (1.0 if c == label else 0.0)) * part
                learn_row(zr[c], slots, numbers, row, used[c], g, touched, a)


@compiled
def _score(weights: Floats, slots: NDArray[np.int32], numbers: Floats, out: Floats) -> None:
    last = weights.shape[1] - numbers.shape[1]
    sums = np.empty(weights.shape[0])
    for row in range(slots.shape[0]):
        for c in range(weights.shape[0]):
            total = 0.0
            for j in range(slots.shape[1]):
                total += weights[c, slots[row, j]]
            for j in range(numbers.shape[1]):
                total += weights[c, last + j] * numbers[row, j]
            sums[c] = total
        _shares(sums, out[row])
