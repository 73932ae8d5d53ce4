"""Kafka: topics, readers at explicit offsets, a writer that loses nothing in silence.

::

    stored offsets ──► Reader.poll ──► {(topic, partition): messages}
                          │ an offset that is gone ──► LogGap, never a reset
    Writer.send ──► batches ──► broker
                          │ a message that was not taken ──► DeliveryError at the next send or flush

The one module that imports a Kafka client. Readers belong to no consumer group: where to begin is
the caller's to know, for it stored the offsets together with what it made of the messages. They
see committed messages only. Writers are idempotent and wait for all replicas. Nothing is
compressed: the client has no fast codec without another library.

Measured on 2 cores with the broker on them too, 150 bytes a message: 98 k messages/s written, with
a linger of 5 or 20 ms alike; 200 k read, with 1, 4 or 16 MiB of a partition fetched at once alike;
the client's thread is the limit. Larger settings only cost memory.
"""

from __future__ import annotations

import itertools
import logging
import socket
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient
from kafka.consumer.fetcher import Fetcher
from kafka.errors import (
    CoordinatorNotAvailableError,
    CorruptRecordError,
    InvalidProducerEpochError,
    KafkaError,
    KafkaTimeoutError,
    LogTruncationError,
    NoError,
    NotCoordinatorError,
    OffsetOutOfRangeError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
)
from kafka.partitioner import murmur2
from kafka.producer.transaction_manager import ProducerIdAndEpoch, TransactionManager
from kafka.structs import OffsetAndMetadata

from headrace.jobs.machine.waiting import wait_until
from headrace.jobs.records import Record, plain
from headrace.operators.errors import CorruptError, EnvironmentProblem, HeadraceError

__all__ = [
    "DeliveryError",
    "LogGap",
    "Message",
    "Place",
    "Reader",
    "Superseded",
    "Topic",
    "Writer",
    "begins",
    "cluster_id",
    "create_topics",
    "ends",
    "last",
    "partitions",
    "places",
    "rewind_group",
    "secure",
    "shard_keys",
]

# It warns of each decoded fetch that took over 0.1 s, which on a busy machine is every other one.
logging.getLogger("kafka.net.selector").setLevel(logging.ERROR)

# A topic and one of its partitions.
Place = tuple[str, int]

_CONNECT_SECONDS = 20.0
_ANSWER_MS = 30_000
# A broker that was killed comes back within seconds; the client's own 30 s would miss that.
_AGAIN_MS = 10
"""From the first question for topics, which comes with the connection, to the second; by itself
the client waits for ten times as long."""
_RECONNECT_MS = 1_000
# How long a broker that just came back may take to see the end of its own log again.
_SETTLE_SECONDS = 5.0
# Of batches, since Kafka 0.11; brokers turn older ones into it.
_FORMAT = 2
# The largest message; the embedded broker is set to the same.
_MESSAGE_BYTES = 8 << 20


_SECURED: dict[str, Mapping[str, object]] = {}
"""How this process speaks to an address; secrets are here and in the client, nowhere else."""


def secure(bootstrap: str, settings: Mapping[str, object]) -> None:
    """Let every client that is made from now on speak to `bootstrap` with these settings."""
    _SECURED[bootstrap] = dict(settings)


class Message(Protocol):
    """One message of the log, as it comes from the client: nothing is copied.

    `timestamp` is in milliseconds since the epoch. A message without a value is a deletion.
    """

    @property
    def topic(self) -> str:
        """The topic."""

    @property
    def partition(self) -> int:
        """The partition of the topic."""

    @property
    def offset(self) -> int:
        """The place in the partition."""

    @property
    def timestamp(self) -> int:
        """The milliseconds since the epoch that its writer gave it."""

    @property
    def key(self) -> bytes | None:
        """The key, if it has one."""

    @property
    def value(self) -> bytes | None:
        """The value; none in a deletion."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:
        """The headers, in order."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as it is wanted: its partitions, and Kafka's settings for it.

    >>> Topic("flights", 4, {"cleanup.policy": "compact"}).partitions
    4
    """

    name: str
    partitions: int
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(eq=False)
class LogGap(HeadraceError):
    """Messages that were to be read and are not in the log: deleted, or in a log that was replaced.

    >>> print(LogGap("clicks", 0, offset=7, earliest=10, end=90))
    asked for 'clicks' partition 0 from offset 7; offset 7 is gone, the earliest is 10, 3 messages \
