"""Features of entities at a time, read from the shards: the same answers as from indexes here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headrace.feature_store.index import Found
from headrace.feature_store.online import Answer, Asked, Reader, times_of
from headrace.feature_store.shards import Shards
from headrace.operators.hashing import whole_array
from headrace.operators.view import View, bound

__all__ = ["DistantReader"]

Ints = npt.NDArray[np.int64]


class DistantReader(Reader):
    """Reads features of views whose tiles other processes have.

    Parameters
    ----------
    shards
        Who has them.
    views, keys, features
        As of `Reader`.

    """

    def __init__(
        self,
        shards: Shards,
        views: Mapping[str, View],
        keys: Mapping[str, Sequence[str]],
        features: Sequence[str],
    ) -> None:
        super().__init__(views, keys, features)
        self._shards = shards
        self._asked = {
            name: Asked(view, self._keys[name], self.features) for name, view in self.views.items()
        }

    def read(
        self, entities: Sequence[Mapping[str, object]], at: int | Sequence[int] | None = None
    ) -> Answer:
        """Read the features; see `Reader.read`. Unreachable where a shard does not answer."""
        # Asked first: what is read is complete to there at least.
        complete = {name: self._shards.complete(name) for name in self._asked}
        count = len(entities)
        times = {
            name: times_of(through if at is None else at, count)
            for name, through in complete.items()
        }
        waits = {
            name: self._shards.begin(name, each.names, each.arrays(entities), times[name])
            for name, each in self._asked.items()
        }
        values: dict[str, list[object]] = {}
        states, stale = [], {}
        for name, each in self._asked.items():
            found, of_names = waits[name]().found
            values |= {feature: column.to_pylist() for feature, column in found.items()}
            states.append((each.names, np.stack([of_names[feature] for feature in each.names])))
            latest = int(times[name].max(initial=complete[name]))
            stale[name] = max(0, bound(latest, each.every_ms) - complete[name])
        return Answer({name: values[name] for name in self.features}, complete, stale, states)

    def found(self, rows: pa.Table, times: Ints) -> Iterator[tuple[View, Found, int]]:
        """Ask the shards for all views before the first answer is waited for."""
        waits = [
            self._shards.begin(
                name, each.names, [whole_array(rows[key]) for key, _ in each.keys], times
            )
            for name, each in self._asked.items()
        ]
        for each, wait in zip(self._asked.values(), waits, strict=True):
            told = wait()
            yield each.view, told.found, told.complete
