"""Batches of records are read as the client reads them, record by record."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError, KafkaError
from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder
from kafka.structs import TopicPartition

from headrace.jobs import records, transport
from headrace.jobs.transport import Message

PLACE = TopicPartition("t", 3)
_FIELDS = ("topic", "partition", "offset", "timestamp", "key", "value")
Said = tuple[int, bytes | None, bytes | None, list[tuple[str, bytes]]]

texts = st.none() | st.binary(max_size=3) | st.integers(0, 300).map(lambda n: b"x" * n)
said = st.tuples(
    st.integers(0, 2**45),
    texts,
    texts,
    st.lists(st.tuples(st.text(max_size=2), st.binary()), max_size=1),
)
batches = st.lists(st.tuples(st.sampled_from((0, 1)), st.lists(said, min_size=1, max_size=6)))


def written(made: list[tuple[int, list[Said]]], first: int = 2**40) -> bytes:
    """Write batches, each plain or packed by gzip; between them an offset is left out."""
    data, offset = b"", first
    for packed, rows in made:
        builder = MemoryRecordsBuilder(2, packed, 1 << 20)
        for timestamp, key, value, headers in rows:
            builder.append(timestamp, key, value, headers)
        builder.close()
        data += struct.pack(">q", offset) + bytes(builder.buffer())[8:]  # as a broker places it
        offset += len(rows) + 1
    return data


def taken(kind: Callable[..., Any], data: bytes, start: int, most: int) -> list[object]:
    """Take messages `most` at a time, and what each take leaves as the next offset."""
    found: list[object] = []
    part = kind(start, PLACE, MemoryRecords(data))
    while part:
        try:
            some: list[Message] = part.take(most)
        except KafkaError as error:
            return [*found, type(error)]
        found += [[*(getattr(m, name) for name in _FIELDS), [*m.headers]] for m in some]
        found.append(part.next_fetch_offset)
    return found


@settings(deadline=None)
@given(batches, st.integers(0, 12), st.integers(1, 9))
def test_messages_are_those_of_the_client(
    made: list[tuple[int, list[Said]]], skipped: int, most: int
) -> None:
    data, start = written(made), 2**40 + skipped
    wanted = taken(Fetcher.PartitionRecords, data, start, most)
    assert taken(transport._Records, data, start, most) == wanted


def test_plain_batches_take_the_short_way() -> None:
    """What is all the same would hide that nothing takes it."""
    batch = MemoryRecords(
        written([(0, [(5, b"k", b"v" * 200, []), (9, None, None, [])])])
    ).next_batch()
    assert batch is not None
    found = transport._messages(PLACE, batch)
    assert isinstance(found, list)
    assert found[0] == records.Record("t", 3, 2**40, 5, b"k", b"v" * 200, ())


def test_what_is_no_record_is_left_to_the_client() -> None:
    """Whatever bytes are wrong behind a right checksum: its messages, or its error."""
    dice = random.Random(7)  # noqa: S311 - no secret
    rows: list[Said] = [(n, b"k" * n, b"v" * (9 * n), []) for n in range(20)]
    data, errors = bytearray(written([(0, rows)])), 0
    for _ in range(400):
        torn = bytearray(data)
        for _ in range(dice.choice((1, 1, 3))):
            torn[dice.randrange(61, len(torn))] = dice.choice(
                (0, 1, 2, 127, 128, 255, dice.randrange(256))
            )

        class Unchecked(Fetcher.PartitionRecords):  # type: ignore[misc]  # the client ships no types
            def __init__(self, *given: Any) -> None:
                super().__init__(*given, check_crcs=False)

        class Ours(transport._Records):
            pass

        wanted = taken(Unchecked, bytes(torn), 0, 1_000)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                "kafka.record.default_records.DefaultRecordBatch.validate_crc", lambda _: True
            )
            assert taken(Ours, bytes(torn), 0, 1_000) == wanted
        errors += wanted[-1] is CorruptRecordError
    assert 30 < errors < 400


def test_a_wrong_checksum_is_an_error() -> None:
    torn = bytearray(written([(0, [(1, None, b"v", [])])]))
    torn[-2] ^= 1
    assert taken(transport._Records, bytes(torn), 0, 9) == [CorruptRecordError]
