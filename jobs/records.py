"""Kafka's records, a batch at a time: what a client in plain Python takes 5.5 µs each for.

::

    batch ─► record, record, … ─► where each one's key and value stand ─► messages

A record is a row of varints with a key and a value between. One compiled pass finds them all; what
it does not take for plain (headers, a length that is not so) it leaves to the client, which reads
it or says what is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from headrace.operators.compiled import compiled

__all__ = ["Record", "plain"]

_FIELDS = 6
_NONE = -1


class Record(NamedTuple):
    """A message of the log."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


@compiled
def _varint(data: npt.NDArray[np.uint8], place: int) -> tuple[int, int]:
    """Read a number of up to nine bytes; give it and the place behind it, −1 where it is none."""
    number = 0
    for shift in range(0, 63, 7):
        if place >= len(data):
            break
        byte = int(data[place])
        number |= (byte & 127) << shift
        place += 1
        if byte < 128:
            return (number >> 1) ^ -(number & 1), place
    return 0, -1


@compiled
def _scan(data: npt.NDArray[np.uint8], place: int, found: npt.NDArray[np.int64]) -> bool:
    """Find each record's time, offset, key and value; say whether all of them are plain."""
    for row in range(len(found)):
        length, place = _varint(data, place)
        stop = place + length
        if place < 0 or length < 0 or stop > len(data) or place >= len(data) or data[place] != 0:
            return False
        place += 1  # the attributes: none are defined
        for field in range(2):
            found[row, field], place = _varint(data, place)
            if place < 0:
                return False
        for field in (2, 4):
            size, place = _varint(data, place)
            if place < 0 or size < -1 or place + size > stop:
                return False
            found[row, field] = place if size >= 0 else _NONE
            place += max(size, 0)
            found[row, field + 1] = place
        if place + 1 != stop or data[place] != 0:
            return False  # headers
        place = stop
    return place == len(data)


def plain(
    data: bytes,
    place: int,
    count: int,
    *,
    topic: str,
    partition: int,
    base: int,
    stamp: int,
    appended: int | None = None,
) -> list[Record] | None:
    r"""Read a batch's records; None where one of them is not plain.

    Parameters
    ----------
    data
        The batch, unpacked.
    place
        Where its first record begins.
    count
        How many there are.
    topic, partition
        Where it is from.
    base
        The offset of its first record.
    stamp
        The time stamp of its first record, ms, from which those of all are counted.
    appended
        The broker's time stamp, ms, where it is that of all.

    Examples
    --------
    >>> found = plain(b"\x12\0\x06\2\1\6abc\0", 0, 1, topic="t", partition=0, base=7, stamp=10)
    >>> [(each.offset, each.timestamp, each.key, each.value) for each in found or ()]
    [(8, 13, None, b'abc')]
    """
    found = np.empty((max(count, 0), _FIELDS), np.int64)
    if not _scan(np.frombuffer(data, np.uint8), place, found):
        return None
    if appended is not None:
        found[:, 0] = appended - stamp
    stamps, offsets, *ends = found.T
    keys, values = _slices(data, ends[0], ends[1]), _slices(data, ends[2], ends[3])
    of = (repeat(topic), repeat(partition), (offsets + base).tolist(), (stamps + stamp).tolist())
    return list(map(Record._make, zip(*of, keys, values, repeat(()), strict=False)))


def _slices(
    data: bytes, starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64]
) -> list[bytes | None]:
    pairs = zip(starts.tolist(), stops.tolist(), strict=True)
    return [data[start:stop] if start >= 0 else None for start, stop in pairs]