are lost; raise the topic's retention, and rebuild from another copy of the log or start over
    >>> print(LogGap("clicks", 0, offset=97, earliest=10, end=90).lost)
    0
    """

    topic: str
    partition: int
    offset: int
    earliest: int
    end: int
    asked: str = field(init=False)
    found: str = field(init=False)
    do: str = field(init=False)

    def __post_init__(self) -> None:
        self.asked = (
            f"asked for {self.topic!r} partition {self.partition} from offset {self.offset}"
        )
        if self.lost:
            self.found = (
                f"offset {self.offset} is gone, the earliest is {self.earliest},"
                f" {self.lost} messages are lost"
            )
            self.do = (
                "raise the topic's retention, and rebuild from another copy of the log"
                " or start over"
            )
        else:
            self.found = f"the log ends at {self.end}: it is not the log that was read before"
            self.do = "point to the broker that has the log, or start over"

    @property
    def lost(self) -> int:
        """How many offsets were deleted before they were read."""
        return max(0, self.earliest - self.offset)


@dataclass(eq=False)
class DeliveryError(HeadraceError):
    """Messages that were sent and that the broker did not acknowledge; they may be in the log.

    >>> print(DeliveryError("clicks", 2, "broker gone"))
    asked to write to 'clicks'; 2 messages were not acknowledged: broker gone; look at the \
broker's log, then start this process again: it writes them once more
    """

    topic: str
    count: int
    cause: str
    asked: str = field(init=False)
    found: str = field(init=False)
    do: str = field(init=False)

    def __post_init__(self) -> None:
        many = f"{self.count} message{' was' if self.count == 1 else 's were'}"
        self.asked = f"asked to write to {self.topic!r}"
        self.found = f"{many} not acknowledged: {self.cause}"
        self.do = (
            "look at the broker's log, then start this process again: it writes them once more"
        )


@dataclass(eq=False)
class Superseded(DeliveryError):
    """Messages that the broker refused, for another process has taken over what this one wrote.

    >>> print(Superseded("clicks", 1, "the process 7 on wheel"))
    asked to write to 'clicks'; it is refused: the process 7 on wheel has taken over; leave one \
