"""What an aggregate is: partials that every engine can compute per tile, and a result from them.

A tile holds, for one key and one step, the partials of all of its view's aggregates. Partials
merge (add, min, max, or the newest row), so a window is a merge of its tiles; the result is
computed once, at the end, in one stated order of operations.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from headrace.operators.types import Type

__all__ = ["SCALE", "Aggregate", "Array", "Merge", "Newest", "Partial", "Partials"]

SCALE = 1_000_000
"""Fixed point: a float64 enters a sum as ROUND(x · SCALE), an int64, so that sums are exact."""

Array = npt.NDArray[np.generic]
Partials = Mapping[str, tuple[Array, npt.NDArray[np.bool_]]]
"""Per partial: its merged values for each row, and where there are any."""


class Merge(enum.Enum):
    """How two tiles' partials become one."""

    ADD = "add"
    MIN = "min"
    MAX = "max"


@dataclass(frozen=True)
class Partial:
    """One column of a tile: its name, its SQL over the rows of the tile, and how it merges."""

    name: str
    sql: str
    merge: Merge
    type: Type


@dataclass(frozen=True)
class Newest:
    """The newest row's value of a column, nulls included: newest by (at, partition, offset)."""

    column: str
    type: Type

    @property
    def name(self) -> str:
        """Name the tile's column."""
        return f"newest_{self.column}"


class Aggregate(ABC):
    """One aggregate of one column (or of the rows, where it takes none).

    Subclasses state their partials, their result over arrays of merged partials (the online path),
    the same result as SQL (the history path), and the plain algebra (the oracle).
    """

    name: ClassVar[str]
    takes: ClassVar[tuple[Type, ...]] = ()
    windowed: ClassVar[bool] = True

    def __init__(self, column: str = "", kind: Type = Type.INT64) -> None:
        self.column = column
        self.kind = kind

    @property
    @abstractmethod
    def type(self) -> Type:
        """Give the type of the result."""

    @property
    def partials(self) -> tuple[Partial | Newest, ...]:
        """List the tile columns it needs; aggregates of a view share those of equal name."""
        return ()

    @abstractmethod
    def result(self, partials: Partials, age_ms: npt.NDArray[np.int64]) -> tuple[Array, Array]:
        """Compute values and validity from merged partials; `age_ms` is t − the newest row's at."""

    @abstractmethod
    def result_sql(self, merged: Mapping[str, str], age_ms: str) -> str:
        """Print the same result over SQL expressions for the merged partials."""

    @abstractmethod
    def of(self, values: Sequence[object]) -> object:
        """Compute the result of plain `values`, oldest first: the definition, never tuned."""


def counted(column: str) -> Partial:
    """Give the partial that counts the values of a column that are not null."""
    return Partial(f"count_{column}", f"COUNT(`{column}`)", Merge.ADD, Type.INT64)


def summed(column: str, kind: Type) -> Partial:
    """Give the partial that sums a column exactly, in fixed point where it is a float64."""
    value = f"`{column}`" if kind is Type.INT64 else f"CAST(ROUND(`{column}` * {SCALE}) AS BIGINT)"
    return Partial(f"sum_{column}", f"CAST(SUM({value}) AS BIGINT)", Merge.ADD, Type.INT64)
