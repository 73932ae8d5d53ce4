"""What changed in the rows that are served: those with new weights, and those that are gone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.online_learning.models.model import State

__all__ = ["Delta"]

Ints = NDArray[np.int64]


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
    >>> Delta.of(delta.state()).number
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

    def state(self) -> State:
        """Give it as arrays and facts, to be written."""
        arrays: dict[str, NDArray[Any]] = {}
        facts: dict[str, Any] = {}
        for name in (one.name for one in fields(self)):
            value = getattr(self, name)
            (arrays if isinstance(value, np.ndarray) else facts)[name] = value
        return State(arrays, facts)

    @classmethod
    def of(cls, state: State) -> Delta:
        """Read it back."""
        parts: Mapping[str, Any] = {**state.arrays, **state.facts}
        return cls(**{one.name: parts[one.name] for one in fields(cls)})
