"""Features of entities at a time, read in this process: values, what they stand for, how fresh.

::

    store.reader(["views_1h", "price_24h"]) ─► OnlineReader        made once
    reader.read([{"user": "u1"}, {"user": "u2"}], at=t) ─► Answer   many times, from any thread

An answer does not wait: where a view is not yet complete to b it has what came so far, and says so.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headrace.feature_store.index import Found, Index, Single
from headrace.feature_store.kernel import NULL
from headrace.feature_store.keys import NO_SLOT
from headrace.feature_store.shards import Unreachable
from headrace.feature_store.training import Asking, Read
from headrace.operators.errors import StoreError, UnknownName
from headrace.operators.hashing import whole_array
from headrace.operators.status import STATUS_SUFFIX, STATUSES, Status
from headrace.operators.types import Type
from headrace.operators.view import Feature, View, bound

__all__ = ["Answer", "Asked", "OnlineReader", "Reader", "times_of"]

Ints = npt.NDArray[np.int64]
States = npt.NDArray[np.uint8]
_STATUS = NULL - 1
"""The part of a state that is a status."""
_PYTHON: Mapping[Type, type] = {Type.INT64: int, Type.STRING: str, Type.BOOL: bool}
_NO_VALUES: list[object] = []


@dataclass(slots=True)
class Answer:
    """Features of some entities, in the entities' order.

    Parameters
    ----------
    values
        Each feature's values, by its name; None is a null.
    complete
        Of each view that was read the time to which it is complete, int64 ms.
    stale_ms
        Of each view how far that is before b, the time up to which its features count; 0 where it
        is complete to there, and then the values are final.

    """

    values: Mapping[str, list[object]]
    complete: Mapping[str, int]
    stale_ms: Mapping[str, int]
    _states: Sequence[tuple[Sequence[str], States]]
    """Of each view its features and their states."""

    @property
    def status(self) -> dict[str, list[Status]]:
        """Say what each value stands for: each feature's statuses, by its name."""
        found = {
            name: [STATUSES[state & _STATUS] for state in told]
            for names, states in self._states
            for name, told in zip(names, states.tolist(), strict=True)
        }
        return {name: found[name] for name in self.values}

    def rows(self) -> list[dict[str, object]]:
        """Give one dict of values for each entity."""
        return [
            dict(zip(self.values, row, strict=True))
            for row in zip(*self.values.values(), strict=True)
        ]


class Asked:
    """The features of one view that are read together, and what stands for its key."""

    def __init__(self, view: View, keys: Sequence[str], features: Sequence[str]) -> None:
        self.view, self.every_ms = view, view.every_ms
        self.features = tuple(f for f in view.features if f.name in features)
        self.names = tuple(feature.name for feature in self.features)
        kinds = view.key_types
        self.keys = tuple(zip(keys, (_PYTHON[kind] for kind in kinds), strict=True))

    def columns(self, entities: Sequence[Mapping[str, object]]) -> list[list[object]]:
        """Give each part of the entities' keys."""
        return [self._column(entities, *key) for key in self.keys]

    def arrays(self, entities: Sequence[Mapping[str, object]]) -> list[pa.Array]:
        """Give the same as Arrow has it."""
        kinds = zip(self.columns(entities), self.view.key_types, strict=True)
        return [pa.array(values, kind.arrow) for values, kind in kinds]

    def _column(
        self, entities: Sequence[Mapping[str, object]], column: str, kind: type
    ) -> list[object]:
        """Give a part of each entity's key: exactly of its type, for True is no 1 here."""
        try:
            values = [entity[column] for entity in entities]
        except KeyError as error:
            asked = f"asked for features by '{column}', {kind.__name__}"
            found = "an entity has no such column"
            raise StoreError(asked, found, "give it, or None where it is not known") from error
        for value in values:
            if type(value) is not kind and value is not None:
                asked = f"asked for features by '{column}', {kind.__name__}"
                do = "give the key as the source has it"
                raise StoreError(asked, f"found {value!r:.80}", do)
        return values


