"""A shard whose store is in this process: what a shard's server answers with, and a rebuild."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headrace.feature_store.catalogue import Place
from headrace.feature_store.shards import Looked, Told, Unreachable, Wanted
from headrace.feature_store.store import Store

__all__ = ["Held"]

Ints = npt.NDArray[np.int64]
_READS = 64


class Held:
    """A shard's store, as the head asks it; see `Shard`.

    Parameters
    ----------
    store
        It.
    lag
        Says how many messages of each partition it has yet to read.

    """

    def __init__(self, store: Store, lag: Callable[[], Mapping[Place, int]] = dict) -> None:
        self._store, self._lag = store, lag
        self._names = {version: name for name, version in store.versions.items()}
        # A read is planned once: the head asks for the same again and again.
        self._telling = lru_cache(_READS)(store.telling)

    def look(self) -> Looked:
        """Say how far it is."""
        versions = self._store.versions
        return Looked({versions[n]: each for n, each in self._store.views.items()}, self._lag())

    def begin(self, wanted: Wanted, keys: Sequence[pa.Array], at: Ints) -> Callable[[], Told]:
        """Read the features when they are asked for.

        Raises
        ------
        Unreachable
            Where it has the features of another declaration: it was started with one.

        """
        known, name = self._store.declared.features, self._names.get(wanted.view)
        others = [each for each, is_ in wanted.features.items() if known.get(each) != is_]
        if name is None or others:
            asked = f"asked {self._store.part} for features of {wanted.view}"
            what = f"the feature {others[0]!r} is another" if others else "it has another version"
            found = f"{what} in the declaration that it was started with"
            raise Unreachable(asked, found, "ask again when all of the store is started with one")
        return partial(self._telling(name, tuple(wanted.features)), keys, at)

    def sql(self, query: str) -> pa.Table:
        """Answer one SELECT over its tables."""
        return self._store.catalogue.select(query)

    def close(self) -> None:
        """Close its file."""
        self._store.catalogue.close()
