"""Replaying history as a stream: events in order of their time, and the word that time has passed.

A replay that is started again goes on where the log ends: the order of messages is fixed, so what
is in a partition is a prefix of what belongs there.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

import orjson

from headrace.jobs import transport
from headrace.jobs.transport import Place, Writer

__all__ = ["Event", "beat", "replay"]

_TOLD_EVENTS = 10_000
_Sent = tuple[str, int, bytes | None, bytes, int]
"""Topic, partition, key (none in a beat), value, event time."""


class Event(Protocol):
    """A message with its event time."""

    @property
    def topic(self) -> str:
        """The topic."""

    @property
    def key(self) -> bytes:
        """What decides the partition."""

    @property
    def value(self) -> bytes:
        """The JSON object."""

    @property
    def at(self) -> int:
        """The event time, int64 ms."""


def replay(
    events: Iterable[Iterable[Event]],
    *,
    bootstrap: str,
    partitions: Mapping[str, int],
    beat_ms: int,
    rest_ms: int,
    tell: Callable[[int, int], None] | None = None,
) -> int:
    """Send events in order of event time, as fast as the broker takes them; give the last beat.

    Nothing is sent before all that is earlier was handed over. Every `beat_ms` of event time each
    partition is told that nothing earlier will come (a progress event: a row of nothing but its
    time), and twice more at the end, `rest_ms` apart, so that every window closes.

    Parameters
    ----------
    events
        In order of event time, in lists of any length.
    partitions
        How many partitions each topic has; an event's is decided by a hash of its key.
    tell
        Is told every few thousand messages how many events were sent, and the time they reached.

    """
    sent = at = 0
    already = Counter(transport.ends(bootstrap, partitions))
    with Writer(bootstrap, linger_ms=20) as writer:
        for topic, partition, key, value, at in _messages(events, partitions, beat_ms, rest_ms):
            sent += key is not None
            if tell is not None and key is not None and sent % _TOLD_EVENTS == 0:
                tell(sent, at)
            place = (topic, partition)
            if already[place]:
                already[place] -= 1
                continue
            writer.send(topic, value, key=key, partition=partition)
    if tell is not None:
        tell(sent, at)
    return at


def beat(writer: Writer, partitions: Mapping[str, int], at: int) -> None:
    """Tell every partition once more that nothing before `at` will come.

    To be repeated while a stream rests: after a restart Flink knows no watermark of a partition
    until a row comes, and one silent partition holds all windows.
    """
    places = [(name, i) for name, count in partitions.items() for i in range(count)]
    for topic, partition, _, value, _ in _beats(places, at):
        writer.send(topic, value, partition=partition)
    writer.flush()


def _messages(
    events: Iterable[Iterable[Event]], partitions: Mapping[str, int], beat_ms: int, rest_ms: int
) -> Iterator[_Sent]:
    places: list[Place] = [(name, i) for name, count in partitions.items() for i in range(count)]
    following, at = 0, 0
    for batch in events:
        for event in batch:
            at = event.at
            if at >= following:
                beat = at // beat_ms * beat_ms
                yield from _beats(places, beat)
                following = beat + beat_ms
            partition = zlib.crc32(event.key) % partitions[event.topic]
            yield event.topic, partition, event.key, event.value, at
    # The first makes a pane of its own, which the second completes.
    yield from _beats(places, at + rest_ms)
    yield from _beats(places, at + 2 * rest_ms)


def _beats(places: list[Place], at: int) -> Iterator[_Sent]:
    value = orjson.dumps({"at": at})
    for topic, partition in places:
        yield topic, partition, None, value, at
