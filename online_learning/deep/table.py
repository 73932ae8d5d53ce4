"""A table of embeddings that grows: every id has a row of its own, or shares its field's.

::

    ids (B, fields) ─► entries (host): who is known, admitted, idle ─► row of every lookup
    rows ─► gather (B, fields · width) ─► a net ─► its gradient ─► rows learn

Rows 0 … fields − 1 are the fields' default rows. Time is that of the events: at the start of a
batch, who was idle for longer than its field allows begins anew, and between two batches nothing
is admitted or forgotten. So the same batches make the same table, slot by slot and bit by bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headrace.online_learning.deep import entries as known
from headrace.online_learning.deep.delta import Delta
from headrace.online_learning.deep.row_optimizers import row_learner, summed
from headrace.online_learning.deep.settings import Field, RowOptimizer
from headrace.online_learning.models.model import State
from headrace.online_learning.settings import LearningError
from headrace.online_learning.waiting import NEVER

__all__ = ["Table"]

Ints = NDArray[np.int64]

_NOBODY = np.empty((0, 2), np.int64)
_DRAWN = 0.01  # deviation of the weights that an id begins with
_SWEPT = 1024  # fewer entries than this are never swept
_ENTRY_BYTES = 8 * known.COLUMNS + 4 * 4  # and its part of an index that is at most half full


class Table:
    """Rows for ids, with what each has seen.

    Parameters
    ----------
    fields
        The columns of ids.
    width
        float32 weights in a row.
    optimizer
        How rows learn.
    memory_bytes
        Where entries and rows in use would outgrow it, the ids seen least often are forgotten until
        half of it is free, and from then on it takes more sightings than they had to be admitted
        (`level`). The arrays hold up to half as much again in reserve.
    device
        Where the rows are; the entries are always on the host.

    Examples
    --------
    >>> table = Table((Field("user", admit=2),), 2, RowOptimizer(), seed=1)
    >>> table.sight(np.array([[7], [8]])).tolist()  # nobody is admitted yet: the default row
    [[0], [0]]
    >>> table.sight(np.array([[7], [9]])).tolist()
    [[1], [0]]
    >>> table.price
    {'user': 0.75}
    """

    def __init__(
        self,
        fields: tuple[Field, ...],
        width: int,
        optimizer: RowOptimizer,
        *,
        seed: int,
        memory_bytes: int | None = None,
        device: torch.device | None = None,
    ) -> None:
        self.fields = fields
        self.seed = seed
        self.memory_bytes = memory_bytes
        self.device = device or torch.device("cpu")
        self.optimizer = row_learner(optimizer, width, self.device)
        self.weights = torch.zeros((0, width), device=self.device)
        self.level = 1
        """How many sightings the memory asks for before an id is admitted."""
        self.now = NEVER
        """The time of the newest event that was sighted."""
        self.lookups = np.zeros((2, len(fields)), np.int64)
        """Per field: lookups of training, and those of them that got the default row."""
        self._idle = np.array([-1 if f.expire_ms is None else f.expire_ms for f in fields])
        self._entries = np.zeros((0, known.COLUMNS), np.int64)
        self._index = np.full(64, -1, np.int32)
        self._used = 0  # entries
        self._rows = 0  # rows ever given, the default ones among them
        self._free = np.empty(0, np.int64)  # a stack of rows that were taken back
        self._freed = 0
        self._place = np.full(0, -1, np.int32)  # scratch of `summed`, -1 between two uses
        self._batch = 0
        self._published: int | None = None  # the batch after which deltas were last taken
        self._evicted: list[Ints] = []
        self._sweep_at = _SWEPT
        self._grow(0, len(fields))
        self._rows = len(fields)

    @property
    def width(self) -> int:
        """Count the weights of a row."""
        return self.weights.shape[1]

    @property
    def entries(self) -> Ints:
        """Give one line for each id known, in the order in which they were first seen."""
        return self._entries[: self._used]

    @property
    def price(self) -> Mapping[str, float]:
        """Give the share of training's lookups that got the default row, per field."""
        lookups, default = self.lookups
        shares = default / np.maximum(lookups, 1)
        return {
            field.name: round(float(s), 6) for field, s in zip(self.fields, shares, strict=True)
        }

    @property
    def size_bytes(self) -> int:
        """Give what entries and rows in use take."""
        live = self._rows - self._freed
        return self._used * _ENTRY_BYTES + live * self._row_bytes

    @property
    def _row_bytes(self) -> int:
        return 4 * (self.width + sum(self.optimizer.columns.values()))

    def sight(self, ids: Ints, *, at: Ints | None = None, offsets: Ints | None = None) -> Tensor:
        """Count the ids of a batch, admit, and give the row of every lookup.

        Parameters
        ----------
        ids
            Of shape (B, fields).
        at, offsets
            The event time in ms and the offset of each row of the batch; 0 where not given.

        Raises
        ------
        LearningError
            When the shapes do not fit, times are missing though ids expire, or the memory is too
            small for a single batch.
        """
        ids = self._checked(ids)
        at, offsets = self._times(ids, at), self._column(ids, offsets, "offsets")
        start = max(self.now, int(at.min())) if len(at) else self.now
        self._sweep(start)
        self._squeeze(start, ids.size)
        self._grow(self._used + ids.size, self._rows + max(0, ids.size - self._freed))
        self._batch += 1
        numbers, gone = np.empty(ids.shape, np.int32), np.empty((ids.size, 3), np.int64)
        self._used, forgotten = known.sight(
            *(self._index, self._entries, self._used, ids, at, offsets),
            *(self._batch, start, self._idle, numbers, gone),
        )
        self._forget(gone[:forgotten])
        self.now = max(self.now, int(at.max())) if len(at) else self.now
        return self._admit(numbers)

    def find(self, ids: Ints) -> Tensor:
        """Give the row of every lookup as of the newest event; nothing is counted or changed."""
        ids = self._checked(ids)
        rows = np.empty(ids.shape, np.int64)
        known.find(self._index, self._entries, ids, self.now, self._idle, rows)
        return torch.from_numpy(rows).to(self.device)

    def gather(self, rows: Tensor) -> Tensor:
        """Give the weights of rows (B, fields), side by side: (B, fields · width)."""
        flat = self.weights.index_select(0, rows.reshape(-1))
        return flat.reshape(rows.shape[0], rows.shape[1] * self.width)

    def learn(self, rows: Tensor, gradient: Tensor) -> None:
        """Move the rows that were looked up by the gradient (B, fields · width) of each lookup."""
        lines = gradient.reshape(-1, self.width)
        distinct, sums = summed(rows.reshape(-1), lines, self._place)
        self.optimizer.learn(self.weights, distinct, sums)

    def delta(self, *, whole: bool = False) -> Delta:
        """Give what changed in the rows since the delta before, or all; the next goes on from it.

        The first has all of them.
        """
        whole = whole or self._published is None
        since = self._published or 0
        self._published, gone = self._batch, np.concatenate([_NOBODY, *self._evicted])
        self._evicted = []
        return self._rows_since(-1, 0, _NOBODY) if whole else self._rows_since(since, since, gone)

    def rows(self) -> Delta:
        """Give all rows, as `delta` does, and change nothing."""
        return self._rows_since(-1, 0, _NOBODY)

    def _rows_since(self, batch: int, since: int, gone: Ints) -> Delta:
        entries = self.entries
        some = entries[(entries[:, known.BATCH] > batch) & (entries[:, known.ROW] >= 0)]
        rows = torch.from_numpy(some[:, known.ROW].copy()).to(self.device)
        return Delta(
            whole=batch < 0,
            number=self._batch,
            since=since,
            now=self.now,
            ids=some[:, known.ID].copy(),
            fields=some[:, known.FIELD].copy(),
            at=some[:, known.AT].copy(),
            rows=self.weights[rows].cpu().numpy(),
            gone=gone,
            defaults=self.weights[: len(self.fields)].cpu().numpy().copy(),
        )

    def state(self) -> State:
        """Give everything that decides how the table goes on."""
        arrays: dict[str, NDArray[Any]] = {
            "entries": self.entries.copy(),
            "free": self._free[: self._freed].copy(),
            "lookups": self.lookups.copy(),
            "evicted": np.concatenate([_NOBODY, *self._evicted]),
        }
        rows = {"weights": self.weights, **self.optimizer.state}
        arrays |= {name: tensor[: self._rows].cpu().numpy().copy() for name, tensor in rows.items()}
        facts = {
            **{"batch": self._batch, "level": self.level, "now": self.now},
            **{"published": self._published, "sweep_at": self._sweep_at},
        }
        return State(arrays, facts)

    def restore(self, state: State) -> None:
        """Go on from a state, to the bit."""
        arrays, facts = state.arrays, state.facts
        self._used, self._rows = len(arrays["entries"]), len(arrays["weights"])
        self._entries = np.array(arrays["entries"], np.int64)
        self._index = known.index_of(self._entries, self._used, _power(2 * self._used))
        self.weights = torch.from_numpy(arrays["weights"].copy()).to(self.device)
        self.optimizer.state = {
            name: torch.from_numpy(arrays[name].copy()).to(self.device)
            for name in self.optimizer.columns
        }
        self._place = np.full(self._rows, -1, np.int32)
        self._free, self.lookups = arrays["free"].copy(), arrays["lookups"].copy()
        self._freed = len(self._free)
        self._evicted = [arrays["evicted"].copy()]
        self._batch, self.level, self.now = facts["batch"], facts["level"], facts["now"]
        self._published, self._sweep_at = facts["published"], facts["sweep_at"]

    def _admit(self, numbers: NDArray[np.int32]) -> Tensor:
        """Give those rows who now have sightings enough, and find the row of every lookup."""
        admit = np.array([max(field.admit, self.level) for field in self.fields])
        most = numbers.size
        unused = np.arange(self._rows + max(0, most - self._freed) - 1, self._rows - 1, -1)
        free = np.concatenate([unused, self._free[max(0, self._freed - most) : self._freed]])
        rows = np.empty(numbers.shape, np.int64)
        new = np.empty(most, np.int64)
        given = known.rows_of(self._entries, numbers, admit, free, new, rows)
        reused = min(given, self._freed)
        self._freed -= reused
        self._rows += given - reused
        self._begin(self._entries[new[:given]])
        self.lookups[0] += len(rows)
        self.lookups[1] += (rows == np.arange(len(self.fields))).sum(0)
        return torch.from_numpy(rows).to(self.device)

    def _begin(self, admitted: Ints) -> None:
        if not len(admitted):
            return
        drawn = np.empty((len(admitted), self.width), np.float32)
        known.drawn(admitted[:, known.ID], admitted[:, known.FIELD], self.seed, _DRAWN, drawn)
        rows = torch.from_numpy(admitted[:, known.ROW].copy()).to(self.device)
        self.weights[rows] = weights = torch.from_numpy(drawn).to(self.device)
        self.optimizer.begin(rows, weights)

    def _forget(self, gone: Ints) -> None:
        """Take back the rows of evicted ids, given as id, field and row; note whose they were."""
        if not len(gone):
            return
        if self._freed + len(gone) > len(self._free):
            self._free = np.resize(self._free, _room(self._freed + len(gone)))
        self._free[self._freed : self._freed + len(gone)] = gone[:, 2]
        self._freed += len(gone)
        if self._published is not None:
            self._evicted.append(gone[:, :2].copy())

    def _keep(self, stay: NDArray[np.bool_]) -> None:
        """Write anew the entries that stay."""
        gone = self.entries[~stay]
        self._forget(gone[gone[:, known.ROW] >= 0][:, [known.ID, known.FIELD, known.ROW]])
        self._entries = self.entries[stay]
        self._used = len(self._entries)
        self._index = known.index_of(self._entries, self._used, _power(2 * self._used))

    def _sweep(self, start: int) -> None:
        """Free what was forgotten long ago; it changes no value, for it would begin anew anyway."""
        if self._used > self._sweep_at and (self._idle >= 0).any():
            self._drop_idle(start)
            self._sweep_at = max(_SWEPT, 2 * self._used)

    def _drop_idle(self, start: int) -> None:
        idle = self._idle[self.entries[:, known.FIELD]]
        self._keep((idle < 0) | (start - self.entries[:, known.AT] <= idle))

    def _squeeze(self, start: int, lookups: int) -> None:
        """Make room: forget the ids seen least often, and ask as many sightings of new ones."""
        if self.memory_bytes is None:
            return
        most = lookups * (_ENTRY_BYTES + self._row_bytes)
        if self.size_bytes + most > self.memory_bytes:
            self._drop_idle(start)
        if self.size_bytes + most <= self.memory_bytes:
            return
        room = min(self.memory_bytes // 2, self.memory_bytes - most)
        room -= len(self.fields) * self._row_bytes
        if room < 0:
            needed = most + len(self.fields) * self._row_bytes
            asked = f"asked for a table in {self.memory_bytes} bytes"
            raise LearningError(
                asked,
                f"a batch of {lookups} ids may need {needed}",
                "give more, or smaller batches",
            )
        counts = self.entries[:, known.COUNT]
        sizes = _ENTRY_BYTES + self._row_bytes * (self.entries[:, known.ROW] >= 0)
        order = np.argsort(-counts, kind="stable")
        fit = int(np.searchsorted(np.cumsum(sizes[order]), room, side="right"))
        if fit < len(order):
            self.level = int(counts[order[fit]]) + 1
            self._keep(counts >= self.level)

    def _grow(self, entries: int, rows: int) -> None:
        if entries > len(self._entries):
            more = np.zeros((_room(entries), known.COLUMNS), np.int64)
            more[: self._used] = self.entries
            self._entries = more
        if 2 * entries > len(self._index):
            self._index = known.index_of(self._entries, self._used, _power(2 * entries))
        if rows > len(self.weights):
            capacity = _room(rows)
            self._place = np.full(capacity, -1, np.int32)
            self.weights = _longer(self.weights, capacity)
            state = self.optimizer.state
            self.optimizer.state = {name: _longer(t, capacity) for name, t in state.items()}

    def _checked(self, ids: Ints) -> Ints:
        if ids.ndim != 2 or ids.shape[1] != len(self.fields) or ids.dtype != np.int64:
            asked = f"asked for rows of ids {ids.dtype}{list(ids.shape)}"
            found = f"the table has {len(self.fields)} fields of int64"
            raise LearningError(asked, found, "give an array of (rows, fields)")
        return np.ascontiguousarray(ids)

    def _times(self, ids: Ints, at: Ints | None) -> Ints:
        if at is None and (self._idle >= 0).any():
            asked = "asked to learn a batch without event times"
            raise LearningError(asked, "ids expire by them", "give `at`")
        return self._column(ids, at, "at")

    def _column(self, ids: Ints, column: Ints | None, name: str) -> Ints:
        if column is None:
            return np.zeros(len(ids), np.int64)
        if column.shape != (len(ids),) or column.dtype != np.int64:
            asked = f"asked for {name} {column.dtype}{list(column.shape)}"
            raise LearningError(asked, f"there are {len(ids)} rows", "give one int64 a row")
        return column


def _power(least: int) -> int:
    """Give a power of two that is not below `least`, nor below 64."""
    return max(64, 1 << max(0, least - 1).bit_length())


def _room(least: int) -> int:
    """Give how long an array is made that must have `least` lines: half as many are in reserve."""
    return least + least // 2


def _longer(tensor: Tensor, length: int) -> Tensor:
    more = torch.zeros((length, *tensor.shape[1:]), dtype=tensor.dtype, device=tensor.device)
    more[: len(tensor)] = tensor
    return more