of them running
    """

    def __post_init__(self) -> None:
        self.asked = f"asked to write to {self.topic!r}"
        self.found = f"it is refused: {self.cause} has taken over"
        self.do = "leave one of them running"


class _Records(Fetcher.PartitionRecords):  # type: ignore[misc]  # the client ships no types
    """The records of a fetched partition, read batch by batch where the client reads each alone.

    Which batches are given is decided as the client decides it: those of aborted transactions and
    of control are passed over, and a wrong checksum is an error.
    """

    def _unpack_records(self, tp: TopicPartition, records: Any, *_: object) -> Iterator[Message]:
        while (batch := records.next_batch()) is not None:
            if not batch.validate_crc():
                where = f"the batch of {tp.topic!r} partition {tp.partition}"
                said = f"{where} at offset {batch.base_offset} has another checksum"
                raise CorruptRecordError(said)
            if batch.magic == _FORMAT:
                self.leader_epoch = batch.leader_epoch
                if self._passed_over(batch):
                    self.next_fetch_offset = batch.next_offset
                    continue
            for message in _messages(tp, batch):
                self.next_fetch_offset = message.offset + 1
                yield message
            if batch.magic == _FORMAT:  # the last of its offsets may have been compacted away
                self.next_fetch_offset = batch.next_offset
        self.drain()

    def _passed_over(self, batch: Any) -> bool:
        if batch.has_producer_id():
            self._consume_aborted_transactions_up_to(batch.last_offset)
            if self._contains_abort_marker(batch):
                self.aborted_producer_ids.discard(batch.producer_id)
            elif self._is_batch_aborted(batch):
                return True
        return bool(batch.is_control_batch)


def _messages(tp: TopicPartition, batch: Any) -> Iterable[Message]:
    if batch.magic == _FORMAT:
        appended = batch.timestamp_type == batch.LOG_APPEND_TIME
        batch._maybe_uncompress()
        found = plain(
            bytes(batch._buffer),
            batch._pos,
            batch.records_count,
            topic=tp.topic,
            partition=tp.partition,
            base=batch.base_offset,
            stamp=batch.first_timestamp,
            appended=batch.max_timestamp if appended else None,
        )
        if found is not None:
            return found
    return (
        Record(tp.topic, tp.partition, r.offset, r.timestamp, r.key, r.value, r.headers)
        for r in batch
    )


class Reader(AbstractContextManager["Reader"]):
    """Messages of given partitions from given offsets on, in the order of each partition.

    Never part of a consumer group, never reset: an offset that is not in the log is an error.
    While the broker is away `poll` gives nothing and goes on when it is back.
    Not to be shared between threads.

    Parameters
    ----------
    bootstrap
        `host:port`, several with commas.
    start
        The next offset of each partition.
    max_records
        The most messages that one `poll` gives when it is not told otherwise.
    partition_fetch_bytes, fetch_bytes
        How much is fetched ahead, of one partition and in all; a larger message still comes.
    connect_seconds
        How long to try to reach the broker.

    Raises
    ------
    EnvironmentProblem
        When nobody answers, or the broker has no such topic or partition.
    LogGap
        When one of the offsets is not in the log.
    """

    def __init__(
        self,
        bootstrap: str,
        start: Mapping[Place, int],
        *,
        max_records: int = 10_000,
        partition_fetch_bytes: int = 1 << 20,
        fetch_bytes: int = 16 << 20,
        connect_seconds: float = _CONNECT_SECONDS,
    ) -> None:
        self._bootstrap = bootstrap
        self._places = [TopicPartition(*place) for place in start]
        self._consumer = _consumer(
            bootstrap,
            connect_seconds,
            max_poll_records=max_records,
            max_partition_fetch_bytes=partition_fetch_bytes,
            fetch_max_bytes=fetch_bytes,
        )
        try:
            with _speaking(bootstrap):
                _check_places(self._consumer, bootstrap, self._places)
                self._consumer.assign(self._places)
                for place in self._places:
                    self._check_offset(place, start[place])
                    self._consumer.seek(place, start[place])
        except HeadraceError:
            self.close()
            raise

    def poll(
        self, timeout_ms: int = 100, max_records: int | None = None
    ) -> Mapping[Place, Sequence[Message]]:
        """The next messages of each partition; empty when none came in `timeout_ms`.

        Raises
        ------
        LogGap
            When messages were deleted before they were read.
        CorruptError
            When a checksum is wrong.
        """
        try:
            with _speaking(self._bootstrap):
                records: Mapping[Place, Sequence[Message]] = self._consumer.poll(
                    timeout_ms=timeout_ms, max_records=max_records
                )
                return records
        except OffsetOutOfRangeError as error:
            for place, offset in error.args[0].items():
                self._check_offset(place, offset)
                self._consumer.seek(place, offset)  # it was the broker that had not settled
        except LogTruncationError as error:
            place = next(iter(error.divergent_offsets))
            raise self._gap(place, self._consumer.position(place, timeout_ms=0)) from error
        return {}

    def positions(self) -> dict[Place, int]:
        """The offset of the next message that `poll` will give, of each partition."""
        with _speaking(self._bootstrap):
            return {
                (place.topic, place.partition): self._consumer.position(
                    place, timeout_ms=_ANSWER_MS
                )
                for place in self._places
            }

    def ends(self) -> dict[Place, int]:
        """The offset behind the last committed message of each partition; asks the broker."""
        with _speaking(self._bootstrap):
            return _places_of(self._consumer.end_offsets(self._places, timeout_ms=_ANSWER_MS))

    def highwater(self) -> dict[Place, int]:
        """The end of each partition as the broker told it last; may be asked from any thread."""
        known = ((place, self._consumer.highwater(place)) for place in self._places)
        return {(place.topic, place.partition): end for place, end in known if end is not None}

    def pause(self, places: Collection[Place]) -> None:
        """Give nothing of these partitions until they are resumed; what is fetched is kept."""
        self._consumer.pause(*(TopicPartition(*place) for place in places))

    def resume(self, places: Collection[Place]) -> None:
        """Give the messages of these partitions again."""
        self._consumer.resume(*(TopicPartition(*place) for place in places))

    def close(self) -> None:
        """Leave the broker; nothing is committed, for nothing was to be."""
        self._consumer.close(autocommit=False, timeout_ms=1_000)

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_offset(self, place: TopicPartition, offset: int) -> None:
        bounds = partial(_bounds, self._consumer, place)
        earliest, end = bounds()
        if offset > end:  # a broker that just came back may not know the end of its log yet
            try:
                wait_until(lambda: bounds()[1] >= offset, _SETTLE_SECONDS, "the end of the log")
            except EnvironmentProblem:
                raise self._gap(place, offset) from None
        if offset < earliest:
            raise self._gap(place, offset)

    def _gap(self, place: TopicPartition, offset: int) -> LogGap:
        earliest, end = _bounds(self._consumer, place)
        return LogGap(place.topic, place.partition, offset, earliest, end)


class Writer(AbstractContextManager["Writer"]):
    """Writes messages; what the broker did not acknowledge is raised at the next call, never lost.

    Idempotent and acknowledged by all replicas. As a context it flushes at the end, unless an
    error is on its way already. Not to be shared between threads.

    Parameters
    ----------
    bootstrap
        `host:port`, several with commas.
    linger_ms
        How long a message may wait for others to share its batch.
    batch_bytes
        The size at which a batch of one partition is sent without waiting.
    max_pending
        The most messages that may wait for their acknowledgement: the client itself has no bound.
    delivery_seconds
        After this long without an acknowledgement a message counts as not delivered; longer than
        a broker needs to start again.
    connect_seconds
        How long to try to reach the broker.
    """

    def __init__(
        self,
        bootstrap: str,
        *,
        linger_ms: int = 5,
        batch_bytes: int = 256 << 10,
        max_pending: int = 50_000,
        delivery_seconds: float = 120.0,
        connect_seconds: float = _CONNECT_SECONDS,
    ) -> None:
        _reach(bootstrap, connect_seconds)
        delivery_ms = int(delivery_seconds * 1000)
        with _speaking(bootstrap):
            self._producer = KafkaProducer(
                bootstrap_servers=bootstrap.split(","),
                enable_idempotence=True,
                acks="all",
                linger_ms=linger_ms,
                batch_size=batch_bytes,
                max_request_size=_MESSAGE_BYTES,
                delivery_timeout_ms=delivery_ms,
                request_timeout_ms=min(_ANSWER_MS, delivery_ms - linger_ms),
                max_block_ms=min(_ANSWER_MS, delivery_ms),
                reconnect_backoff_max_ms=_RECONNECT_MS,
                bootstrap_timeout_ms=int(connect_seconds * 1000),
                allow_auto_create_topics=False,
                metrics_enabled=False,
                **_SECURED.get(bootstrap, {}),
            )
        self._bootstrap = bootstrap
        self._delivery_seconds = delivery_seconds
        self._max_pending = max_pending
        self._pending = 0
        self._failures: list[tuple[str, Exception]] = []  # appended by the client's thread
        self._failed_in: dict[str, Callable[[Exception], None]] = {}
        self._topic = ""

    def take(self, identity: tuple[int, int] | None = None) -> tuple[int, int]:
        """Write under this producer id and epoch, or keep its own; give them. Before any message.

        Of one id the broker takes nothing with an epoch below the one that it saw last in the
        partition. The client must not help itself to another then.
        """
        manager = self._producer._transaction_manager
        wait_until(manager.has_producer_id, _CONNECT_SECONDS, "a producer id from the broker")
        manager.classify_batch_error = lambda *_, **__: TransactionManager.ERROR_CLASS_FATAL
        if identity is not None:
            manager.set_producer_id_and_epoch(ProducerIdAndEpoch(*identity))
        taken = manager.producer_id_and_epoch
        return taken.producer_id, taken.epoch

    def send(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Hand over one message; it is in the log when `flush` has returned.

        Parameters
        ----------
        topic
            The topic, which must exist.
        value
            The bytes; none is a deletion of the key.
        key
            Decides the partition when none is given: see `shard_keys`.
        partition
            The partition.
        timestamp_ms
            Milliseconds since the epoch; the present if not given.
        headers
            Names and bytes.

        Raises
        ------
        DeliveryError
            When an earlier message, or this one, was not taken.
        """
        if self._failures:
            raise self._failure()
        try:
            future = self._producer.send(
                topic, value, key, list(headers) or None, partition, timestamp_ms
            )
        except (KafkaError, ValueError) as error:
            raise DeliveryError(topic, 1, str(error) or type(error).__name__) from error
        future.add_errback(self._failed_in.get(topic) or self._note_failures_of(topic))
        self._topic = topic
        self._pending += 1
        if self._pending >= self._max_pending:
            self.flush()

    def flush(self, timeout_seconds: float | None = None) -> None:
        """Wait until every message is acknowledged.

        Raises
        ------
        DeliveryError
            When one was not, or `timeout_seconds` (as long as a delivery may take) went by.
        """
        timeout = self._delivery_seconds + 1 if timeout_seconds is None else timeout_seconds
        try:
            self._producer.flush(timeout)
        except KafkaError as error:
            if not self._failures:
                self._failures.append((self._topic, error))
        if self._failures:
            raise self._failure()
        self._pending = 0

    def close(self) -> None:
        """Flush and leave the broker."""
        try:
            self.flush()
        finally:
            self._abandon()

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self._abandon()

    def _abandon(self) -> None:
        try:
            self._producer.close(timeout=0)
        except KafkaTimeoutError:  # its close stops here when messages wait, and leaves its thread
            self._producer._sender.force_close()
            self._producer._sender.join(_ANSWER_MS / 1000)
            self._producer.close(timeout=0)

    def _note_failures_of(self, topic: str) -> Callable[[Exception], None]:
        def note(error: Exception) -> None:
            self._failures.append((topic, error))

        self._failed_in[topic] = note
        return note

    def _failure(self) -> DeliveryError:
        topic, error = self._failures[0]
        kind = DeliveryError
        if any(isinstance(each, InvalidProducerEpochError) for _, each in self._failures):
            kind = Superseded
        failure = kind(topic, len(self._failures), str(error) or type(error).__name__)
        failure.__cause__ = error
        return failure


