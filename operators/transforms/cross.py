"""Several columns together as one of n slots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from headrace.operators.errors import NotYet
from headrace.operators.hashing import Codes, combine, seed
from headrace.operators.transforms.columns import batch, column
from headrace.operators.transforms.stateless import Stateless
from headrace.operators.transforms.transform import Rows, TransformError, only_in_process
from headrace.operators.types import Type

__all__ = ["HASH_GAP", "MOST_SLOTS", "Cross"]

HASH_GAP = NotYet("the engines have another hash than the encoder's blake2b and splitmix64")
MOST_SLOTS = 2**31 - 1


@dataclass(eq=False)
class Cross(Stateless):
    """Hash the combination of several columns' values to a slot: the encoder's, for this token.

    Parts are hashed one by one and then mixed in their order, so ("ab", "c") is not ("a", "bc").
    Null is a value of its own; the slot is never null. The names of the columns are hashed too.

    Parameters
    ----------
    columns, kinds
        The columns, at least one, and their types.
    slots
        How many there are; two combinations may share one.
    out
        The name of what it makes; the columns' with `_cross` after them where it is not given.

    Examples
    --------
    >>> cross = Cross(("origin", "hour"), (Type.STRING, Type.INT64), slots=1000)
    >>> cross.transform(pa.table({"origin": ["JFK", None], "hour": [7, 7]})).to_pydict()
    {'origin_hour_cross': [385, 237]}
    """

    name = "cross"
    takes = (Type.STRING, Type.INT64, Type.BOOL)
    gaps = only_in_process(HASH_GAP)

    columns: tuple[str, ...]
    kinds: tuple[Type, ...]
    slots: int = field(kw_only=True)
    out: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        asked = f"asked for {self.name} of {', '.join(map(repr, self.columns))}"
        if not self.columns or len(self.columns) != len(self.kinds):
            found = f"it has {len(self.columns)} columns and {len(self.kinds)} types"
            raise TransformError(asked, found, "give each column its type")
        for name, kind in zip(self.columns, self.kinds, strict=True):
            if kind not in self.takes:
                found = f"{name!r} is a {kind.value}, whose values rarely repeat"
                raise TransformError(asked, found, "bin it before, with quantile_bin")
        if not 1 <= self.slots <= MOST_SLOTS:
            found = f"it has {self.slots} slots"
            raise TransformError(asked, found, f"give 1 to {MOST_SLOTS}")
        self.out = self.out or "_".join([*self.columns, self.name])
        self._codes = Codes()
        self._seed = np.array([seed(self.columns)])

    @property
    def inputs(self) -> Mapping[str, Type]:
        """Give the columns."""
        return dict(zip(self.columns, self.kinds, strict=True))

    @property
    def outputs(self) -> Mapping[str, Type]:
        """Give the slot."""
        return {self.out: Type.INT64}

    def transform(self, rows: Rows) -> pa.RecordBatch:
        """Give the slots."""
        width = len(self.columns)
        codes = np.empty((rows.num_rows, width), np.uint64)
        for i, (name, kind) in enumerate(zip(self.columns, self.kinds, strict=True)):
            codes[:, i] = self._codes.of(column(rows, name, kind))
        slots = np.empty((rows.num_rows, 1), np.int32)
        parts, ends = np.arange(width), np.array([width])
        combine(codes, parts, ends, self._seed, np.uint64(self.slots), slots)
        return batch(self.outputs, slots[:, 0].astype(np.int64))
