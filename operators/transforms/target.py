"""The mean label of a value's earlier examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.operators.compiled import compiled
from headrace.operators.errors import NotYet
from headrace.operators.transforms.columns import batch, column, known, numbers, scale
from headrace.operators.transforms.keys import Keys, grown
from headrace.operators.transforms.transform import ColumnTransform, Rows, Sees, only_in_process
from headrace.operators.types import Type

__all__ = ["Target"]

_GAP = NotYet("its means are a table, to be joined, and no expression of one row")
_COUNT, _SUM = range(2)


@dataclass(eq=False)
class Target(ColumnTransform):
    """Give the mean label of the value's examples, drawn towards that of all [^1].

    (sum of the value's labels + prior_weight × mean label of all) / (its count + prior_weight): by
    earlier examples only, so a row never sees its own label. A value without examples has the mean
    of all; before the first example it is null. A null value is null, and no example. A row with a
    null label, or in `transform` without the column, gets its value and is no example.

    Sums are exact, of float64 in fixed point. Every value is kept: hash what has too many.

    [^1]: Micci-Barreca, "A preprocessing scheme for high-cardinality categorical attributes", 2001.

    Parameters
    ----------
    label, label_kind
        The column of the labels, and its type: bool, int64 or float64.
    prior_weight
        How many examples the mean of all counts for; at least 0.

    Raises
    ------
    TransformError
        From `update` and `advance` where the labels' magnitudes add up beyond int64.

    Examples
    --------
    >>> target = Target("x", Type.STRING, label="y", label_kind=Type.BOOL, prior_weight=1.0)
    >>> rows = pa.table({"x": ["a", "a", "b", "a"], "y": [True, False, None, True]})
    >>> target.advance(rows).column(0).to_pylist()
    [None, 1.0, 0.5, 0.5]
    """

    name = "target"
    takes = (Type.STRING, Type.INT64, Type.BOOL)
    sees = Sees.ROWS
    gaps = only_in_process(_GAP)

    label: str = field(kw_only=True)
    label_kind: Type = field(default=Type.BOOL, kw_only=True)
    prior_weight: float = field(default=10.0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        labels = (Type.BOOL, Type.INT64, Type.FLOAT64)
        found = f"its label is a {self.label_kind.value}"
        self.refuse_unless(self.label_kind in labels, found, "give a label of a number or a bool")
        weight = self.prior_weight
        found = f"its prior weighs {weight}"
        self.refuse_unless(0 <= weight < float("inf"), found, "give a finite one of at least 0")
        self._keys = Keys(self.kind)
        self._examples = np.zeros((0, 2), np.int64)  # per key: count, sum
        self._all = np.zeros(2, np.int64)
        self._magnitude = 0

    @property
    def inputs(self) -> Mapping[str, Type]:
        """Give the column and the label."""
        return {self.column: self.kind, self.label: self.label_kind}

    @property
    def outputs(self) -> Mapping[str, Type]:
        """Give the mean."""
        return {self.out: Type.FLOAT64}

    def update(self, rows: Rows) -> None:
        """Learn from examples, in any order."""
        self.advance(rows)

    def transform(self, rows: Rows) -> pa.RecordBatch:
        """Give the means by all examples learned; the label is not looked at."""
        numbers_ = self._keys.find(column(rows, self.column, self.kind))
        none = np.zeros(len(numbers_), np.int64)
        return self._means(numbers_, none, none.astype(np.bool_))

    def advance(self, rows: Rows) -> pa.RecordBatch:
        """Give each row the mean by the examples before it, then learn it if it has a label."""
        values = column(rows, self.column, self.kind)
        labels = numbers(rows, self.label, self.label_kind)
        learned = labels.known & known(values)
        self._magnitude = self._checked(self._magnitude + _magnitude(labels.units[learned]))
        numbers_ = self._keys.add(values)
        self._examples = grown(self._examples, len(self._keys))
        return self._means(numbers_, labels.units, learned)

    def _checked(self, magnitude: int) -> int:
        """Refuse labels whose sum, of whichever of them, could leave int64."""
        found = "the labels so far add up beyond int64"
        self.refuse_unless(magnitude < 2**63, found, f"divide {self.label!r} by a constant")
        return magnitude

    def _means(
        self, numbers_: NDArray[np.int64], units: NDArray[np.int64], learned: NDArray[np.bool_]
    ) -> pa.RecordBatch:
        out = np.zeros(len(numbers_))
        valid = np.zeros(len(numbers_), np.bool_)
        constants = float(scale(self.label_kind)), float(self.prior_weight)
        examples = grown(self._examples, 1)
        _advance(numbers_, units, learned, examples, self._all, *constants, out, valid)
        return batch(self.outputs, (out, valid))

    def merge(self, later: Self) -> None:
        """Add up the counts and the sums."""
        self._magnitude = self._checked(self._magnitude + later._magnitude)
        numbers_ = self._keys.add_values(later._keys.values)
        self._examples = grown(self._examples, len(self._keys))
        self._examples[numbers_] += later._examples[: len(numbers_)]
        self._all += later._all

    def _arrays(self) -> dict[str, NDArray[Any]]:
        order = self._keys.sorted()
        order = order[self._examples[order, _COUNT] > 0]
        return {**self._keys.arrays(order), "examples": self._examples[order], "all": self._all}

    def _facts(self) -> dict[str, Any]:
        return {"magnitude": self._magnitude}

    def _restore(self, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> None:
        self._keys = Keys.restored(self.kind, arrays)
        self._examples, self._all = arrays["examples"].copy(), arrays["all"].copy()
        self._magnitude = facts["magnitude"]


def _magnitude(units: NDArray[np.int64]) -> int:
    about = float(np.abs(units.astype(np.float64)).sum())
    return int(about) if about <= 2**53 else sum(map(abs, units.tolist()))


@compiled
def _advance(
    numbers: NDArray[np.int64],
    units: NDArray[np.int64],
    learned: NDArray[np.bool_],
    examples: NDArray[np.int64],
    every: NDArray[np.int64],
    scale: float,
    weight: float,
    out: NDArray[np.float64],
    valid: NDArray[np.bool_],
) -> None:
    """Give each row its value's mean, where there is one, and then learn it."""
    for i in range(len(numbers)):
        number = numbers[i]
        if number != -1 and every[_COUNT] > 0:
            valid[i] = True
            out[i] = prior = every[_SUM] / scale / every[_COUNT]
            if number >= 0 and examples[number, _COUNT] > 0:
                total = examples[number, _SUM] / scale + weight * prior
                out[i] = total / (examples[number, _COUNT] + weight) + 0.0
        if number >= 0 and learned[i]:
            examples[number, _COUNT] += 1
            examples[number, _SUM] += units[i]
            every[_COUNT] += 1
            every[_SUM] += units[i]
