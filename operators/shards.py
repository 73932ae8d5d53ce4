"""Which shard of a view a key belongs to: a pure function of the key, said for Flink and here.

::

    key parts ─► their texts, with | between ─► MD5 ─► its first three hex digits mod shards

A view's shards are the partitions of its topic.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["shard_of", "shard_sql", "shards_of"]

_DIGITS = (1, 2, 3)


def shard_sql(parts: Sequence[str], shards: int) -> str:
    """Print the shard of a key for Flink, of SQL for its parts, none of them null."""
    if shards == 1:
        return "0"
    hashed = f"MD5(CONCAT_WS('|', {', '.join(f'CAST({part} AS STRING)' for part in parts)}))"
    digits = [
        f"(POSITION(SUBSTRING({hashed}, {place}, 1) IN '0123456789abcdef') - 1)"
        for place in _DIGITS
    ]
    return f"MOD({digits[0]} * 256 + {digits[1]} * 16 + {digits[2]}, {shards})"


def shard_of(key: Sequence[object], shards: int) -> int:
    """Give the shard of a key's parts: bools, ints and texts, none of them null.

    >>> shard_of(["u1"], 4), shard_of([7, True], 4), shard_of(["u1"], 1)
    (3, 1, 0)
    """
    if shards == 1:
        return 0
    text = "|".join(map(_text, key))
    digest = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
    return int(digest[: len(_DIGITS)], 16) % shards


def _text(part: object) -> str:
    """Write a part as Flink's CAST to STRING does."""
    if isinstance(part, bool):
        return "TRUE" if part else "FALSE"
    return str(part)


def shards_of(key: Sequence[pa.Array], shards: int) -> npt.NDArray[np.int64]:
    """Give the shard of each row's key; of one with a null part, which no view has, 0.

    >>> shards_of([pa.array(["u1", None, "u2"])], 4).tolist()
    [3, 0, 0]
    """
    if shards == 1:
        return np.zeros(len(key[0]), np.int64)
    if len(key) == 1:  # once for each value, however many rows have it
        encoded = key[0].dictionary_encode()
        values = encoded.dictionary.to_pylist()
        own = [0 if each is None else shard_of([each], shards) for each in values]
        codes = encoded.indices.fill_null(-1).to_numpy()
        of_rows: npt.NDArray[np.int64] = np.array([*own, 0], np.int64)[codes]
        return of_rows
    known: dict[tuple[object, ...], int] = {}
    found = np.zeros(len(key[0]), np.int64)
    for row, parts in enumerate(zip(*(column.to_pylist() for column in key), strict=True)):
        shard = known.get(parts)
        if shard is None:
            known[parts] = shard = 0 if None in parts else shard_of(parts, shards)
        found[row] = shard
    return found
