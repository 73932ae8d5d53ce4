"""A store in several processes: shards have the tiles, the head has all else and asks them.

::

    view topic p ─► shard p mod N: its own file, its own indexes ─┐ features as of t, tiles, how far
    view topic q ─► shard q mod N                                 ┤ each view is complete
    decisions, predictions, … ─► the head ◄───────────────────────┘

A feature is a pure function of the log and of t, and a key's tiles are all in one shard; so what
the head puts together is, bit for bit, what one process would read. Where a shard does not answer
nothing is made up: `Unreachable` says which, and who waits asks again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headrace.feature_store.catalogue import Place
from headrace.feature_store.index import Found
from headrace.operators.engines.quoting import quote
from headrace.operators.errors import StoreError
from headrace.operators.identity import version
from headrace.operators.shards import shard_of, shards_of
from headrace.operators.view import View

__all__ = ["WHOLE", "Looked", "Part", "Shard", "Shards", "Told", "Unreachable", "Wanted"]

Ints = npt.NDArray[np.int64]
_MOST_BYTES = 512 << 20
"""Rows of shards that are put together for one question: they are copied into memory."""


class Unreachable(StoreError):
    """A shard that does not answer, or not as what is asked needs: who waits asks again.

    >>> print(Unreachable("asked shard 1 of the store", "it does not answer", "ask again later"))
    asked shard 1 of the store; it does not answer; ask again later
    """


@dataclass(frozen=True)
class Part:
    """Which part of a store a file is: all of it, the head of so many shards, or one of them.

    >>> str(Part()), str(Part(2)), str(Part(2, 1))
    ('a whole store', 'the head of 2 shards', 'shard 1 of 2')
    >>> Part(2, 1).shards_of(5), Part(2).shards_of(5), Part().shards_of(2)
    ([1, 3], [], [0, 1])
    """

    of: int = 1
    number: int | None = None

    def __str__(self) -> str:
        if self.of == 1:
            return "a whole store"
        head = f"the head of {self.of} shards"
        return head if self.number is None else f"shard {self.number} of {self.of}"

    @property
    def is_shard(self) -> bool:
        """Say whether it has tiles, and nothing else."""
        return self.number is not None

    def shards_of(self, shards: int) -> list[int]:
        """List those of a view's shards, which are its topic's partitions, that it holds."""
        if self.of > 1 and self.number is None:
            return []
        return [each for each in range(shards) if each % self.of == (self.number or 0)]


WHOLE = Part()


@dataclass(frozen=True)
class Looked:
    """How far a shard is: by a view's version its counts and ``complete``; what it has to read."""

    views: Mapping[str, Mapping[str, int]]
    lag: Mapping[Place, int]


@dataclass(frozen=True)
class Wanted:
    """Features of a view by their names, each with its identity: another is not what is asked."""

    view: str
    features: Mapping[str, str]


@dataclass(frozen=True)
class Told:
    """What a shard has of some keys, and how far the view was complete there before it looked."""

    found: Found
    complete: int


class Shard(Protocol):
    """A shard as the head sees it; each of these may raise `Unreachable`."""

    def look(self) -> Looked:
        """Say how far it is."""

    def begin(self, wanted: Wanted, keys: Sequence[pa.Array], at: Ints) -> Callable[[], Told]:
        """Ask for features; what is given waits for the answer."""

    def sql(self, query: str) -> pa.Table:
        """Answer one SELECT over its tables."""

    def close(self) -> None:
        """Let go of it."""