class _Group(Asked):
    """Those of a view whose index is here."""

    def __init__(self, index: Index, keys: Sequence[str], features: Sequence[str]) -> None:
        super().__init__(index.view, keys, features)
        self.index = index
        self.plan = index.plan(self.features)
        whole = len(self.plan.results) == len(self.plan.features)
        self._single = Single(index, self.plan) if whole else None
        self._outputs = [
            (place, feature.name, *self._output(feature))
            for place, feature in enumerate(self.plan.features)
        ]

    def _output(self, feature: Feature) -> tuple[bool, int, str, bool]:
        """Say where a feature's values are: among float64s, at which row (−1: elsewhere), what."""
        if feature.name not in self.plan.results:
            return False, -1, "", False
        output, words = self.plan.results[feature.name]
        return output.real, output.row, words, feature.aggregate.type is Type.BOOL

    def slots(self, entities: Sequence[Mapping[str, object]]) -> list[int]:
        """Give each entity's slot."""
        slot = self.index.slot
        columns = self.columns(entities)
        keys = columns[0] if len(columns) == 1 else zip(*columns, strict=True)
        return [slot(key, NO_SLOT) for key in keys]

    def one(
        self, entities: Sequence[Mapping[str, object]], at: int, values: dict[str, list[object]]
    ) -> States:
        """Read all features of one entity into `values`; give their states."""
        read = self._single.read(self.slots(entities)[0], at) if self._single else None
        if read is None:
            return self.many(entities, np.array([at], np.int64), values)
        nulls, wholes, reals, states = read
        for place, name, real, row, words, truth in self._outputs:
            if nulls and states[place, 0] >= NULL:
                values[name] = [None]
            elif words:
                values[name] = [*self.index.texts(words, wholes[row])]
            elif truth:
                values[name] = [wholes[row][0] == 1]
            else:
                values[name] = reals[row] if real else wholes[row]  # type: ignore[assignment]  # lists are invariant
        return states

    def many(
        self, entities: Sequence[Mapping[str, object]], times: Ints, values: dict[str, list[object]]
    ) -> States:
        """Read all features into `values`; give their states."""
        slots = np.fromiter(self.slots(entities), np.int64, len(entities))
        read = self.index.compute(self.plan, slots, times)
        if read is None:
            return self._older(entities, times, values)
        wholes, reals = read.wholes.tolist(), read.reals.tolist()
        for missing, (place, name, real, row, words, truth) in zip(
            read.missing.tolist(), self._outputs, strict=True
        ):
            if row < 0:
                column = read.others[name][0].tolist()
            elif words:
                column = self.index.texts(words, wholes[row])
            elif truth:
                column = [*map(bool, wholes[row])]
            else:
                column = reals[row] if real else wholes[row]
            if row < 0 or missing:
                told = zip(read.states[place].tolist(), column, strict=True)
                column = [None if state >= NULL else value for state, value in told]
            values[name] = column
        return read.states

    def _older(
        self, entities: Sequence[Mapping[str, object]], times: Ints, values: dict[str, list[object]]
    ) -> States:
        """Read what is in part before the horizon."""
        found, states = self.index.read_with_status(self.arrays(entities), times, self.plan)
        values |= {name: column.to_pylist() for name, column in found.items()}
        return np.stack([states[name] for name in self.names])


class Reader(ABC):
    """Reads some features of any entities, past or present. Made by `Store.reader`.

    Parameters
    ----------
    views
        The views, by name.
    keys
        For each view the columns that stand for its key in an entity, as in a decision.
    features
        The names of the features, in the order of the answer; ``view:feature`` is understood, too.

    Raises
    ------
    UnknownName
        Where no view has such a feature.

    """

    def __init__(
        self,
        views: Mapping[str, View],
        keys: Mapping[str, Sequence[str]],
        features: Sequence[str],
    ) -> None:
        owners = {f.name: name for name, view in views.items() for f in view.features}
        self.features = tuple(_plain(name, owners) for name in features)
        used = dict.fromkeys(owners[name] for name in self.features)
        self.views = {name: views[name] for name in used}
        """The views that are read."""
        self._keys = {name: tuple(keys[name]) for name in used}

    @property
    def keys(self) -> tuple[str, ...]:
        """List the columns that an entity must have."""
        return tuple(dict.fromkeys(key for keys in self._keys.values() for key in keys))

    @abstractmethod
    def read(
        self, entities: Sequence[Mapping[str, object]], at: int | Sequence[int] | None = None
    ) -> Answer:
        """Read the features of entities, each a mapping with the columns of `keys`.

        A null key part is no key, and never seen.

        Parameters
        ----------
        entities
            One or more; what they have besides is passed over.
        at
            The time t, int64 ms, or one for each; without it each view is read as of the time to
            which it is complete.

        Raises
        ------
        StoreError
            Where an entity lacks a key column, or its value is not of the column's type.

        """

    @abstractmethod
    def found(self, rows: pa.Table, times: Ints) -> Iterator[tuple[View, Found, int]]:
        """Give the features of each view, and how far it was complete before it was read."""

    def asking(self, *, at: str | None = None, statuses: bool = False) -> tuple[Asking, Read]:
        """Say what is asked of decisions for a training set, and give what reads it."""
        asking = Asking.about(self.views, self._keys, self.features, at=at, statuses=statuses)

        def read(asked: pa.Table) -> pa.Table:
            found = self.read_table(asked, status=statuses)
            return found.select(asking.features.names).cast(asking.features)

        return asking, read

    def read_table(
        self,
        rows: pa.Table,
        at: Ints | None = None,
        *,
        status: bool = False,
        final: bool = False,
    ) -> pa.Table:
        """Append the features to rows with the columns of `keys` and, unless `at` is given, ``at``.

        With `status` each feature has a column of statuses beside it, named with `STATUS_SUFFIX`.
        With `final` a view that is not complete to what is asked of it is `Unreachable`: a shard
        that was thought to be there is not.
        """
        times = rows["at"].to_numpy().astype(np.int64) if at is None else at
        found: dict[str, pa.Array] = {}
        for view, (values, states), complete in self.found(rows, times):
            if final and len(times) and complete < bound(int(times.max()), view.every_ms):
                asked = f"asked for what the view {view.name!r} has in the end at {times.max()}"
                raise Unreachable(asked, f"it is complete to {complete}", "ask again later")
            found |= values
            found |= {f"{each}{STATUS_SUFFIX}": _texts(states[each]) for each in values}
        for each in self.features:
            rows = rows.append_column(each, found[each])
            if status:
                rows = rows.append_column(f"{each}{STATUS_SUFFIX}", found[f"{each}{STATUS_SUFFIX}"])
        return rows


