"""What looks on while a learner learns, and tells what it found: by event time, and once.

An observer sees every step. However the steps are cut, it tells the same notes, each with the
event time at which it was `due`, and its state is the same: it is a part of the snapshot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.online_learning.models.model import State
from headrace.online_learning.waiting import Columns

__all__ = ["Note", "Observer", "Seen", "named", "texts"]


@dataclass(frozen=True, slots=True)
class Note:
    """A row of the store's table `metrics`.

    Parameters
    ----------
    due
        The event time from which on it could be told.
    at
        The event time that it is about.
    name, value
        What it says.
    slice_of, slice
        The column and the value of the rows that it is of; `slice` is None for all other values.
    cause
        Why it is told, where it tells of something that happened.
    alert
        Whether it is a line of the log, too.
    """

    due: int
    at: int
    name: str
    value: float
    slice_of: str | None = None
    slice: str | None = None
    cause: str | None = None
    alert: bool = False

    @property
    def row(self) -> dict[str, Any]:
        """Give it as a row of the table, without what it has not."""
        told = {"slice_of": self.slice_of, "slice": self.slice, "cause": self.cause}
        given = {name: value for name, value in told.items() if value is not None}
        return {"at": self.at, "name": self.name, "value": self.value, **given}


@dataclass(frozen=True, slots=True)
class Seen:
    """A step: everything before `until` that was not before the step's start.

    Parameters
    ----------
    decisions
        In order: `at`, and what the model takes.
    labels
        In the order in which they came to be known: `at`, `decided`, `label`, and what was said of
        the decision, `trainer` and `served`, with the columns by which scores are told.
    """

    until: int
    decisions: Columns
    labels: Columns


class Observer(Protocol):
    """Looks on."""

    def see(self, seen: Seen) -> Sequence[Note]:
        """Look at a step, and tell what is due."""

    def state(self) -> State:
        """Give what `restore` needs."""

    def restore(self, state: State) -> None:
        """Take up a state; this one is blank."""


def texts(column: NDArray[Any]) -> State:
    """Say a column of texts as arrays and JSON: each text once, in order of appearance.

    >>> state = texts(np.array(["b", "a", "b"], object))
    >>> state.arrays["codes"].tolist(), state.facts["names"]
    ([0, 1, 0], ['b', 'a'])
    """
    encoded = pa.array(column, pa.string()).dictionary_encode()
    codes: NDArray[np.int32] = encoded.indices.to_numpy()
    return State({"codes": codes}, {"names": encoded.dictionary.to_pylist()})


def named(state: State) -> NDArray[Any]:
    """Give back the column that `texts` said.

    >>> named(texts(np.array(["b", "a", "b"], object))).tolist()
    ['b', 'a', 'b']
    """
    names: NDArray[Any] = np.array([*state.facts["names"], None], object)[:-1]  # of no name, too
    return names[state.arrays["codes"]]
