"""Features of entities at a time, read in this process: values, what they stand for, how fresh.

::

    store.reader(["views_1h", "price_24h"]) ─► OnlineReader        made once
    reader.read([{"user": "u1"}, {"user": "u2"}], at=t) ─► Answer   many times, from any thread

An answer does not wait: where a view is not yet complete to b it has what came so far, and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headrace.feature_store.index import Index
from headrace.feature_store.training import Asking, Read
from headrace.operators.errors import StoreError, UnknownName
from headrace.operators.status import STATUS_SUFFIX, STATUSES, Status
from headrace.operators.types import Type
from headrace.operators.view import View, bound

__all__ = ["Answer", "OnlineReader"]

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Answer:
    """Features of some entities, in the entities' order.

    Parameters
    ----------
    values
        Each feature's values, by its name; None is a null.
    status
        What each value stands for, in the same form.
    complete
        Of each view that was read the time to which it is complete, int64 ms.
    stale_ms
        Of each view how far that is before b, the time up to which its features count; 0 where it
        is complete to there, and then the values are final.

    """

    values: Mapping[str, list[object]]
    status: Mapping[str, list[Status]]
    complete: Mapping[str, int]
    stale_ms: Mapping[str, int]

    def rows(self) -> list[dict[str, object]]:
        """Give one dict of values for each entity."""
        return [
            dict(zip(self.values, row, strict=True))
            for row in zip(*self.values.values(), strict=True)
        ]


class OnlineReader:
    """Reads some features of any entities, past or present. Made by `Store.reader`.

    Parameters
    ----------
    indexes
        The views' indexes, by name.
    keys
        For each view the columns that stand for its key in an entity, as in a decision.
    features
        The names of the features, in the order of the answer; ``view:feature`` is understood, too.
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
        owners = {f.name: name for name, index in indexes.items() for f in index.view.features}
        self.features = tuple(_plain(name, owners) for name in features)
        used = dict.fromkeys(owners[name] for name in self.features)
        self._indexes = {name: indexes[name] for name in used}
        self._keys = {name: tuple(keys[name]) for name in used}
        self._complete = complete

    @property
    def views(self) -> Mapping[str, View]:
        """Give the views that are read."""
        return {name: index.view for name, index in self._indexes.items()}

    @property
    def keys(self) -> tuple[str, ...]:
        """List the columns that an entity must have."""
        return tuple(dict.fromkeys(key for keys in self._keys.values() for key in keys))

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
        values: dict[str, list[object]] = {}
        status: dict[str, list[Status]] = {}
        complete: dict[str, int] = {}
        stale: dict[str, int] = {}
        for name, index in self._indexes.items():
            complete[name] = self._complete(name)
            times = _times(at, complete[name], len(entities))
            keys = [
                _column(entities, column, kind)
                for column, kind in zip(self._keys[name], index.view.key_types, strict=True)
            ]
            latest = bound(int(times.max(initial=0)), index.view.every_ms)
            stale[name] = max(0, latest - complete[name])
            found, states = index.read_with_status(keys, times)
            values |= {each: column.to_pylist() for each, column in found.items()}
            status |= {each: [STATUSES[s] for s in states[each].tolist()] for each in found}
        return Answer(
            {name: values[name] for name in self.features},
            {name: status[name] for name in self.features},
            complete,
            stale,
        )

    def asking(self, *, at: str | None = None, statuses: bool = False) -> tuple[Asking, Read]:
        """Say what is asked of decisions for a training set, and give what reads it."""
        asking = Asking.about(self.views, self._keys, self.features, at=at, statuses=statuses)

        def read(asked: pa.Table) -> pa.Table:
            found = self.read_table(asked, status=statuses)
            return found.select(asking.features.names).cast(asking.features)

        return asking, read

    def read_table(
        self, rows: pa.Table, at: Ints | None = None, *, status: bool = False
    ) -> pa.Table:
        """Append the features to rows with the columns of `keys` and, unless `at` is given, ``at``.

        With `status` each feature has a column of statuses beside it, named with `STATUS_SUFFIX`.
        """
        times = rows["at"].to_numpy().astype(np.int64) if at is None else at
        found: dict[str, pa.Array] = {}
        for name, index in self._indexes.items():
            keys = [_one(rows[key]) for key in self._keys[name]]
            values, states = index.read_with_status(keys, times)
            found |= values
            found |= {f"{each}{STATUS_SUFFIX}": _texts(states[each]) for each in values}
        for each in self.features:
            rows = rows.append_column(each, found[each])
            if status:
                rows = rows.append_column(f"{each}{STATUS_SUFFIX}", found[f"{each}{STATUS_SUFFIX}"])
        return rows


def _plain(name: str, owners: Mapping[str, str]) -> str:
    """Give a feature's own name, of a feature that is."""
    view, colon, feature = name.rpartition(":")
    if feature not in owners or (colon and owners[feature] != view):
        known = [f"{view}:{each}" for each, view in owners.items()] if colon else [*owners]
        kind = "feature"
        raise UnknownName(kind, name, known)
    return feature


def _times(at: int | Sequence[int] | None, complete: int, count: int) -> Ints:
    if at is None or isinstance(at, int):
        return np.full(count, complete if at is None else at, np.int64)
    if len(at) != count:
        asked = f"asked for the features of {count} entities"
        raise StoreError(asked, f"there are {len(at)} times", "give one time, or one for each")
    return np.array(at, np.int64)


def _column(entities: Sequence[Mapping[str, object]], column: str, kind: Type) -> pa.Array:
    asked = f"asked for features by '{column}', {kind.value}"
    try:
        values = [entity[column] for entity in entities]
    except KeyError as error:
        found = "an entity has no such column"
        raise StoreError(asked, found, "give it, or None where it is not known") from error
    for value in values:
        # Exactly: True is no 1 here, and neither is 1.0.
        if value is not None and type(value) is not _PYTHON[kind]:
            raise StoreError(asked, f"found {value!r:.80}", "give the key as the source has it")
    try:
        return pa.array(values, kind.arrow)
    except (OverflowError, UnicodeEncodeError) as error:
        raise StoreError(asked, str(error), "give the key as the source has it") from error


_PYTHON: Mapping[Type, type] = {Type.INT64: int, Type.STRING: str, Type.BOOL: bool}


def _texts(states: npt.NDArray[np.uint8]) -> pa.Array:
    words = pa.array([str(each) for each in STATUSES])
    return pa.DictionaryArray.from_arrays(pa.array(states.astype(np.int8)), words)


def _one(column: pa.ChunkedArray) -> pa.Array:
    combined = column.combine_chunks()
    return combined if isinstance(combined, pa.Array) else combined.chunk(0)
