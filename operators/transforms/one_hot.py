"""A value as one true among falses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.operators.errors import NotYet
from headrace.operators.transforms.columns import batch
from headrace.operators.transforms.transform import ColumnTransform, Rows, Sees, only_in_process
from headrace.operators.transforms.vocabulary import Vocabulary
from headrace.operators.types import Type

__all__ = ["OneHot"]

_GAP = NotYet("the columns belong to values that were learned, a table to be joined")


@dataclass(eq=False)
class OneHot(ColumnTransform):
    """Give `size` columns, one for each of the first values to be seen `admit` times, and two more.

    Exactly one is true: `<out>_1` … `<out>_<size>` in the order in which the values were admitted,
    `<out>_other` for every other value, `<out>_null` for null. A column never changes its value.

    Parameters
    ----------
    size
        From 1 to 1000.
    admit
        As of a vocabulary: it keeps every value that it saw.

    Examples
    --------
    >>> hot = OneHot("x", Type.STRING, size=1)
    >>> hot.update(pa.table({"x": ["a", "b"]}))
    >>> hot.transform(pa.table({"x": ["b", "a", None]})).to_pydict()
    ... # doctest: +NORMALIZE_WHITESPACE
    {'x_one_hot_1': [False, True, False], 'x_one_hot_other': [True, False, False],
     'x_one_hot_null': [False, False, True]}
    """

    name = "one_hot"
    takes = (Type.STRING, Type.INT64, Type.BOOL)
    sees = Sees.ROWS
    ordered = True
    gaps = only_in_process(_GAP)

    size: int = field(kw_only=True)
    admit: int = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        found = f"its size is {self.size}"
        self.refuse_unless(1 <= self.size <= 1000, found, "give 1 to 1000 columns")
        self._vocabulary = Vocabulary(self.column, self.kind, admit=self.admit)

    @property
    def outputs(self) -> Mapping[str, Type]:
        """Give the columns."""
        ends = [*map(str, range(1, self.size + 1)), "other", "null"]
        return {f"{self.out}_{end}": Type.BOOL for end in ends}

    def update(self, rows: Rows) -> None:
        """Learn from rows, in their order."""
        self._vocabulary.update(rows)

    def transform(self, rows: Rows) -> pa.RecordBatch:
        """Give the columns; learn nothing."""
        return self._hot(self._vocabulary.known_ids(rows))

    def advance(self, rows: Rows) -> pa.RecordBatch:
        """Give each row's columns by what came before it, and learn from it."""
        return self._hot(self._vocabulary.ids(rows))

    def _hot(self, ids: NDArray[np.int64]) -> pa.RecordBatch:
        other = (ids == 0) | (ids > self.size)
        return batch(self.outputs, *(ids == i + 1 for i in range(self.size)), other, ids < 0)

    def merge(self, later: Self) -> None:
        """Merge the vocabularies: one's own columns stay, the free ones go to the next values."""
        self._vocabulary.merge(later._vocabulary)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return self._vocabulary._arrays()

    def _facts(self) -> dict[str, Any]:
        return self._vocabulary._facts()

    def _restore(self, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> None:
        self._vocabulary._restore(arrays, facts)
