"""Taking messages of topics into a store: who takes those of a partition, and what must not lack.

But for raw topics, those that are read here are headrace's own: no transactions, no compaction, so
offsets have no holes, and one that is left out is a message that was lost.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

from headrace.feature_store.catalogue import Place
from headrace.feature_store.store import Store
from headrace.jobs.transport import LogGap, Message
from headrace.pipelines.pipeline import Pipeline

__all__ = ["Taker", "moves", "tiles_takers", "values"]

Taker = Callable[[Sequence[Message]], None]


def tiles_takers(pipeline: Pipeline, store: Store) -> dict[Place, Taker]:
    """Say who takes the messages of each partition of the views that a store holds."""

    def taker(name: str, shard: int) -> Taker:
        return lambda messages: store.add_tiles(name, shard, values(messages))

    return {
        (pipeline.view_topic(view), shard): taker(name, shard)
        for name, view in pipeline.streamed.items()
        for shard in store.part.shards_of(view.shards)
    }


def moves(
    offsets: Mapping[Place, int], messages: Mapping[Place, Sequence[Message]]
) -> dict[Place, tuple[int, int]]:
    """Give from where to where each partition moves; a LogGap where a message is left out."""
    return {
        place: (offsets[place], _following(place, offsets[place], taken))
        for place, taken in messages.items()
    }


def values(messages: Sequence[Message]) -> list[bytes]:
    """Give the messages' values, those that have one."""
    return [message.value for message in messages if message.value is not None]


def _following(place: Place, was: int, taken: Sequence[Message]) -> int:
    """Give the offset after a batch that begins at `was`; a LogGap where one is left out."""
    end = taken[-1].offset + 1
    if taken[0].offset != was or end - was != len(taken):
        pairs = zip(itertools.count(was), taken, strict=False)
        asked, found = next((due, m.offset) for due, m in pairs if due != m.offset)
        raise LogGap(*place, offset=asked, earliest=found, end=end)
    return end
