"""What changed in the rows that are served: those with new weights, and those that are gone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.online_learning.models.model import Arrays

__all__ = ["Delta"]

Ints = NDArray[np.int64]

_ARRAYS = ("ids", "fields", "at", "rows", "gone", "defaults")


@dataclass(frozen=True, slots=True, eq=False)
class Delta:
    """The rows of a table that predictions need, or what has changed of them.

    An id may be gone and come back within one delta: then it is among both, and has its new row.

    Parameters
    ----------
    whole
        Whether it is everything, and not only what changed since the delta before.
    number
        The batch after which it was taken; `since` is that of the delta before, which has to be
        taken up first.
    now
        The event time of which it is, in ms: who was idle too long by then has the default row.
    ids, fields, at, rows
        Who has a row, when it was last seen, and its weights (n, width).
    gone
        Who has none any more, as (m, 2) of id and field: tombstones.
    defaults
        The default row of each field.

    Examples
    --------
    >>> none = np.empty((0, 2), np.int64)
    >>> delta = Delta(True, 3, 0, 60_000, *none.T, none[:, 0], none, none, np.zeros((1, 4)))
    >>> Delta.of(delta.arrays()).number
    3
    """

    whole: bool
    number: int
    since: int
    now: int
    ids: Ints
    fields: Ints
    at: Ints
    rows: NDArray[np.float32]
    gone: Ints
    defaults: NDArray[np.float32]

    def arrays(self) -> Arrays:
        """Give it as arrays, to be written."""
        named = {name: getattr(self, name) for name in _ARRAYS}
        clock = [self.whole, self.number, self.since, self.now]
        return {"clock": np.array(clock, np.int64), **named}

    @classmethod
    def of(cls, arrays: Arrays) -> Delta:
        """Read it back."""
        whole, number, since, now = arrays["clock"].tolist()
        return cls(bool(whole), number, since, now, *(arrays[name] for name in _ARRAYS))
