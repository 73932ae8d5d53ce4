"""The rows of a table elsewhere: it begins with all of them and takes up what changed."""

from __future__ import annotations

from copy import copy

import numpy as np
from numpy.typing import NDArray

from headrace.online_learning.deep import entries as known
from headrace.online_learning.deep.delta import Delta
from headrace.online_learning.deep.packing import pack, unpack
from headrace.online_learning.deep.settings import Field
from headrace.online_learning.models.model import Arrays
from headrace.online_learning.settings import LearningError

__all__ = ["Replica"]

Ints = NDArray[np.int64]


class Replica:
    """Serving rows: read as the table reads its own, in a form that may be smaller.

    It does not change, so that requests may read it while the next one is made.

    Parameters
    ----------
    fields
        Those of the table.
    whole
        Everything, to begin with.
    form
        `fp32`, `fp16` or `int8`, as in `headrace.online_learning.deep.packing`.

    Examples
    --------
    >>> from headrace.online_learning.deep.settings import RowOptimizer
    >>> from headrace.online_learning.deep.table import Table
    >>> fields = (Field("user", expire_ms=1000),)
    >>> table = Table(fields, 2, RowOptimizer(), seed=1)
    >>> first = table.sight(np.array([[7]]), at=np.array([0]))
    >>> replica = Replica(fields, table.delta(whole=True))
    >>> later = table.sight(np.array([[8]]), at=np.array([5000]))  # 7 was idle for too long
    >>> replica = replica.after(table.delta())
    >>> [bool(replica.gather(np.array([[user]])).any()) for user in (7, 8)]
    [False, True]
    """

    def __init__(self, fields: tuple[Field, ...], whole: Delta, *, form: str = "fp32") -> None:
        if not whole.whole:
            asked = "asked to begin with a delta"
            raise LearningError(asked, "it has only what changed", "give all rows first")
        self.fields = fields
        self.form = form
        self._idle = np.array([-1 if f.expire_ms is None else f.expire_ms for f in fields])
        self._entries = np.zeros((0, known.COLUMNS), np.int64)
        self._packed = pack(whole.defaults, form)
        self._put(whole)

    def after(self, delta: Delta) -> Replica:
        """Give the rows as they are after the delta.

        Raises
        ------
        LearningError
            When it does not go on from what was taken up last.
        """
        if delta.whole:
            return Replica(self.fields, delta, form=self.form)
        if delta.since != self.number:
            asked = f"asked to take up changes since batch {delta.since}"
            found = f"the rows here are of batch {self.number}"
            raise LearningError(asked, found, "take up those between, or all rows")
        after = copy(self)
        after._put(delta)
        return after

    def find(self, ids: Ints) -> Ints:
        """Give the row of each id (B, fields): its field's number where it has none or was idle."""
        rows = np.empty(ids.shape, np.int64)
        ids = np.ascontiguousarray(ids, np.int64)
        known.find(self._index, self._entries, ids, self.now, self._idle, rows)
        return rows

    def gather(self, ids: Ints) -> NDArray[np.float32]:
        """Give the weights of ids (B, fields), side by side: (B, fields · width)."""
        rows = self.find(ids).reshape(-1)
        lines = {name: array[rows] for name, array in self._packed.items()}
        return unpack(lines).reshape(len(ids), -1)

    @property
    def weights(self) -> NDArray[np.float32]:
        """Give all rows, the default ones first."""
        return unpack(self._packed)

    def places(self) -> Arrays:
        """Give who has which row, those who are idle left out: `ids`, `fields` and `rows`."""
        entries = self._entries
        idle = self._idle[entries[:, known.FIELD]]
        live = entries[(idle < 0) | (self.now - entries[:, known.AT] <= idle)]
        columns = {"ids": known.ID, "fields": known.FIELD, "rows": known.ROW}
        return {name: live[:, column].copy() for name, column in columns.items()}

    @property
    def size_bytes(self) -> int:
        """Give what rows, ids and their index take."""
        arrays = [self._entries, self._index, *self._packed.values()]
        return sum(array.nbytes for array in arrays)

    def _put(self, delta: Delta) -> None:
        """Write entries and rows anew: those that neither went nor changed, then the delta's."""
        lines = np.zeros((len(delta.ids), known.COLUMNS), np.int64)
        lines[:, known.ID], lines[:, known.FIELD] = delta.ids, delta.fields
        lines[:, known.AT] = delta.at
        gone = np.zeros((len(delta.gone), known.COLUMNS), np.int64)
        gone[:, [known.ID, known.FIELD]] = delta.gone
        drop = np.concatenate([lines, gone])
        stay = known.absent(drop, known.index_of(drop, len(drop), _size(len(drop))), self._entries)
        stays = self._entries[stay]
        kept = {name: array[stays[:, known.ROW]] for name, array in self._packed.items()}
        new = pack(np.concatenate([delta.defaults, delta.rows]), self.form)
        defaults = len(delta.defaults)
        self._packed = {
            name: np.concatenate([part[:defaults], kept[name], part[defaults:]])
            for name, part in new.items()
        }
        self._entries = np.concatenate([stays, lines])
        self._entries[:, known.ROW] = np.arange(len(self._entries)) + defaults
        self._index = known.index_of(self._entries, len(self._entries), _size(len(self._entries)))
        self.number, self.now = delta.number, delta.now


def _size(entries: int) -> int:
    return max(64, 1 << (2 * entries).bit_length())