def create_topics(
    bootstrap: str,
    topics: Sequence[Topic],
    *,
    deadline_seconds: float = 30.0,
    connect_seconds: float = _CONNECT_SECONDS,
) -> None:
    """Make the topics that are not there yet, and wait until each partition has a leader.

    The settings of a topic that is there are left as they are.

    Raises
    ------
    EnvironmentProblem
        When nobody answers, the broker refuses, or a topic has another number of partitions.
    """
    wanted = {topic.name: topic for topic in topics}
    if not wanted:
        return
    with _admin(bootstrap, connect_seconds) as admin:
        answer = admin.create_topics(
            {
                topic.name: {"num_partitions": topic.partitions, "configs": dict(topic.config)}
                for topic in topics
            },
            raise_errors=False,
        )
        for created in answer["topics"]:
            if created["error_code"] not in (0, TopicAlreadyExistsError.errno):
                asked = f"asked for the topic {created['name']!r}"
                found = f"the broker at {bootstrap} refused: {created['error_message']}"
                raise EnvironmentProblem(asked, found, "change its name or settings")
        admin.wait_for_topics(list(wanted), timeout_ms=int(deadline_seconds * 1000))
        for found_topic in admin.describe_topics(list(wanted)):
            topic, count = wanted[found_topic["name"]], len(found_topic["partitions"])
            if count != topic.partitions:
                asked = f"asked for the topic {topic.name!r} with {topic.partitions} partitions"
                do = "declare that number, choose another name, or delete the topic"
                raise EnvironmentProblem(asked, f"it is there with {count}", do)


