"""The decisions of which a label may still come, and what was said of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.online_learning.models.model import Arrays, State
from headrace.online_learning.observer import named, texts
from headrace.online_learning.waiting import Columns

__all__ = ["Pending"]


class Pending:
    """A row for each decision, in their order: `seq` from `first` on.

    >>> pending = Pending({"decided": np.empty(0, np.int64), "labelled": np.empty(0, np.bool_)})
    >>> pending.append({"decided": np.array([10, 20, 20]), "labelled": np.zeros(3, np.bool_)})
    >>> pending.rows["labelled"][pending.place(np.array([1]))] = True
    >>> gone = pending.forget(before=20)
    >>> gone["decided"].tolist(), pending.first, pending.rows["labelled"].tolist()
    ([10], 1, [True, False])
    """

    def __init__(self, empty: Columns) -> None:
        self.first = 0
        self.rows: dict[str, NDArray[Any]] = dict(empty)

    def __len__(self) -> int:
        return len(self.rows["decided"])

    def place(self, seq: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give the rows of decisions by their number; of one that is not here, a row that is not.

        So look whether they are in the bounds.
        """
        return seq - self.first

    def append(self, rows: Columns) -> None:
        """Add the decisions that come next."""
        self.rows = {name: np.concatenate([own, rows[name]]) for name, own in self.rows.items()}

    def forget(self, *, before: int) -> Columns:
        """Remove and give the decisions that were decided before a time."""
        gone = int(np.searchsorted(self.rows["decided"], before, side="left"))
        forgotten = {name: column[:gone] for name, column in self.rows.items()}
        self.rows = {name: column[gone:] for name, column in self.rows.items()}
        self.first += gone
        return forgotten

    def said(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Give the rows as arrays, and the texts in them as JSON."""
        arrays: dict[str, NDArray[Any]] = {}
        names: dict[str, Any] = {}
        for name, column in self.rows.items():
            if column.dtype == object:
                state = texts(column)
                arrays[f"pending/{name}"], names[name] = state.arrays["codes"], state.facts["names"]
            elif column.dtype == np.bool_:
                arrays[f"pending/{name}"] = column.astype(np.uint8)
            else:
                arrays[f"pending/{name}"] = column
        return arrays, names

    def restore(self, first: int, arrays: Arrays, names: Mapping[str, Any]) -> None:
        """Take up what `said` gave."""
        self.first = first
        for name, empty in self.rows.items():
            array = arrays[f"pending/{name}"]
            if name in names:
                self.rows[name] = named(State({"codes": array}, {"names": names[name]}))
            else:
                self.rows[name] = array.astype(empty.dtype).reshape(len(array), *empty.shape[1:])
