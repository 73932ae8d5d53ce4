"""How often a value came so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.operators.compiled import compiled
from headrace.operators.errors import NotYet
from headrace.operators.functions import Value
from headrace.operators.transforms.columns import batch, column
from headrace.operators.transforms.keys import Keys, grown
from headrace.operators.transforms.transform import ColumnTransform, Rows, Sees, only_in_process
from headrace.operators.types import Type

__all__ = ["Frequency"]

_GAP = NotYet("its counts are a table, to be joined, and no expression of one row")


@dataclass(eq=False)
class Frequency(ColumnTransform):
    """Give the share of the rows before that had the same value: count / count of all.

    0 for a value that never came, and where there were no rows. Nulls are null, and not counted.
    Every value is kept: hash what has too many.

    >>> rows = pa.table({"x": ["a", "a", "b", None, "a"]})
    >>> Frequency("x", Type.STRING).advance(rows).column(0).to_pylist()
    [0.0, 1.0, 0.0, None, 0.6666666666666666]
    """

    name = "frequency"
    takes = (Type.STRING, Type.INT64, Type.BOOL)
    sees = Sees.ROWS
    gaps = only_in_process(_GAP)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._keys = Keys(self.kind)
        self._counts = np.zeros(0, np.int64)
        self._total = 0

    @property
    def outputs(self) -> Mapping[str, Type]:
        """Give the share."""
        return {self.out: Type.FLOAT64}

    def update(self, rows: Rows) -> None:
        """Count, in any order."""
        self.count(column(rows, self.column, self.kind))

    def count(self, array: pa.Array) -> None:
        """Count the values of a column."""
        numbers = self._numbers(array)
        numbers = numbers[numbers >= 0]
        counts = np.bincount(numbers, minlength=len(self._keys))
        self._counts[: len(counts)] += counts
        self._total += len(numbers)

    def most_frequent(self) -> Value:
        """Give the value that came most often, the least of equals; None where there is none."""
        if not len(self._keys):
            return None
        order = self._keys.sorted()
        values: list[Value] = self._keys.values
        return values[int(order[self._counts[order].argmax()])]

    def _numbers(self, array: pa.Array) -> NDArray[np.int64]:
        numbers = self._keys.add(array)
        self._counts = grown(self._counts, len(self._keys))
        return numbers

    def transform(self, rows: Rows) -> pa.RecordBatch:
        """Give the shares of all rows learned."""
        numbers = self._keys.find(column(rows, self.column, self.kind))
        counts = np.where(numbers >= 0, grown(self._counts, 1)[np.maximum(numbers, 0)], 0)
        shares = counts / np.float64(max(self._total, 1))
        return batch(self.outputs, (shares, numbers != -1))

    def advance(self, rows: Rows) -> pa.RecordBatch:
        """Give each row the share by the rows before it, and count it."""
        numbers = self._numbers(column(rows, self.column, self.kind))
        shares = np.zeros(len(numbers))
        self._total = int(_advance(numbers, self._counts, self._total, shares))
        return batch(self.outputs, (shares, numbers >= 0))

    def merge(self, later: Self) -> None:
        """Add up the counts."""
        numbers = self._keys.add_values(later._keys.values)
        self._counts = grown(self._counts, len(self._keys))
        self._counts[numbers] += later._counts[: len(numbers)]
        self._total += later._total

    def _arrays(self) -> dict[str, NDArray[Any]]:
        numbers = self._keys.sorted()
        return {**self._keys.arrays(numbers), "counts": self._counts[numbers]}

    def _facts(self) -> dict[str, Any]:
        return {}

    def _restore(self, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> None:
        del facts
        self._keys = Keys.restored(self.kind, arrays)
        self._counts = arrays["counts"].copy()
        self._total = int(self._counts.sum())


@compiled
def _advance(
    numbers: NDArray[np.int64], counts: NDArray[np.int64], total: int, out: NDArray[np.float64]
) -> int:
    """Give each row its value's share and count it; return the count of all."""
    for i in range(len(numbers)):
        if numbers[i] >= 0:
            if total > 0:
                out[i] = counts[numbers[i]] / total
            counts[numbers[i]] += 1
            total += 1
    return total
