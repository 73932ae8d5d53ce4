"""Rows in order of event time that wait until their time is complete."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["NEVER", "Columns", "Waiting"]

NEVER = -(2**62)
"""Before all event time."""

Columns = Mapping[str, NDArray[Any]]


class Waiting:
    """Batches of rows whose `at` never decreases, appended at one end and taken from the other.

    Taking cuts views and copies only what it gives, so that a long queue costs nothing.

    >>> waiting = Waiting({"at": np.array([], np.int64)})
    >>> waiting.append({"at": np.array([10, 20, 20])})
    >>> waiting.append({"at": np.array([30])})
    >>> waiting.take(20)["at"].tolist(), len(waiting), waiting.first
    ([10], 3, 20)
    """

    def __init__(self, empty: Columns) -> None:
        self._empty = empty
        self._batches: deque[Columns] = deque()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def first(self) -> int | None:
        """Give the earliest `at`."""
        return int(self._batches[0]["at"][0]) if self._batches else None

    def rows(self) -> dict[str, NDArray[Any]]:
        """Give all that waits."""
        parts = [self._empty, *self._batches]
        return {name: np.concatenate([part[name] for part in parts]) for name in self._empty}

    def append(self, rows: Columns) -> None:
        """Add rows, none of which is before the last one here."""
        if len(rows["at"]):
            self._batches.append(rows)
            self._length += len(rows["at"])

    def take(self, before: int) -> Columns:
        """Remove and give the rows with at < before."""
        taken = [self._empty]
        while self._batches and (first := self._batches[0])["at"][0] < before:
            cut = int(np.searchsorted(first["at"], before, side="left"))
            self._batches.popleft()
            if cut < len(first["at"]):
                self._batches.appendleft({name: column[cut:] for name, column in first.items()})
            taken.append({name: column[:cut] for name, column in first.items()})
        rows = {name: np.concatenate([part[name] for part in taken]) for name in self._empty}
        self._length -= len(rows["at"])
        return rows
