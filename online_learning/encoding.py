"""Rows of Arrow become slots of weights: bucket, hash, cross.

    column ──bucket or hash──► code (64 bits) ─┐
    column ──bucket or hash──► code (64 bits) ─┴─token's seed, splitmix64──► slot in [0, slots)

The hash depends on the value and on the token's name only: not on the process, the order of the
rows, or the batch that they came in.
"""

from __future__ import annotations

import hashlib

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from headrace.online_learning.settings import Encoding, LearningError
from headrace.operators.compiled import compiled
from headrace.operators.types import Type

__all__ = ["Encoder"]

_CACHED_STRINGS = 1 << 18  # some 40 MB; beyond, the cache starts afresh


class Encoder:
    """Turns rows into slots, one per token in their order, and last the bias where there is one.

    >>> from headrace.online_learning.settings import Token
    >>> tokens = (Token(("origin",)), Token(("origin", "delay")))
    >>> inputs = {"origin": Type.STRING, "delay": Type.INT64}
    >>> encoding = Encoding(inputs, {"delay": (0.0, 15.0)}, tokens, slots=1000, bias=True)
    >>> Encoder(encoding).encode(pa.table({"origin": ["JFK", None], "delay": [20, None]}))
    array([[388, 435, 809],
           [804, 675, 809]], dtype=int32)
    """

    def __init__(self, encoding: Encoding) -> None:
        self.encoding = encoding
        used = {part for token in encoding.tokens for part in token.parts}
        self._inputs = {name: type_ for name, type_ in encoding.inputs.items() if name in used}
        self._edges = {name: np.array(edges) for name, edges in encoding.buckets.items()}
        place = {name: i for i, name in enumerate(self._inputs)}
        parts = [token.parts for token in encoding.tokens] + [()] * encoding.bias
        self._parts = np.array([place[part] for some in parts for part in some], np.int64)
        self._ends = np.cumsum([len(some) for some in parts], dtype=np.int64)
        seeds = [_hash(b"token", orjson.dumps(some)) for some in parts]
        self._seeds = np.array(seeds, np.uint64)
        self._strings: dict[str, int] = {}

    def encode(self, table: pa.Table | pa.RecordBatch) -> NDArray[np.int32]:
        """Give the slots of each row, as an array of rows x tokens (and bias).

        Columns that are no inputs are not looked at.

        Raises
        ------
        LearningError
            When an input is missing, has another type, or is not a number (NaN).
        """
        names = set(table.schema.names)
        codes = np.empty((table.num_rows, len(self._inputs)), np.uint64)
        for i, (name, type_) in enumerate(self._inputs.items()):
            if name not in names:
                found = f"the rows have {', '.join(map(repr, sorted(names))) or 'no columns'}"
                asked = f"asked to encode the input {name!r}"
                raise LearningError(asked, found, "add it")
            codes[:, i] = self._codes(name, type_, _array(table.column(name)))
        slots = np.empty((table.num_rows, self.encoding.width), np.int32)
        _combine(codes, self._parts, self._ends, self._seeds, np.uint64(self.encoding.slots), slots)
        return slots

    def _codes(self, name: str, type_: Type, column: pa.Array) -> NDArray[np.uint64]:
        """Give each value of a column 64 bits of its own."""
        if column.type != type_.arrow:
            found = f"it is a {type_.value}, and the rows have it as {column.type}"
            asked = f"asked to encode the input {name!r}"
            raise LearningError(asked, found, "cast it")
        if type_ is Type.STRING:
            return self._string_codes(column)
        nulls = column.is_null().to_numpy(zero_copy_only=False) if column.null_count else None
        zero = False if type_ is Type.BOOL else 0
        values = (column.fill_null(zero) if nulls is not None else column).to_numpy(
            zero_copy_only=False
        )
        if name not in self._edges:
            codes: NDArray[np.uint64] = values.astype(np.int64).view(np.uint64)
            return codes if nulls is None else np.where(nulls, _NULL, codes)
        if values.dtype.kind == "f" and np.isnan(values).any():
            found = f"row {int(np.isnan(values).argmax())} is not a number (NaN)"
            asked = f"asked to encode the input {name!r}"
            raise LearningError(asked, found, "write null for it")
        edges = self._edges[name]
        buckets = np.searchsorted(edges, values, side="right").astype(np.uint64)
        return buckets if nulls is None else np.where(nulls, np.uint64(len(edges) + 1), buckets)

    def _string_codes(self, column: pa.Array) -> NDArray[np.uint64]:
        encoded = pc.dictionary_encode(column)
        distinct = encoded.dictionary.to_pylist()
        codes = np.empty(len(distinct) + 1, np.uint64)
        known = self._strings
        for i, value in enumerate(distinct):
            code = known.get(value)
            if code is None:
                if len(known) >= _CACHED_STRINGS:
                    known.clear()
                code = known[value] = _hash(b"value", value.encode())
            codes[i] = code
        codes[-1] = _NULL  # where the index of a null, -1, points
        indices: NDArray[np.int32] = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        return codes[indices]


def _array(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    if isinstance(column, pa.Array):
        return column
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _hash(person: bytes, value: bytes) -> int:
    digest = hashlib.blake2b(value, digest_size=8, person=person).digest()
    return int.from_bytes(digest, "little")


_NULL = np.uint64(_hash(b"null", b""))

# splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.
_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_30, _27, _31 = np.uint64(30), np.uint64(27), np.uint64(31)


@compiled
def _combine(
    codes: NDArray[np.uint64],
    parts: NDArray[np.int64],
    ends: NDArray[np.int64],
    seeds: NDArray[np.uint64],
    modulus: np.uint64,
    slots: NDArray[np.int32],
) -> None:
    """Mix each token's codes into its seed, in the order of its parts."""
    for row in range(slots.shape[0]):
        start = 0
        for token in range(seeds.shape[0]):
            mixed = seeds[token]
            for part in range(start, ends[token]):
                mixed = (mixed ^ codes[row, parts[part]]) + _STEP
                mixed = (mixed ^ (mixed >> _30)) * _MIX_1
                mixed = (mixed ^ (mixed >> _27)) * _MIX_2
                mixed = mixed ^ (mixed >> _31)
            start = ends[token]
            slots[row, token] = np.int32(mixed % modulus)
