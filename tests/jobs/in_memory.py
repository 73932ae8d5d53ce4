"""A log in memory in the place of Kafka: readers, writers, ends."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from headrace.jobs import learner, published, raw_events, replay, shard, store, transport
from headrace.jobs.store import StoreProcess
from headrace.jobs.transport import LogGap, Place
from headrace.pipelines.pipeline import Pipeline

__all__ = ["Killed", "Log", "Said"]


class Killed(Exception):
    """The process ends here."""


@dataclass(frozen=True)
class Said:
    """A message as `Reader.poll` gives it."""

    topic: str
    partition: int
    offset: int
    value: bytes | None
    key: bytes | None = None
    timestamp: int = 0
    headers: Sequence[tuple[str, bytes]] = ()


@dataclass
class Log:
    """Partitions of messages; `left` writes from now on, then the writer is killed.

    `reading` counts the readers that were entered and not left; `lost` is of partitions that do not
    begin at 0 any more.
    """

    messages: dict[Place, list[Said]] = field(default_factory=lambda: defaultdict(list))
    left: int | None = None
    reading: int = 0
    lost: dict[Place, int] = field(default_factory=dict)

    def put(self, topic: str, *values: bytes, partition: int = 0) -> None:
        """Append messages."""
        for value in values:
            self.send(topic, value, partition=partition)

    def send(self, topic: str, value: bytes | None, *, partition: int = 0, **more: Any) -> None:
        """Append a message, as `Writer.send` does."""
        if self.left is not None:
            if not self.left:
                raise Killed
            self.left -= 1
        partition_log = self.messages[topic, partition]
        key, headers = more.get("key"), more.get("headers", ())
        partition_log.append(Said(topic, partition, len(partition_log), value, key, 0, headers))

    def flush(self) -> None:
        """Do nothing: what was sent is there."""

    close = beat = flush

    def __enter__(self) -> Log:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """End."""

    def last(self, _: str, topic: str, partition: int) -> Said | None:
        """Give the last message, as `transport.last` does."""
        return next(reversed(self.messages[topic, partition]), None)

    def ends(self, _: str, topics: Collection[str]) -> dict[Place, int]:
        """Give the ends, as `transport.ends` does."""
        return {place: len(said) for place, said in self.messages.items() if place[0] in topics}

    def places(self, _: str, topics: Collection[str]) -> list[Place]:
        """Give the partitions, as `transport.places` does: each topic has one at least."""
        return sorted({(name, 0) for name in topics} | {p for p in self.messages if p[0] in topics})

    def begins(self, _: str, topics: Collection[str]) -> dict[Place, int]:
        """Give the beginnings, as `transport.begins` does."""
        return {place: self.lost.get(place, 0) for place in self.messages if place[0] in topics}

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put it in the place of Kafka."""
        writers = ((store, "Writer"), (replay, "Writer"), (store, "Claim"), (learner, "Claim"))
        for module, name in writers:
            monkeypatch.setattr(module, name, lambda *_, **__: self)
        for module in (store, shard, published, raw_events, learner):
            monkeypatch.setattr(module, "Reader", lambda _, start, **__: _Reader(self, dict(start)))
        monkeypatch.setattr(transport, "last", self.last)
        monkeypatch.setattr(transport, "ends", self.ends)
        monkeypatch.setattr(transport, "begins", self.begins)
        monkeypatch.setattr(transport, "places", self.places)

    def process(self, pipeline: Pipeline, folder: Path) -> StoreProcess:
        """Make a store process on this log; call `install` before."""
        folder.mkdir(exist_ok=True)
        models = folder / "models"
        return StoreProcess(pipeline, bootstrap="memory", folder=folder, models=models)


@dataclass
class _Reader:
    log: Log
    next: dict[Place, int]

    def __post_init__(self) -> None:
        self._check()

    def _check(self) -> None:
        for place, at in self.next.items():
            first, end = self.log.lost.get(place, 0), len(self.log.messages[place])
            if not first <= at <= end:
                raise LogGap(*place, offset=at, earliest=first, end=end)

    def poll(self, _: int, most: int) -> Mapping[Place, list[Said]]:
        """Give at most `most` messages of each partition."""
        self._check()
        found = {p: self.log.messages[p][at : at + most] for p, at in self.next.items()}
        found = {place: said for place, said in found.items() if said}
        self.next |= {place: said[-1].offset + 1 for place, said in found.items()}
        return found

    def positions(self) -> dict[Place, int]:
        """Give the offsets that come next."""
        return dict(self.next)

    def highwater(self) -> dict[Place, int]:
        """Give the ends."""
        return {place: len(said) for place, said in self.log.messages.items() if place in self.next}

    def __enter__(self) -> _Reader:
        self.log.reading += 1
        return self

    def __exit__(self, *_: object) -> None:
        self.log.reading -= 1

    def close(self) -> None:
        """Do nothing."""
