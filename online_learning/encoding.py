"""Rows of Arrow become slots of weights: bucket, hash, cross.

    column ──bucket or hash──► code (64 bits) ─┐
    column ──bucket or hash──► code (64 bits) ─┴─token's seed, splitmix64──► slot in [0, slots)
                                                                        └──► id in [0, 2^63)
    column ────────────────────────────────────────────────────────────────► number, weight

The hash depends on the value and on the token's name only: not on the process, the order of the
rows, or the batch that they came in.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from headrace.online_learning.models.model import Inputs
from headrace.online_learning.settings import Encoding, LearningError
from headrace.operators.hashing import Codes, combine, seed, whole_array
from headrace.operators.types import Type

__all__ = ["Encoder"]

_IDS = np.uint64(2**63)  # ids are int64, and none is below 0
_HEAVIEST = 1e4  # a row of weight h is learned h times over


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
        others = (*encoding.numbers, encoding.weight)
        self._numbers = {n: encoding.inputs[n] for n in others if n is not None}
        self._inputs = {name: type_ for name, type_ in encoding.inputs.items() if name in used}
        self._edges = {name: np.array(edges) for name, edges in encoding.buckets.items()}
        place = {name: i for i, name in enumerate(self._inputs)}
        parts = [token.parts for token in encoding.tokens] + [()] * encoding.bias
        self._parts = np.array([place[part] for some in parts for part in some], np.int64)
        self._ends = np.cumsum([len(some) for some in parts], dtype=np.int64)
        self._seeds = np.array([seed(some) for some in parts], np.uint64)
        self._hashed = Codes()
        self.replaced = 0
        """How many numbers were no finite ones, or weights out of their range."""

    def encode(self, table: pa.Table | pa.RecordBatch) -> NDArray[np.int32]:
        """Give the slots of each row, as an array of rows x tokens (and bias).

        Columns that are no inputs are not looked at. NaN and the infinities are null: so they are
        in the JSON that the learner reads.

        Raises
        ------
        LearningError
            When an input is missing or has another type.
        """
        return self._slots(self._table_codes(table))

    def inputs(self, table: pa.Table | pa.RecordBatch, *, deep: bool = False) -> Inputs:
        """Give all that a model takes of each row; errors as in `encode`.

        `deep` gives the ids by which embeddings are kept, too: one per token.
        """
        codes = self._table_codes(table)
        tokens = len(self.encoding.tokens) if deep else 0
        ids = np.empty((table.num_rows, tokens), np.int64)
        combine(codes, self._parts, self._ends[:tokens], self._seeds[:tokens], _IDS, ids)
        numbers = np.empty((table.num_rows, len(self.encoding.numbers)))
        for i, name in enumerate(self.encoding.numbers):
            numbers[:, i] = self._number(table, name, np.nan)
        weights = np.ones(table.num_rows)
        if self.encoding.weight is not None:
            given = self._number(table, self.encoding.weight, 1.0)
            weights = np.clip(given, 0.0, _HEAVIEST)
            self.replaced += int((weights != given).sum())
        return Inputs(self._slots(codes), ids, numbers, weights)

    def _slots(self, codes: NDArray[np.uint64]) -> NDArray[np.int32]:
        slots = np.empty((len(codes), self.encoding.width), np.int32)
        combine(codes, self._parts, self._ends, self._seeds, np.uint64(self.encoding.slots), slots)
        return slots

    def _number(
        self, table: pa.Table | pa.RecordBatch, name: str, null: float
    ) -> NDArray[np.float64]:
        """Give a column as float64, with `null` for null."""
        column = self._finite(_column(table, name, self._numbers[name]))
        given = column.cast(pa.float64(), safe=False)
        number: NDArray[np.float64] = given.fill_null(null).to_numpy(zero_copy_only=False)
        return number

    def _table_codes(self, table: pa.Table | pa.RecordBatch) -> NDArray[np.uint64]:
        codes = np.empty((table.num_rows, len(self._inputs)), np.uint64)
        for i, (name, type_) in enumerate(self._inputs.items()):
            codes[:, i] = self._codes(name, _column(table, name, type_))
        return codes

    def _codes(self, name: str, column: pa.Array) -> NDArray[np.uint64]:
        """Give each value of a column 64 bits of its own."""
        if name not in self._edges:
            return self._hashed.of(column)
        column = self._finite(column)
        nulls = column.is_null().to_numpy(zero_copy_only=False) if column.null_count else None
        values = (column.fill_null(0) if nulls is not None else column).to_numpy(
            zero_copy_only=False
        )
        edges = self._edges[name]
        buckets = np.searchsorted(edges, values, side="right").astype(np.uint64)
        return buckets if nulls is None else np.where(nulls, np.uint64(len(edges) + 1), buckets)

    def _finite(self, column: pa.Array) -> pa.Array:
        """Put null in the place of what is no finite number."""
        if not pa.types.is_floating(column.type):
            return column
        finite = pc.is_finite(column)
        if pc.all(finite).as_py() is not False:
            return column
        self.replaced += pc.sum(pc.invert(finite)).as_py()
        return pc.if_else(finite, column, None)


def _column(table: pa.Table | pa.RecordBatch, name: str, type_: Type) -> pa.Array:
    """Give an input's column, of its type."""
    asked = f"asked to encode the input {name!r}"
    names = table.schema.names
    if name not in names:
        found = f"the rows have {', '.join(map(repr, sorted(names))) or 'no columns'}"
        raise LearningError(asked, found, "add it")
    column = whole_array(table.column(name))
    if column.type != type_.arrow:
        found = f"it is a {type_.value}, and the rows have it as {column.type}"
        raise LearningError(asked, found, "cast it")
    return column
