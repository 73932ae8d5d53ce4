"""Transforms that learn nothing: their values are of the row itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import pyarrow as pa
from numpy.typing import NDArray

from headrace.operators.transforms.transform import Rows, Sees, Transform

__all__ = ["Stateless"]


@dataclass(eq=False)
class Stateless(Transform):
    """A transform that stands among those that learn, and has nothing to learn."""

    sees: ClassVar[Sees] = Sees.ITSELF

    def update(self, rows: Rows) -> None:
        """Learn nothing; rows that it does not take are refused all the same."""
        self.transform(rows)

    def advance(self, rows: Rows) -> pa.RecordBatch:
        """Give the output columns."""
        return self.transform(rows)

    def merge(self, later: Self) -> None:
        """Learn nothing."""
        del later

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {}

    def _facts(self) -> dict[str, Any]:
        return {}

    def _restore(self, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> None:
        del arrays, facts