def partitions(bootstrap: str, topic: str, *, connect_seconds: float = _CONNECT_SECONDS) -> int:
    """How many partitions the topic has; an error when there is no such topic."""
    with _admin(bootstrap, connect_seconds) as admin:
        described = admin.describe_topics([topic])[0]
        if described["error_code"] == UnknownTopicOrPartitionError.errno:
            raise _unknown_topic(bootstrap, topic, admin.list_topics())
        return len(described["partitions"])


def places(
    bootstrap: str, topics: Collection[str], *, connect_seconds: float = _CONNECT_SECONDS
) -> list[Place]:
    """Every partition of the topics."""
    with _looking(bootstrap, topics, connect_seconds) as (_, found):
        return [(place.topic, place.partition) for place in found]


def begins(
    bootstrap: str, topics: Collection[str], *, connect_seconds: float = _CONNECT_SECONDS
) -> dict[Place, int]:
    """The offset of the first message that is still there, of each partition of the topics."""
    with _looking(bootstrap, topics, connect_seconds) as (consumer, places):
        return _places_of(consumer.beginning_offsets(places, timeout_ms=_ANSWER_MS))


def ends(
    bootstrap: str, topics: Collection[str], *, connect_seconds: float = _CONNECT_SECONDS
) -> dict[Place, int]:
    """The offset behind the last committed message, of each partition of the topics."""
    with _looking(bootstrap, topics, connect_seconds) as (consumer, places):
        return _places_of(consumer.end_offsets(places, timeout_ms=_ANSWER_MS))


