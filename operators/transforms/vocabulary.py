"""Values to ids: admitted when they were seen often enough, forgotten when idle for long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.operators.compiled import compiled
from headrace.operators.errors import NotYet
from headrace.operators.transforms.columns import batch, column, in_order, times
from headrace.operators.transforms.keys import NULL, Keys, grown
from headrace.operators.transforms.transform import (
    ColumnTransform,
    Rows,
    Sees,
    TransformError,
    only_in_process,
)
from headrace.operators.types import Type

__all__ = ["Vocabulary"]

_GAP = NotYet("its values are a table, to be joined, and no expression of one row")
_COUNT, _FIRST, _LAST, _ID = range(4)
_NEVER = -(2**62)
_KEPT = 1024  # fewer values than this are never swept


@dataclass(eq=False)
class Vocabulary(ColumnTransform):
    """Give each value an id of its own, from 1 on, once it was seen `admit` times; 0 before.

    Ids are given in the order of the rows, never change while the value is known, and are never
    used again. With `expire_ms`, a value that did not come for longer than that, in event time, is
    forgotten with its count: when it comes again it is a new one. Null is null, and not counted.
    What `transform` gives is as of the newest row learned, or the row's own time if that is later.

    Every value that is not forgotten is kept, admitted or not. A `merge` admits exactly the
    values that the whole would; those that it or `later` admitted may have other ids there.

    Parameters
    ----------
    admit
        At least 1. The row that makes it `admit` still gets 0: it sees the rows before it.
    expire_ms
        Without it nothing is forgotten. With it rows come in the order of event time.
    at
        The column of the event time; read only where values expire.

    Examples
    --------
    >>> vocabulary = Vocabulary("x", Type.STRING, admit=2)
    >>> rows = pa.table({"x": ["a", "b", "a", "a", None, "b", "b"]})
    >>> vocabulary.advance(rows).column(0).to_pylist()
    [0, 0, 0, 1, None, 0, 2]
    """

    name = "vocabulary"
    takes = (Type.STRING, Type.INT64, Type.BOOL)
    sees = Sees.ROWS
    ordered = True
    gaps = only_in_process(_GAP)

    admit: int = field(default=1, kw_only=True)
    expire_ms: int | None = field(default=None, kw_only=True)
    at: str = field(default="at", kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        found = f"it admits after {self.admit}"
        self.refuse_unless(self.admit >= 1, found, "give 1 or more")
        idle = self.expire_ms is None or self.expire_ms > 0
        self.refuse_unless(
            idle, f"it forgets after {self.expire_ms} ms", "give more than 0, or none"
        )
        self._keys = Keys(self.kind)
        self._seen = np.zeros((0, 4), np.int64)  # per key: count, first and last time, id
        self._ids = 0
        self._newest: int | None = None
        self._sweep_at = _KEPT

    @property
    def inputs(self) -> Mapping[str, Type]:
        """Give the column, and the event time where values expire."""
        timed = {} if self.expire_ms is None else {self.at: Type.INT64}
        return {self.column: self.kind, **timed}

    @property
    def outputs(self) -> Mapping[str, Type]:
        """Give the id."""
        return {self.out: Type.INT64}

    def update(self, rows: Rows) -> None:
        """Learn from rows, in their order."""
        self.ids(rows)

    def advance(self, rows: Rows) -> pa.RecordBatch:
        """Give each row the id that its value had before it, and learn from it."""
        array = self.ids(rows)
        return batch(self.outputs, (array, array >= 0))

    def transform(self, rows: Rows) -> pa.RecordBatch:
        """Give the ids; learn nothing."""
        array = self.known_ids(rows)
        return batch(self.outputs, (array, array >= 0))

    def ids(self, rows: Rows) -> NDArray[np.int64]:
        """Give the ids, -1 for null, and learn."""
        values = column(rows, self.column, self.kind)
        at = self._times(rows)
        if len(self._keys) > self._sweep_at:
            self._sweep()
        numbers = self._keys.add(values)
        self._seen = grown(self._seen, len(self._keys))
        ids = np.empty(len(numbers), np.int64)
        idle = -1 if self.expire_ms is None else self.expire_ms
        self._ids = int(_advance(numbers, at, self._seen, self.admit, idle, self._ids, ids))
        if self.expire_ms is not None and len(at):
            self._newest = int(at[-1])
        return ids

    def known_ids(self, rows: Rows) -> NDArray[np.int64]:
        """Give the ids, -1 for null."""
        numbers = self._keys.find(column(rows, self.column, self.kind))
        known = numbers >= 0
        seen = grown(self._seen, 1)[np.where(known, numbers, 0)]
        ids = np.where(known, seen[:, _ID], np.where(numbers == NULL, -1, 0))
        if self.expire_ms is not None:
            at = times(rows, self.at)
            at = at if self._newest is None else np.maximum(at, self._newest)
            ids[known & (at - seen[:, _LAST] > self.expire_ms)] = 0
        return ids

    def _times(self, rows: Rows) -> NDArray[np.int64]:
        if self.expire_ms is None:
            return np.zeros(rows.num_rows, np.int64)
        return in_order(rows, self.at, self._newest)

    def _live(self) -> NDArray[np.int64]:
        """Give the numbers of the values that are not forgotten, in the order of the values."""
        numbers = self._keys.sorted()
        if self.expire_ms is None or self._newest is None:
            return numbers
        live: NDArray[np.bool_] = self._newest - self._seen[numbers, _LAST] <= self.expire_ms
        return numbers[live]

    def _sweep(self) -> None:
        """Free what is forgotten. It changes no value: it would be a new one anyway."""
        if self.expire_ms is not None:
            live = self._live()
            values = self._keys.values
            self._keys = Keys(self.kind, [values[number] for number in live.tolist()])
            self._seen = self._seen[live]
        self._sweep_at = max(_KEPT, 2 * len(self._keys))

    def merge(self, later: Self) -> None:
        """Learn what `later` has learned from rows after one's own."""
        live = later._live()
        live = live[np.argsort(later._seen[live, _ID], kind="stable")]
        theirs = later._seen[live]
        if self._newest is not None and (theirs[:, _FIRST] < self._newest).any():
            found = "the other has rows before the newest of these"
            asked = f"{self.asked} to merge"
            raise TransformError(asked, found, "merge in the order of time")
        values = later._keys.values
        numbers = self._keys.add_values([values[number] for number in live.tolist()])
        self._seen = grown(self._seen, len(self._keys))
        mine = self._seen[numbers]
        # A pause between the two that is too long: what came before it is forgotten.
        if self.expire_ms is not None:
            mine[theirs[:, _FIRST] - mine[:, _LAST] > self.expire_ms] = 0
        fresh = mine[:, _COUNT] == 0
        mine[fresh, _FIRST] = theirs[fresh, _FIRST]
        mine[:, _LAST] = theirs[:, _LAST]
        mine[:, _COUNT] += theirs[:, _COUNT]
        admitted = (mine[:, _ID] == 0) & (mine[:, _COUNT] >= self.admit)
        mine[admitted, _ID] = self._ids + 1 + np.arange(int(admitted.sum()))
        self._ids += int(admitted.sum())
        self._seen[numbers] = mine
        self._newest = later._newest if later._newest is not None else self._newest

    def _arrays(self) -> dict[str, NDArray[Any]]:
        live = self._live()
        return {**self._keys.arrays(live), "seen": self._seen[live]}

    def _facts(self) -> dict[str, Any]:
        return {"ids": self._ids, "newest": self._newest}

    def _restore(self, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> None:
        self._keys = Keys.restored(self.kind, arrays)
        self._seen = arrays["seen"].copy()
        self._ids, self._newest = facts["ids"], facts["newest"]
        self._sweep_at = max(_KEPT, 2 * len(self._keys))


@compiled
def _advance(
    numbers: NDArray[np.int64],
    at: NDArray[np.int64],
    seen: NDArray[np.int64],
    admit: int,
    idle: int,
    ids: int,
    out: NDArray[np.int64],
) -> int:
    """Give each row its value's id and count it; return how many ids were ever given."""
    for i in range(len(numbers)):
        number = numbers[i]
        out[i] = -1
        if number >= 0:
            row = seen[number]
            if idle >= 0 and row[_COUNT] > 0 and at[i] - row[_LAST] > idle:
                row[_COUNT] = row[_ID] = 0
            out[i] = row[_ID]
            if row[_COUNT] == 0:
                row[_FIRST] = at[i]
            row[_COUNT] += 1
            row[_LAST] = at[i]
            if row[_ID] == 0 and row[_COUNT] >= admit:
                ids += 1
                row[_ID] = ids
    return ids
