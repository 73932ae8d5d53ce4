"""Messages arrive as written and from where they were asked; what is lost is said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count

import pytest
from kafka import KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient
from kafka.partitioner import murmur2

from headrace.jobs import transport
from headrace.jobs.machine.broker import Broker, free_ports
from headrace.jobs.machine.waiting import wait_until
from headrace.jobs.source_rows import read_log
from headrace.jobs.transport import (
    DeliveryError,
    LogGap,
    Message,
    Place,
    Reader,
    Topic,
    Writer,
    begins,
    create_topics,
    ends,
    last,
    partitions,
    places,
    rewind_group,
    shard_keys,
)
from headrace.operators.errors import EnvironmentProblem

# An error lists as many topics as a line has room for, by name: other tests leave dozens there.
names = (f"a-topic-{number}" for number in count())


@pytest.fixture
def topic(broker: Broker) -> str:
    """A topic of two partitions that no other test uses."""
    name = next(names)
    create_topics(broker.address, [Topic(name, 2)])
    return name


def write(broker: Broker, topic: str, values: Sequence[bytes], *, partition: int = 0) -> None:
    with Writer(broker.address) as writer:
        for value in values:
            writer.send(topic, value, partition=partition)


def read(reader: Reader, number: int) -> list[Message]:
    """That many messages, and no more."""
    found: list[Message] = []

    def enough() -> bool:
        for messages in reader.poll(50).values():
            found.extend(messages)
        return len(found) >= number

    wait_until(enough, 10, f"{number} messages")
    assert len(found) == number
    return found


def delete_before(broker: Broker, topic: str, offset: int) -> None:
    with KafkaAdminClient(bootstrap_servers=broker.address) as admin:
        admin.delete_records({TopicPartition(topic, 0): offset})


@pytest.mark.kafka
def test_a_topic_is_made_once_and_as_asked(broker: Broker, topic: str) -> None:
    create_topics(broker.address, [Topic(topic, 2)])
    assert partitions(broker.address, topic) == 2
    assert places(broker.address, [topic]) == [(topic, 0), (topic, 1)]
    with pytest.raises(EnvironmentProblem, match=r"with 3 partitions; it is there with 2; declare"):
        create_topics(broker.address, [Topic(topic, 3)])
    with pytest.raises(EnvironmentProblem, match=r"refused: .*; change its name or settings"):
        create_topics(broker.address, [Topic("other", 1, {"no.such.setting": "1"})])
    create_topics(broker.address, [])


@pytest.mark.kafka
def test_what_is_not_there_is_named(broker: Broker, topic: str) -> None:
    with pytest.raises(EnvironmentProblem, match=rf"'nowhere'; .* it has: .*{topic}"):
        partitions(broker.address, "nowhere")
    with pytest.raises(EnvironmentProblem, match="no such topic"):
        Reader(broker.address, {("nowhere", 0): 0})
    with pytest.raises(EnvironmentProblem, match=r"partition 2 of .*; it has 2, counted from 0"):
        Reader(broker.address, {(topic, 2): 0})
    with pytest.raises(EnvironmentProblem, match="partition 2"):
        last(broker.address, topic, 2)
    with Writer(broker.address, delivery_seconds=1) as writer:
        with pytest.raises(DeliveryError, match="'nowhere'; 1 message was not acknowledged"):
            writer.send("nowhere", b"")
        with pytest.raises(DeliveryError, match="Unrecognized partition 2"):
            writer.send(topic, b"", partition=2)


@pytest.mark.parametrize("address", ["here", "127.0.0.1:", "127.0.0.1:port", ""])
def test_an_address_has_a_host_and_a_port(address: str) -> None:
    with pytest.raises(EnvironmentProblem, match="no address; write host:port"):
        Writer(address)


def test_a_broker_that_is_not_there_is_one_sentence() -> None:
    (port,) = free_ports(1)
    with pytest.raises(EnvironmentProblem, match=rf":{port}; nobody answers there after 0.1 s"):
        Reader(f"127.0.0.1:{port}", {("t", 0): 0}, connect_seconds=0.1)
    with pytest.raises(EnvironmentProblem, match="start the broker"):
        ends(f"127.0.0.1:{port},127.0.0.1:{port}", ["t"], connect_seconds=0.1)


@pytest.mark.kafka
def test_a_message_arrives_as_it_was_written(broker: Broker, topic: str) -> None:
    with Writer(broker.address) as writer:
        headers = [("version", b"\x01"), ("version", b"\x02")]
        writer.send(topic, b"\x00\xff", key=b"k", partition=1, timestamp_ms=7, headers=headers)
        writer.send(topic, None, key=b"k", partition=1)
    with Reader(broker.address, {(topic, 1): 0}) as reader:
        one, deletion = read(reader, 2)
    assert (one.topic, one.partition, one.offset, one.timestamp) == (topic, 1, 0, 7)
    assert (one.key, one.value, list(one.headers)) == (b"k", b"\x00\xff", headers)
    assert (deletion.key, deletion.value, list(deletion.headers)) == (b"k", None, [])


@pytest.mark.kafka
def test_reading_begins_where_it_was_asked_to(broker: Broker, topic: str) -> None:
    write(broker, topic, [b"%d" % number for number in range(10)])
    write(broker, topic, [b"other"], partition=1)
    start: Mapping[Place, int] = {(topic, 0): 7, (topic, 1): 1}
    with Reader(broker.address, start) as reader:
        assert reader.positions() == start
        assert reader.ends() == ends(broker.address, [topic]) == {(topic, 0): 10, (topic, 1): 1}
        assert [message.value for message in read(reader, 3)] == [b"7", b"8", b"9"]
        assert reader.positions() == reader.ends()
        assert reader.poll(1) == {}
    assert begins(broker.address, [topic]) == {(topic, 0): 0, (topic, 1): 0}


@pytest.mark.kafka
def test_a_poll_gives_no_more_than_asked_and_the_position_follows(
    broker: Broker, topic: str
) -> None:
    write(broker, topic, [b"%d" % number for number in range(5)])
    with Reader(broker.address, {(topic, 0): 0}, max_records=2) as reader:
        wait_until(lambda: reader.poll(50, max_records=1), 10, "a message")
        assert reader.positions() == {(topic, 0): 1}
        (messages,) = reader.poll(1000).values()
        assert [message.offset for message in messages] == [1, 2]
        assert reader.positions() == {(topic, 0): 3}


@pytest.mark.kafka
def test_a_paused_partition_waits_and_loses_nothing(broker: Broker, topic: str) -> None:
    write(broker, topic, [b"a", b"b"])
    write(broker, topic, [b"c"], partition=1)
    with Reader(broker.address, {(topic, 0): 0, (topic, 1): 0}) as reader:
        reader.pause([(topic, 0)])
        assert [message.value for message in read(reader, 1)] == [b"c"]
        assert reader.poll(50) == {}
        reader.resume([(topic, 0)])
        assert [message.value for message in read(reader, 2)] == [b"a", b"b"]


@pytest.mark.kafka
def test_an_offset_that_is_gone_is_an_error(broker: Broker, topic: str) -> None:
    write(broker, topic, [b"%d" % number for number in range(10)])
    with Reader(broker.address, {(topic, 0): 2}) as early:
        delete_before(broker, topic, 6)
        with pytest.raises(LogGap) as gone:
            wait_until(lambda: early.poll(50), 10, "the gap")
    with pytest.raises(LogGap) as at_start:
        Reader(broker.address, {(topic, 0): 2})
    for gap in (gone.value, at_start.value):
        assert (gap.topic, gap.partition, gap.offset, gap.earliest, gap.end, gap.lost) == (
            (topic, 0, 2, 6, 10, 4)
        )
        assert "offset 2 is gone, the earliest is 6, 4 messages are lost" in str(gap)
    with Reader(broker.address, {(topic, 0): 6}) as reader:
        assert len(read(reader, 4)) == 4


@pytest.mark.kafka
def test_an_offset_behind_the_end_is_another_log(
    broker: Broker, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "_SETTLE_SECONDS", 0.1)
    with pytest.raises(LogGap, match="from offset 5; the log ends at 0: it is not the log"):
        Reader(broker.address, {(topic, 0): 5})


@pytest.mark.kafka
def test_only_what_was_committed_is_read(broker: Broker, topic: str) -> None:
    producer = KafkaProducer(bootstrap_servers=broker.address, transactional_id=f"of-{topic}")
    producer.init_transactions()
    for value, end in (
        (b"kept", producer.commit_transaction),
        (b"dropped", producer.abort_transaction),
    ):
        producer.begin_transaction()
        producer.send(topic, value, partition=0)
        producer.flush()
        end()
    producer.close()
    with Reader(broker.address, {(topic, 0): 0}) as reader:
        assert [message.value for message in read(reader, 1)] == [b"kept"]
        # What a transaction leaves in the log is passed over, so the end is reached.
        wait_until(lambda: reader.poll(10) or reader.positions() == reader.ends(), 10, "the end")
    assert read_log(broker.address, topic)["offset"].to_pylist() == [0]
    found = last(broker.address, topic, 0)
    assert found is not None
    assert (found.value, found.offset, ends(broker.address, [topic])[topic, 0]) == (b"kept", 0, 4)


@pytest.mark.kafka
def test_the_last_message(broker: Broker, topic: str) -> None:
    assert last(broker.address, topic, 0) is None
    write(broker, topic, [b"a", b"b", b"c"])
    found = last(broker.address, topic, 0)
    assert found is not None
    assert (found.offset, found.value) == (2, b"c")
    delete_before(broker, topic, 3)
    assert last(broker.address, topic, 0) is None


@pytest.mark.kafka
def test_more_than_may_be_pending_is_written_all_the_same(broker: Broker, topic: str) -> None:
    with Writer(broker.address, max_pending=100) as writer:
        for number in range(1050):
            writer.send(topic, b"%d" % number, partition=number % 2)
    assert ends(broker.address, [topic]) == {(topic, 0): 525, (topic, 1): 525}


@pytest.mark.kafka
def test_a_message_that_is_refused_is_raised(broker: Broker) -> None:
    small = next(names)
    create_topics(broker.address, [Topic(small, 1, {"max.message.bytes": "1000"})])
    writer = Writer(broker.address)
    writer.send(small, b"x" * 2000)
    with pytest.raises(DeliveryError, match=f"{small!r}; 1 message was not acknowledged"):
        writer.flush()
    with pytest.raises(DeliveryError):  # and stays so: it is not forgotten
        writer.send(small, b"x")
    with pytest.raises(DeliveryError):
        writer.close()


@pytest.mark.kafka
@pytest.mark.parametrize("shards", [1, 2, 3, 8])
def test_shard_keys_lead_to_their_partitions(broker: Broker, shards: int) -> None:
    topic, keys = next(names), shard_keys(shards)
    create_topics(broker.address, [Topic(topic, shards)])
    with Writer(broker.address) as writer:
        for shard, key in enumerate(keys):
            writer.send(topic, b"%d" % shard, key=key.encode())
    with Reader(broker.address, {(topic, shard): 0 for shard in range(shards)}) as reader:
        found = {message.partition: message.value for message in read(reader, shards)}
    assert found == {shard: b"%d" % shard for shard in range(shards)}


@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        # The values of Kafka's own test of its Java clients, which Flink's sinks are.
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
    ],
)
def test_the_hash_is_that_of_java(key: bytes, hashed: int) -> None:
    assert murmur2(key) == hashed & 0xFFFFFFFF


@pytest.mark.kafka
def test_a_group_is_set_to_the_beginning(broker: Broker, topic: str) -> None:
    """A group's offsets stand at the first message that is there, also where some were deleted."""
    create_topics(broker.address, [Topic(topic, 2)])
    with Writer(broker.address) as writer:
        for number in range(4):
            writer.send(topic, b"%d" % number, partition=0)
    delete_before(broker, topic, 3)
    rewind_group(broker.address, topic, [topic])
    with KafkaAdminClient(bootstrap_servers=broker.address) as admin:
        found = admin.list_group_offsets(topic)[topic]
    begins_at = {place.partition: at.offset for place, at in found.items()}
    assert begins_at == {0: 3, 1: 0}
