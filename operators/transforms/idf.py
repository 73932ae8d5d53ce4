"""The slots of a text's n-grams, weighted by how rare they are (tf-idf)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.operators.compiled import compiled
from headrace.operators.errors import NotYet
from headrace.operators.transforms.columns import column, known
from headrace.operators.transforms.transform import ColumnTransform, Rows, Sees, only_in_process
from headrace.operators.types import Type

__all__ = ["Idf"]

_SLOTS = Type.list_of(Type.INT64)
_GAP = NotYet("the counts of its slots are a table, to be joined")


@dataclass(eq=False)
class Idf(ColumnTransform):
    """Give the distinct slots of a list, in the order of their coming, and the weight of each.

    The weight is count in the list × (ln((1 + lists) / (1 + lists with the slot)) + 1), of the
    lists before it [^1]. Null is null and counts as no list; an empty list counts as one.

    [^1]: Spärck Jones, "A statistical interpretation of term specificity", 1972; the ones added
        keep the weights finite and above 0.

    Parameters
    ----------
    slots
        The slots are whole numbers from 0 to below this, at most 2^24; each takes 16 bytes.

    Examples
    --------
    >>> lists = pa.array([[3, 3], [1, 3]], pa.list_(pa.int64()))
    >>> Idf("x", slots=4).advance(pa.table({"x": lists})).to_pydict()
    {'x_idf': [[3], [1, 3]], 'x_idf_weights': [[2.0], [1.6931471805599454, 1.0]]}
    """

    name = "idf"
    takes = (_SLOTS,)
    sees = Sees.ROWS
    gaps = only_in_process(_GAP)

    kind: Type = _SLOTS
    slots: int = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        found = f"it has {self.slots} slots"
        self.refuse_unless(1 <= self.slots <= 2**24, found, f"give 1 to {2**24}")
        self._lists = np.zeros(self.slots, np.int64)
        self._places = np.full(self.slots, -1)  # of the slots of the row that is worked on
        self._count = 0

    @property
    def outputs(self) -> Mapping[str, Type]:
        """Give the slots and the weights."""
        weights = Type.list_of(Type.FLOAT64)
        return {self.out: _SLOTS, f"{self.out}_weights": weights}

    def update(self, rows: Rows) -> None:
        """Count, in any order."""
        self._advance(rows, learns=True)

    def transform(self, rows: Rows) -> pa.RecordBatch:
        """Weigh by all lists learned."""
        return self._advance(rows, learns=False)

    def advance(self, rows: Rows) -> pa.RecordBatch:
        """Weigh each list by those before it, and count it."""
        return self._advance(rows, learns=True)

    def _advance(self, rows: Rows, *, learns: bool) -> pa.RecordBatch:
        lists = column(rows, self.column, self.kind)
        valid = known(lists)
        items = lists.flatten()  # without those of nulls
        given = items.fill_null(-1).to_numpy(zero_copy_only=False)
        within = (given >= 0) & (given < self.slots)
        found = f"one of its slots is {items[int(within.argmin())]}" if not within.all() else ""
        self.refuse_unless(bool(within.all()), found, f"give slots from 0 to {self.slots - 1}")
        lengths = np.asarray(lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False))
        out, weights = np.empty(len(given), np.int64), np.empty(len(given))
        stops = np.zeros(len(valid) + 1, np.int32)
        state = self._count, learns, self._lists, self._places
        self._count = int(_weigh(given, lengths, valid, *state, out, weights, stops))
        kept = stops[-1]
        mask = None if valid.all() else pa.array(~valid)
        made = [
            pa.ListArray.from_arrays(pa.array(stops), pa.array(values[:kept]), mask=mask)
            for values in (out, weights)
        ]
        return pa.RecordBatch.from_arrays(made, names=list(self.outputs))

    def merge(self, later: Self) -> None:
        """Add up the counts."""
        self._lists += later._lists
        self._count += later._count

    def _arrays(self) -> dict[str, NDArray[Any]]:
        slots = np.flatnonzero(self._lists)
        return {"slots": slots, "lists": self._lists[slots]}

    def _facts(self) -> dict[str, Any]:
        return {"count": self._count}

    def _restore(self, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> None:
        self._lists = np.zeros(self.slots, np.int64)
        self._lists[arrays["slots"]] = arrays["lists"]
        self._count = facts["count"]


@compiled
def _weigh(
    items: NDArray[np.int64],
    lengths: NDArray[np.int32],
    valid: NDArray[np.bool_],
    count: int,
    learns: bool,
    lists: NDArray[np.int64],
    places: NDArray[np.int64],
    out: NDArray[np.int64],
    weights: NDArray[np.float64],
    stops: NDArray[np.int32],
) -> int:
    """Weigh the distinct slots of each list, count it, and return the count of all lists."""
    start, stop = 0, 0
    for row in range(len(valid)):
        first = stop
        for slot in items[start : start + lengths[row]]:
            if places[slot] < 0:
                places[slot] = stop
                out[stop] = slot
                weights[stop] = 0.0
                stop += 1
            weights[places[slot]] += 1.0
        start += lengths[row]
        for place in range(first, stop):
            slot = out[place]
            places[slot] = -1
            weights[place] *= math.log((1 + count) / (1 + lists[slot])) + 1.0
            if learns:
                lists[slot] += 1
        if learns and valid[row]:
            count += 1
        stops[row + 1] = stop
    return count