def last(
    bootstrap: str, topic: str, partition: int, *, connect_seconds: float = _CONNECT_SECONDS
) -> Message | None:
    """The last committed message of the partition that has a value; none when there is none.

    The offset below the end may hold no such message (the mark of a writer that begins, the end of
    a transaction, what compaction took), so the look goes back in doubling steps.
    """
    with _looking(bootstrap, [topic], connect_seconds) as (consumer, places):
        place = TopicPartition(topic, partition)
        _check_places(consumer, bootstrap, [place], known=places)
        begin, end = _bounds(consumer, place)
        consumer.assign([place])
        for back in (2**step for step in itertools.count()):
            found: Message | None = None
            consumer.seek(place, max(begin, end - back))
            while consumer.position(place, timeout_ms=_ANSWER_MS) < end:
                for records in consumer.poll(timeout_ms=1_000).values():
                    found = next((m for m in reversed(records) if m.value is not None), found)
            if found or end - back <= begin:
                return found
    return None


def rewind_group(
    bootstrap: str,
    group: str,
    topics: Collection[str],
    *,
    starts: Mapping[Place, int] | None = None,
    connect_seconds: float = _CONNECT_SECONDS,
) -> None:
    """Set a consumer group's offsets in every partition of the topics: to `starts`, or its begin.

    For a client that takes its offsets from a group, and is to fail where one is gone.
    """
    first = begins(bootstrap, topics, connect_seconds=connect_seconds)
    wanted = {
        TopicPartition(*place): OffsetAndMetadata((starts or {}).get(place, offset), "", -1)
        for place, offset in first.items()
    }
    with _admin(bootstrap, connect_seconds) as admin:

        def set_all() -> bool:
            # A broker that just came up makes the topic of the groups at the first question.
            try:
                answers = admin.alter_group_offsets(group, wanted)
            except (CoordinatorNotAvailableError, NotCoordinatorError):
                return False
            taken = [place for place, answer in answers.items() if answer is NoError]
            return len(taken) == len(wanted)

        wait_until(set_all, _CONNECT_SECONDS, f"the offsets of group {group!r} to be set")


