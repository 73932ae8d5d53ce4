"""The one hash of values: 64 bits for a value, and slots for one value or several together.

::

    value ──blake2b, or its own bits──► code (64 bits) ─┐
    value ──blake2b, or its own bits──► code (64 bits) ─┴─seed, splitmix64──► slot in [0, slots)

A code depends on the value only, a slot on the values, their order and the seed: not on the
process, the order of the rows, or the batch that they came in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from headrace.operators.compiled import compiled

__all__ = ["NULL", "Codes", "combine", "mixed", "seed", "whole_array"]

_CACHED_STRINGS = 1 << 18  # some 40 MB; beyond, the cache starts afresh


def _hash(person: bytes, value: bytes) -> int:
    digest = hashlib.blake2b(value, digest_size=8, person=person).digest()
    return int.from_bytes(digest, "little")


NULL = np.uint64(_hash(b"null", b""))
"""The code of null: a value of its own."""


def seed(parts: Sequence[str]) -> np.uint64:
    """Give what slots of the inputs `parts`, in this order, begin with.

    >>> bool(seed(["a", "b"]) == seed(["ab"]))
    False
    """
    return np.uint64(_hash(b"token", orjson.dumps(list(parts))))


class Codes:
    """Gives values their codes, and remembers those of strings.

    >>> Codes().of(pa.array([7, -1])).tolist()
    [7, 18446744073709551615]
    >>> Codes().of(pa.array(["JFK", None])).tolist()
    [6411666223190133357, 5831510083910991013]
    """

    def __init__(self) -> None:
        self._strings: dict[str, int] = {}

    def of(self, column: pa.Array) -> NDArray[np.uint64]:
        """Give the code of each bool, int64 or string; two values of one type share none.

        (Strings could, once in 2^64.)
        """
        if pa.types.is_string(column.type):
            return self._of_strings(column)
        if pa.types.is_boolean(column.type):
            column = column.cast(pa.int64())
        filled = column.fill_null(0) if column.null_count else column
        codes: NDArray[np.uint64] = filled.to_numpy(zero_copy_only=False).view(np.uint64)
        if not column.null_count:
            return codes
        return np.where(column.is_null().to_numpy(zero_copy_only=False), NULL, codes)

    def _of_strings(self, column: pa.Array) -> NDArray[np.uint64]:
        encoded = pc.dictionary_encode(column)
        distinct = encoded.dictionary.to_numpy(zero_copy_only=False).tolist()
        found = list(map(self._strings.get, distinct))
        at = -1
        for _ in range(found.count(None)):
            at = found.index(None, at + 1)
            found[at] = self._hashed(distinct[at])
        codes = np.empty(len(distinct) + 1, np.uint64)
        codes[:-1] = found
        codes[-1] = NULL  # where the index of a null, -1, points
        indices: NDArray[np.int32] = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        return codes[indices]

    def _hashed(self, value: str) -> int:
        if len(self._strings) >= _CACHED_STRINGS:
            self._strings.clear()
        code = self._strings[value] = _hash(b"value", value.encode())
        return code


def whole_array(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Give a column as one array, without a copy where it is one already."""
    if isinstance(column, pa.Array):
        return column
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


# splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.
_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_30, _27, _31 = np.uint64(30), np.uint64(27), np.uint64(31)


@compiled
def mixed(state: np.uint64, code: np.uint64) -> np.uint64:
    """Mix one code into what was mixed before it."""
    state = (state ^ code) + _STEP
    state = (state ^ (state >> _30)) * _MIX_1
    state = (state ^ (state >> _27)) * _MIX_2
    return state ^ (state >> _31)


@compiled
def combine(
    codes: NDArray[np.uint64],
    parts: NDArray[np.int64],
    ends: NDArray[np.int64],
    seeds: NDArray[np.uint64],
    modulus: np.uint64,
    slots: NDArray[np.int32] | NDArray[np.int64],
) -> None:
    """Mix each token's codes into its seed, in the order of its parts.

    `codes` is rows x inputs; token i has the inputs `parts[ends[i - 1]:ends[i]]`, and column i of
    `slots`.
    """
    for row in range(slots.shape[0]):
        start = 0
        for token in range(seeds.shape[0]):
            state = seeds[token]
            for part in range(start, ends[token]):
                state = mixed(state, codes[row, parts[part]])
            start = ends[token]
            slots[row, token] = state % modulus
