"""A shard of the store: one process that has the tiles of some partitions of the views' topics.

::

    view topics, its partitions ─poll─► tiles and offsets in one transaction ─► its hot indexes
                                             the head asks it: features, tiles, how far it is

It writes to its own file alone, which is a cache of these topics; nothing of it goes to Kafka.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from headrace.feature_store.catalogue import Place
from headrace.feature_store.held import Held
from headrace.feature_store.shards import Part
from headrace.feature_store.store import Store
from headrace.jobs import assembly
from headrace.jobs.taking import moves, tiles_takers
from headrace.jobs.transport import Reader
from headrace.pipelines.pipeline import Pipeline

__all__ = ["ShardProcess", "folder_of", "folders"]

_POLL_MS = 50
_POLL_MESSAGES = 20_000


def folder_of(store: Path, number: int) -> Path:
    """Give a shard's folder, in the store's.

    >>> folder_of(Path("store"), 1)
    PosixPath('store/shards/1')
    """
    return store / "shards" / str(number)


def folders(store: Path) -> list[Path]:
    """List the folders of a store's shards; none where it is one process.

    >>> folders(Path("/nowhere"))
    []
    """
    return sorted(folder_of(store, 0).parent.glob("*"))


class ShardProcess:
    """Reads and commits, until it is told to stop.

    Parameters
    ----------
    pipeline
        The declaration.
    number
        Which of the store's shards it is.
    bootstrap
        The broker.
    folder
        The store's, in which is its own.
    backfills
        Where computed history is; the store's unless given.

    """

    def __init__(
        self,
        pipeline: Pipeline,
        number: int,
        *,
        bootstrap: str,
        folder: Path,
        backfills: Path | None = None,
    ) -> None:
        self.pipeline, self.number = pipeline, number
        own = folder_of(folder, number)
        own.mkdir(parents=True, exist_ok=True)
        self.store = Store(
            own / "store.duckdb",
            replace(assembly.declared(pipeline), kept={}, worth=None),
            part=Part(pipeline.store_shards, number),
            backfills=backfills or folder / "backfills",
        )
        self._takers = tiles_takers(pipeline, self.store)
        self._offsets = self.store.offsets(list(self._takers))
        self._reader = Reader(bootstrap, self._offsets, max_records=_POLL_MESSAGES)
        self.held = Held(self.store, self.lag)

    @property
    def read(self) -> Mapping[Place, int]:
        """Give the next offset of every partition that it reads."""
        return self._offsets

    def step(self) -> bool:
        """Take one poll's messages through to the file; say whether there were any."""
        messages = self._reader.poll(_POLL_MS, _POLL_MESSAGES)
        if not messages:
            return False
        moved = moves(self._offsets, messages)
        with self.store.catalogue.transaction():
            for place, taken in messages.items():
                self._takers[place](taken)
            self.store.catalogue.advance(moved)
        self._offsets |= {place: following for place, (_, following) in moved.items()}
        return True

    def lag(self) -> dict[Place, int]:
        """Say how many messages of each partition are in the log and not yet committed."""
        offsets = self._offsets
        ends = self._reader.highwater()
        return {place: max(0, end - offsets[place]) for place, end in ends.items()}

    def close(self) -> None:
        """Stop reading, close the file."""
        self._reader.close()
        self.store.catalogue.close()
