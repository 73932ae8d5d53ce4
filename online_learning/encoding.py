"""Rows of Arrow become slots of weights: bucket, hash, cross.

    column ──bucket or hash──► code (64 bits) ─┐
    column ──bucket or hash──► code (64 bits) ─┴─token's seed, splitmix64──► slot in [0, slots)

The hash depends on the value and on the token's name only: not on the process, the order of the
rows, or the batch that they came in.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.online_learning.settings import Encoding, LearningError
from headrace.operators.hashing import Codes, combine, seed, whole_array
from headrace.operators.types import Type

__all__ = ["Encoder"]


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
        self._seeds = np.array([seed(some) for some in parts], np.uint64)
        self._hashed = Codes()

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
            codes[:, i] = self._codes(name, type_, whole_array(table.column(name)))
        slots = np.empty((table.num_rows, self.encoding.width), np.int32)
        combine(codes, self._parts, self._ends, self._seeds, np.uint64(self.encoding.slots), slots)
        return slots

    def _codes(self, name: str, type_: Type, column: pa.Array) -> NDArray[np.uint64]:
        """Give each value of a column 64 bits of its own."""
        if column.type != type_.arrow:
            found = f"it is a {type_.value}, and the rows have it as {column.type}"
            asked = f"asked to encode the input {name!r}"
            raise LearningError(asked, found, "cast it")
        if name not in self._edges:
            return self._hashed.of(column)
        nulls = column.is_null().to_numpy(zero_copy_only=False) if column.null_count else None
        values = (column.fill_null(0) if nulls is not None else column).to_numpy(
            zero_copy_only=False
        )
        if values.dtype.kind == "f" and np.isnan(values).any():
            found = f"row {int(np.isnan(values).argmax())} is not a number (NaN)"
            asked = f"asked to encode the input {name!r}"
            raise LearningError(asked, found, "write null for it")
        edges = self._edges[name]
        buckets = np.searchsorted(edges, values, side="right").astype(np.uint64)
        return buckets if nulls is None else np.where(nulls, np.uint64(len(edges) + 1), buckets)