def committed(
    bootstrap: str, group: str, *, connect_seconds: float = _CONNECT_SECONDS
) -> dict[Place, int]:
    """Give the offsets that a consumer group has written down; none where there is no group."""
    with _admin(bootstrap, connect_seconds) as admin:
        found = admin.list_group_offsets({group: None})[group]
    known = {place: each.offset for place, each in found.items() if each.offset >= 0}
    return _places_of(known)


def topics(bootstrap: str, *, connect_seconds: float = _CONNECT_SECONDS) -> set[str]:
    """Name the topics that the broker has."""
    with _admin(bootstrap, connect_seconds) as admin:
        return set(admin.list_topics())


def cluster_id(bootstrap: str, *, connect_seconds: float = _CONNECT_SECONDS) -> str:
    """Give the id that a Kafka cluster has for ever."""
    with _admin(bootstrap, connect_seconds) as admin:
        return str(admin.describe_cluster()["cluster_id"])


def shard_keys(shards: int) -> list[str]:
    """For each shard a key that Kafka's own partitioner places there, of `shards` partitions.

    The shortest decimal numbers that do, so they are the same on every machine. A sink that can
    place a row by its key alone is given these.

    >>> shard_keys(4)
    ['0', '4', '5', '1']
    """
    keys: dict[int, str] = {}
    for number in itertools.count():
        if len(keys) == shards:
            break
        keys.setdefault((murmur2(str(number).encode()) & 0x7FFFFFFF) % shards, str(number))
    return [keys[shard] for shard in range(shards)]


def _consumer(bootstrap: str, connect_seconds: float, **settings: object) -> Any:
    _reach(bootstrap, connect_seconds)
    with _speaking(bootstrap):
        consumer = KafkaConsumer(
            bootstrap_servers=bootstrap.split(","),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            allow_auto_create_topics=False,
            reconnect_backoff_max_ms=_RECONNECT_MS,
            bootstrap_timeout_ms=int(connect_seconds * 1000),
            metrics_enabled=False,
            **_SECURED.get(bootstrap, {}),
            **settings,
        )
    consumer._fetcher.PartitionRecords = _Records
    return consumer


@contextmanager
def _looking(
    bootstrap: str, topics: Collection[str], connect_seconds: float
) -> Iterator[tuple[Any, list[TopicPartition]]]:
    consumer = _consumer(bootstrap, connect_seconds)
    try:
        with _speaking(bootstrap):
            places = [
                TopicPartition(topic, partition)
                for topic in topics
                for partition in sorted(_partitions_of(consumer, bootstrap, topic))
            ]
            yield consumer, places
    finally:
        consumer.close(autocommit=False, timeout_ms=1_000)


@contextmanager
def _admin(bootstrap: str, connect_seconds: float) -> Iterator[Any]:
    _reach(bootstrap, connect_seconds)
    with _speaking(bootstrap):
        admin = KafkaAdminClient(
            bootstrap_servers=bootstrap.split(","),
            reconnect_backoff_max_ms=_RECONNECT_MS,
            bootstrap_timeout_ms=int(connect_seconds * 1000),
            **_SECURED.get(bootstrap, {}),
        )
        try:
            yield admin
        finally:
            admin.close()