class OnlineReader(Reader):
    """Reads them from the views' indexes, which are in this process.

    Parameters
    ----------
    indexes
        The views' indexes, by name.
    keys, features
        As of `Reader`.
    complete
        Says of a view the time to which it is complete.

    Raises
    ------
    UnknownName
        Where no view has such a feature.

    """

    def __init__(
        self,
        indexes: Mapping[str, Index],
        keys: Mapping[str, Sequence[str]],
        features: Sequence[str],
        complete: Callable[[str], int],
    ) -> None:
        views = {name: index.view for name, index in indexes.items()}
        super().__init__(views, keys, features)
        self._groups = {
            name: _Group(indexes[name], self._keys[name], self.features) for name in self._keys
        }
        self._complete = complete
        self._empty: dict[str, list[object]] = dict.fromkeys(self.features, _NO_VALUES)

    def read(
        self, entities: Sequence[Mapping[str, object]], at: int | Sequence[int] | None = None
    ) -> Answer:
        """Read the features; see `Reader.read`."""
        values = self._empty.copy()
        states: list[tuple[Sequence[str], States]] = []
        complete: dict[str, int] = {}
        stale: dict[str, int] = {}
        one = len(entities) == 1 and (at is None or isinstance(at, int))
        for name, group in self._groups.items():
            # Asked first: what is read is complete to there at least.
            complete[name] = latest = through = self._complete(name)
            if one:
                latest = through if at is None else cast("int", at)
                states.append((group.names, group.one(entities, latest, values)))
            else:
                times = times_of(through if at is None else at, len(entities))
                latest = int(times.max(initial=latest))
                states.append((group.names, group.many(entities, times, values)))
            late = latest // group.every_ms * group.every_ms - through
            stale[name] = late if late > 0 else 0
        return Answer(values, complete, stale, states)

    def found(self, rows: pa.Table, times: Ints) -> Iterator[tuple[View, Found, int]]:
        """Read each view's index."""
        for name, group in self._groups.items():
            complete = self._complete(name)
            keys = [whole_array(rows[key]) for key, _ in group.keys]
            yield group.view, group.index.read_with_status(keys, times, group.plan), complete


def _plain(name: str, owners: Mapping[str, str]) -> str:
    """Give a feature's own name, of a feature that is."""
    view, colon, feature = name.rpartition(":")
    if feature not in owners or (colon and owners[feature] != view):
        known = [f"{view}:{each}" for each, view in owners.items()] if colon else [*owners]
        kind = "feature"
        raise UnknownName(kind, name, known)
    return feature


def times_of(at: int | Sequence[int], count: int) -> Ints:
    """Give a time for each of so many entities."""
    if isinstance(at, int):
        return np.full(count, at, np.int64)
    if len(at) != count:
        asked = f"asked for the features of {count} entities"
        raise StoreError(asked, f"there are {len(at)} times", "give one time, or one for each")
    return np.array(at, np.int64)


def _texts(states: npt.NDArray[np.uint8]) -> pa.Array:
    words = pa.array([str(each) for each in STATUSES])
    return pa.DictionaryArray.from_arrays(pa.array(states.astype(np.int8)), words)
