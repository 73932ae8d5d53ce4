"""Values as one of n slots: feature hashing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from headrace.operators.transforms.cross import HASH_GAP, MOST_SLOTS, Cross
from headrace.operators.transforms.stateless import Stateless
from headrace.operators.transforms.transform import ColumnTransform, Rows, only_in_process
from headrace.operators.types import Type

__all__ = ["Hashing"]


@dataclass(eq=False)
class Hashing(ColumnTransform, Stateless):
    """Hash a value to a slot, the one that the encoder gives it [^1].

    Nothing is kept, however many values there are; two may share a slot. Null is a value of its
    own; the slot is never null. The column's name is hashed too.

    [^1]: Weinberger et al., "Feature hashing for large scale multitask learning", ICML 2009.

    Parameters
    ----------
    slots
        How many there are.

    Examples
    --------
    >>> hashing = Hashing("origin", Type.STRING, slots=1000)
    >>> hashing.transform(pa.table({"origin": ["JFK", None]})).to_pydict()
    {'origin_hashing': [388, 804]}
    """

    name = "hashing"
    takes = Cross.takes
    gaps = only_in_process(HASH_GAP)

    slots: int = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        found = f"it has {self.slots} slots"
        self.refuse_unless(1 <= self.slots <= MOST_SLOTS, found, f"give 1 to {MOST_SLOTS}")
        self._cross = Cross((self.column,), (self.kind,), slots=self.slots, out=self.out)

    @property
    def outputs(self) -> Mapping[str, Type]:
        """Give the slot."""
        return self._cross.outputs

    def transform(self, rows: Rows) -> pa.RecordBatch:
        """Give the slots."""
        return self._cross.transform(rows)