@contextmanager
def _speaking(bootstrap: str) -> Iterator[None]:
    asked = f"asked Kafka at {bootstrap}"
    try:
        yield
    except (OffsetOutOfRangeError, LogTruncationError):
        raise  # the reader's to explain
    except CorruptRecordError as error:
        raise CorruptError(
            bootstrap,
            "asked for messages as they were written",
            str(error),
            "check the broker's disk; what follows in this partition cannot be trusted",
        ) from error
    except KafkaTimeoutError as error:
        found = f"no answer in time ({error or 'timeout'})"
        raise EnvironmentProblem(asked, found, "see in its log whether the broker runs") from error
    except KafkaError as error:
        found = f"{type(error).__name__}: {error}"
        raise EnvironmentProblem(asked, found, "look at the broker's log") from error


def _reach(bootstrap: str, connect_seconds: float) -> None:
    # The client's own attempt takes its whole time-out, logs each refusal and leaves a thread.
    addresses = [_address(text) for text in bootstrap.split(",")]
    problem = ""

    def answers() -> bool:
        nonlocal problem
        for address in addresses:
            try:
                socket.create_connection(address, timeout=2.0).close()
            except OSError as error:
                problem = str(error)
            else:
                return True
        return False

    try:
        wait_until(answers, connect_seconds, f"Kafka at {bootstrap}", every_seconds=0.1)
    except EnvironmentProblem:
        asked, do = f"asked for Kafka at {bootstrap}", "start the broker, or give another address"
        found = f"nobody answers there after {connect_seconds:g} s ({problem})"
        raise EnvironmentProblem(asked, found, do) from None


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.strip().rpartition(":")
    if not (host and colon and port.isdecimal()):
        asked, do = f"asked for Kafka at {text!r}", "write host:port, several with commas"
        raise EnvironmentProblem(asked, "that is no address", do)
    return host.strip("[]"), int(port)


def _partitions_of(consumer: Any, bootstrap: str, topic: str) -> set[int]:
    # The client waits for this since it connected. What it asks for later may take that long: where
    # the consumer is closed before, nothing is on its way.
    settings = consumer._cluster.config
    waits, settings["retry_backoff_ms"] = settings["retry_backoff_ms"], _AGAIN_MS
    try:
        found: set[int] = consumer.partitions_for_topic(topic)
    finally:
        settings["retry_backoff_ms"] = waits
    if not found:
        raise _unknown_topic(bootstrap, topic, consumer.topics())
    return found


def _check_places(
    consumer: Any,
    bootstrap: str,
    places: Collection[TopicPartition],
    *,
    known: Collection[TopicPartition] = (),
) -> None:
    for place in places:
        count = len(known) or len(_partitions_of(consumer, bootstrap, place.topic))
        if not 0 <= place.partition < count:
            asked = f"asked for partition {place.partition} of {place.topic!r}"
            found = f"it has {count}, counted from 0"
            raise EnvironmentProblem(asked, found, "ask for one of those, or make the topic anew")


def _unknown_topic(bootstrap: str, topic: str, known: Collection[str]) -> EnvironmentProblem:
    listed = ", ".join(sorted(name for name in known if not name.startswith("__"))) or "none"
    found = f"the broker at {bootstrap} has no such topic; it has: {listed}"
    return EnvironmentProblem(f"asked for the topic {topic!r}", found, "make it first")


def _bounds(consumer: Any, place: TopicPartition) -> tuple[int, int]:
    earliest = consumer.beginning_offsets([place], timeout_ms=_ANSWER_MS)[place]
    return earliest, consumer.end_offsets([place], timeout_ms=_ANSWER_MS)[place]


def _places_of(offsets: Mapping[TopicPartition, int]) -> dict[Place, int]:
    return {(place.topic, place.partition): offset for place, offset in offsets.items()}
