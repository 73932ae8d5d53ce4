"""A replay keeps the order of time, tells its progress, and goes on where the log ends."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import NamedTuple

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.jobs import transport
from headrace.jobs.machine.broker import Broker
from headrace.jobs.replay import beat, replay
from headrace.jobs.transport import Place, Reader, Topic, Writer, create_topics, ends
from tests.jobs.in_memory import Killed, Log

BEAT, REST = 100, 1_000
PARTITIONS = {"a": 2, "b": 1}


class Happened(NamedTuple):
    """An event."""

    topic: str
    key: bytes
    value: bytes
    at: int


def happened(gaps: list[int], first: int = 250) -> list[Happened]:
    at, events = first, []
    for number, gap in enumerate(gaps):
        at += gap
        value = orjson.dumps({"at": at, "n": number})
        events.append(Happened("ab"[number % 3 == 0], b"k%d" % (number % 5), value, at))
    return events


def replayed(log: Log, events: list[Happened], size: int = 3) -> int:
    """Run the replay on the log in memory."""
    lists = [events[i : i + size] for i in range(0, len(events), size)]
    with pytest.MonkeyPatch.context() as monkeypatch:
        log.install(monkeypatch)
        return replay(lists, bootstrap="memory", partitions=PARTITIONS, beat_ms=BEAT, rest_ms=REST)


def values(log: Log) -> dict[Place, list[bytes | None]]:
    return {place: [said.value for said in log.messages[place]] for place in sorted(log.messages)}


def test_order_beats_and_the_end() -> None:
    log, events = Log(), happened([0, 30, 30, 0, 350, 1])
    last = replayed(log, events)
    assert last == events[-1].at + 2 * REST
    for (topic, partition), said in log.messages.items():
        rows = [orjson.loads(one.value or b"") for one in said]
        times = [row["at"] for row in rows]
        assert times == sorted(times)
        beats = [row["at"] for row in rows if "n" not in row]
        # One where time passes a multiple of BEAT, each true when it is told; two at the end.
        assert beats == [200, 300, 600, events[-1].at + REST, last], (topic, partition)
    numbers = Counter(
        orjson.loads(one.value or b"").get("n") for said in log.messages.values() for one in said
    )
    assert all(numbers[i] == 1 for i in range(len(events)))
    # A key stays in one partition.
    keyed = {(one.topic, one.key): one.partition for said in log.messages.values() for one in said}
    for place, said in log.messages.items():
        assert all(keyed[one.topic, one.key] == place[1] for one in said if one.key)


@given(
    st.lists(st.integers(0, 150), max_size=25),
    st.lists(st.integers(0, 40), max_size=4),
    st.integers(1, 7),
)
def test_stopped_at_any_message_it_goes_on(gaps: list[int], kills: list[int], size: int) -> None:
    events, truth, log = happened(gaps), Log(), Log()
    last = replayed(truth, events)
    for log.left in kills:
        with contextlib.suppress(Killed):
            replayed(log, events, size)
    log.left = None
    assert replayed(log, events, size) == last
    assert values(log) == values(truth)
    assert replayed(log, events, size) == last  # and again: nothing more
    assert values(log) == values(truth)


def test_a_beat_reaches_every_partition() -> None:
    log = Log()
    beat(log, PARTITIONS, 7)  # type: ignore[arg-type]  # it writes as a Writer does
    assert values(log) == {p: [b'{"at":7}'] for p in [("a", 0), ("a", 1), ("b", 0)]}


@pytest.mark.kafka
def test_on_the_broker_a_second_replay_completes_the_first(broker: Broker) -> None:
    """The log of a replay that was cut short is a prefix: the next one adds what is missing."""
    names = {"replay.a": 2, "replay.b": 1}
    create_topics(broker.address, [Topic(name, count) for name, count in names.items()])
    events = [e._replace(topic=f"replay.{e.topic}") for e in happened([17] * 40)]
    truth = Log()
    replayed(truth, happened([17] * 40))
    with Writer(broker.address) as writer:  # what a killed one left: uneven prefixes
        for (topic, partition), cut in {("a", 0): 3, ("a", 1): 9, ("b", 0): 0}.items():
            for said in truth.messages[topic, partition][:cut]:
                writer.send(f"replay.{topic}", said.value, key=said.key, partition=partition)
    for _ in range(2):
        replay([events], bootstrap=broker.address, partitions=names, beat_ms=BEAT, rest_ms=REST)
        whole = ends(broker.address, names)
        assert whole == {(f"replay.{t}", p): len(m) for (t, p), m in truth.messages.items()}
    got: dict[Place, list[bytes | None]] = {place: [] for place in whole}
    with Reader(broker.address, transport.begins(broker.address, names)) as reader:
        while any(len(got[place]) < end for place, end in whole.items()):
            for place, messages in reader.poll(1_000).items():
                got[place] += [message.value for message in messages]
    assert {(place[0][-1], place[1]): said for place, said in got.items()} == values(truth)