class Shards:
    """The shards of a store, as one: groups what is asked by shard, puts the answers in order.

    Parameters
    ----------
    views
        The views, by name.
    features
        The identity of every feature, by its name.
    shards
        By their numbers.

    """

    def __init__(
        self, views: Mapping[str, View], features: Mapping[str, str], shards: Sequence[Shard]
    ) -> None:
        self._shards = shards
        self._features = features
        self._versions = {name: version(view) for name, view in views.items()}
        self._views = views
        # All at once: one that hangs is waited for, and the claim to write must be renewed in time.
        self._pool = ThreadPoolExecutor(len(shards), "shards")
        self._looked: list[Looked] = [Looked({}, {})] * len(shards)
        self.silent: dict[int, str] = {}
        """The shards that did not answer when they were last looked at, and why."""

    def look(self) -> None:
        """Look how far each shard is; of one that does not answer what was seen last stays."""
        list(self._pool.map(self._look, range(len(self._shards))))

    def _look(self, number: int) -> None:
        try:
            self._looked[number] = self._shards[number].look()
            self.silent.pop(number, None)
        except Unreachable as error:
            self.silent[number] = str(error)

    def complete(self, view: str) -> int:
        """Give the time to which a view is complete, as far as was seen; 0 before it was."""
        return min(self._complete(number, view) for number in range(len(self._shards)))

    def _complete(self, number: int, view: str) -> int:
        return self._looked[number].views.get(self._versions[view], {}).get("complete", 0)

    def statistics(self, view: str) -> dict[str, int]:
        """Count keys and tiles of all shards, as far as was seen."""
        counts = {"keys": 0, "tiles": 0}
        for looked in self._looked:
            for name, count in looked.views.get(self._versions[view], {}).items():
                counts[name] = counts.get(name, 0) + count
        return {name: count for name, count in counts.items() if name != "complete"}

    def lag(self) -> dict[Place, int]:
        """Say how many messages of each partition they have yet to read."""
        return {place: n for looked in self._looked for place, n in looked.lag.items()}

    def begin(
        self, view: str, names: Sequence[str], keys: Sequence[pa.Array], at: Ints
    ) -> Callable[[], Told]:
        """Ask for features of n (key, t), as `Index.read_with_status`; see `Shard.begin`.

        Raises
        ------
        Unreachable
            Where a shard does not answer, or has less than it had: its file is being made anew.

        """
        wanted = Wanted(self._versions[view], {name: self._features[name] for name in names})
        numbers = shards_of(keys, self._views[view].shards) % len(self._shards)
        asked = []
        for number in np.unique(numbers).tolist():
            rows = np.flatnonzero(numbers == number)
            places = pa.array(rows)
            waits = self._shards[number].begin(wanted, [key.take(places) for key in keys], at[rows])
            asked.append((number, rows, waits, self._complete(number, view)))

        def answered() -> Told:
            if not asked:
                return self._nothing(view, names)
            told = []
            for number, _, waits, before in asked:
                each = waits()
                if each.complete < before:
                    said = f"asked shard {number} of the store for features of the view {view!r}"
                    found = f"it is complete to {each.complete}, and was to {before}"
                    raise Unreachable(said, found, "its file is being made anew: ask again later")
                told.append(each)
            back = np.argsort(np.concatenate([rows for _, rows, _, _ in asked]))
            return _together(names, told, back)

        return answered

    def _nothing(self, view: str, names: Sequence[str]) -> Told:
        kinds = {f.name: f.aggregate.type for f in self._views[view].features}
        values = {name: pa.array([], kinds[name].arrow) for name in names}
        states = {name: np.empty(0, np.uint8) for name in names}
        return Told((values, states), self.complete(view))

    def of_key(self, view: str, key: Sequence[object]) -> Shard:
        """Give the shard that has the tiles of a key; one with a null part has none, anywhere."""
        shard = 0 if None in key else shard_of(key, self._views[view].shards)
        return self._shards[shard % len(self._shards)]

    def rows(self, table: str) -> pa.Table:
        """Give the rows of a table, ``name`` or ``schema.name``, that all shards have together.

        Raises
        ------
        StoreError
            Where they are too many to be put together.
        Unreachable
            Where a shard does not answer.

        """
        space, _, name = table.rpartition(".")
        place = f"{quote(space)}.{quote(name)}" if space else quote(name)
        parts: list[pa.Table] = []
        for shard in self._shards:
            parts.append(shard.sql(f"SELECT * FROM {place}"))
            if sum(part.nbytes for part in parts) > _MOST_BYTES:
                asked = f"asked for the rows of {table!r} of {len(self._shards)} shards"
                found = f"they are more than {_MOST_BYTES >> 20} MiB"
                do = "export the store and ask the export, or read features: /v1/training"
                raise StoreError(asked, found, do)
        return pa.concat_tables(parts)

    def close(self) -> None:
        """Let go of them."""
        self._pool.shutdown()
        for shard in self._shards:
            shard.close()


def _together(names: Sequence[str], told: Sequence[Told], back: Ints) -> Told:
    complete = min(each.complete for each in told)
    if len(told) == 1:  # in order as it was asked
        return Told(told[0].found, complete)
    values, states = {}, {}
    for name in names:
        parts = [each.found[0][name] for each in told]
        values[name] = pa.concat_arrays(parts).take(pa.array(back))
        states[name] = np.concatenate([each.found[1][name] for each in told])[back]
    return Told((values, states), complete)
