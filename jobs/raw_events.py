"""The raw topics as the store process reads them: the events of each source that is kept.

::

    raw topics ─poll, at most each second─► messages ─► what they say ─┐ in the transaction of
                    └ what they have lost ─► gaps, and on              └► the step, with the offsets

Others write to these topics, so an offset may be without a message: a transaction's end, or what
compaction took. What is gone before it was read is noted, and reading goes on behind it: nothing
that is served depends on it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from headrace.feature_store.catalogue import Place
from headrace.feature_store.events import Said
from headrace.feature_store.store import Store
from headrace.jobs import transport
from headrace.jobs.source_rows import log_of
from headrace.jobs.transport import LogGap, Reader

__all__ = ["RawEvents", "Taken"]

_log = logging.getLogger(__name__)
_REST_SECONDS = 1.0
_WORK_SECONDS = 0.05
"""After so much work it rests for `_REST_SECONDS`, after more for longer: a batch of a source costs
10 ms before its first message, so a few are not worth it, and many sources take a twentieth."""
_POLL_MS = 10
_POLL_MESSAGES = 20_000


@dataclass(frozen=True)
class Taken:
    """What was read in one go: what it says, and from where to where."""

    said: Sequence[Said] = ()
    moved: Mapping[Place, tuple[int, int]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.moved)


class RawEvents:
    """Reads the raw topics of the sources that are kept, from where the store's file is.

    Parameters
    ----------
    store
        Whose events they become; the offsets are in its file.
    bootstrap
        The broker.

    """

    def __init__(self, store: Store, bootstrap: str) -> None:
        self._events, self._bootstrap = store.events, bootstrap
        self._sources = self._events.topics
        # Those that there are: a topic of another's may have more partitions than are declared.
        places = transport.places(bootstrap, self._sources) if self._sources else []
        self._kept = {place: self._events.kept(place) for place in places}
        known = store.offsets(list(self._kept.values()))
        self.read = {place: known[kept] for place, kept in self._kept.items()}
        """The next offset of every partition."""
        self._catalogue = store.catalogue
        self._reader = self._open() if self._kept else None
        self._rests_until = 0.0

    def _open(self) -> Reader:
        while True:
            try:
                return Reader(self._bootstrap, self.read, max_records=_POLL_MESSAGES)
            except LogGap as gap:
                self._lose(gap)

    def _lose(self, gap: LogGap) -> None:
        """Note what is gone; a log that ends before what was read is another one."""
        if not gap.lost:
            raise gap
        place = (gap.topic, gap.partition)
        _log.warning("%s", gap)
        self._events.lose(place, gap.offset, gap.earliest)
        self.read[place] = gap.earliest

    def poll(self) -> Taken:
        """Read what there is, unless it was read not long ago; say what it means."""
        if self._reader is None or time.monotonic() < self._rests_until:
            return Taken()
        began = time.thread_time()
        try:
            messages = self._reader.poll(_POLL_MS, _POLL_MESSAGES)
        except LogGap as gap:
            self._lose(gap)
            self._reader.close()
            self._reader = self._open()
            return Taken()
        positions = self._reader.positions()
        moved = {p: (was, positions[p]) for p, was in self.read.items() if positions[p] != was}
        by_source: dict[str, list[pa.Table]] = {}
        for (topic, partition), some in messages.items():
            by_source.setdefault(self._sources[topic], []).append(log_of(partition, some))
        said = [self._events.read(name, pa.concat_tables(logs)) for name, logs in by_source.items()]
        if sum(map(len, messages.values())) < _POLL_MESSAGES // 2:
            worked = time.thread_time() - began
            rest = _REST_SECONDS * max(1.0, worked / _WORK_SECONDS)
            self._rests_until = time.monotonic() + rest
        return Taken(said, moved)

    def keep(self, taken: Taken) -> None:
        """Keep what was read, and how far; inside a transaction."""
        for said in taken.said:
            self._events.add(said)
        moved = taken.moved.items()
        self._catalogue.advance({self._kept[place]: offsets for place, offsets in moved})
        self.read |= {place: following for place, (_, following) in moved}

    def highwater(self) -> Mapping[Place, int]:
        """Give the ends of the partitions, as far as they are known."""
        return {} if self._reader is None else self._reader.highwater()

    def close(self) -> None:
        """Stop reading."""
        if self._reader is not None:
            self._reader.close()
