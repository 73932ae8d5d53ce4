"""What an aggregate is: partials that every engine can compute per tile, and a result from them.

A tile holds, for one key and one step, the partials of all of its view's aggregates. Partials
merge (add, min, max, or the newest row), so a window is a merge of its tiles; the result is
computed once, at the end, in one stated order of operations.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from headrace.operators.aggregates.bins import Bins
from headrace.operators.aggregates.ends import Ends
from headrace.operators.aggregates.merge import Merge, within_38_digits, within_int64
from headrace.operators.aggregates.parameter import Parameter, ParameterError
from headrace.operators.types import Type

__all__ = [
    "BEYOND",
    "MOST_FIXED",
    "SCALE",
    "Aggregate",
    "Array",
    "Merge",
    "Newest",
    "Partial",
    "Partials",
    "counted",
    "fixed",
    "fixed_sql",
    "numbers",
    "summed",
    "within_38_digits",
    "within_int64",
]

SCALE = 1_000_000
"""Fixed point: a float64 enters a sum as ROUND(x · SCALE), an int64, so that sums are exact."""

BEYOND = 99_999_999_999_999_999_999
"""What a tile of the stream says where its sum is beyond int64: no reader takes it for a number."""

Array = npt.NDArray[np.generic]
Partials = Mapping[str, tuple[Array, npt.NDArray[np.bool_]]]
"""Per partial: its merged values for each row, and where there are any."""


@dataclass(frozen=True)
class Partial:
    """One column of a tile: its name, its SQL over the rows of the tile, and how it merges.

    `of` gives the same of the rows' values of `column`, nulls among them: the definition.
    `stream_sql` is Flink's own text, where it would otherwise give a wrong value in silence.
    """

    name: str
    sql: str
    merge: Merge
    type: Type
    column: str
    of: Callable[[Sequence[object]], float | None]
    stream_sql: str = ""

    def merged(self, values: Sequence[float | None]) -> float | None:
        """Merge tiles' partials: the definition, never tuned."""
        return self.merge.of(values, within_38_digits if self.type is Type.INT128 else within_int64)


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

    Parameters
    ----------
    column, kind
        The column that it is of, and its type; none where it is of the rows.
    parameters
        What it is told besides, one value for each of its `parameters`, in their order.

    Raises
    ------
    ParameterError
        Where a parameter is missing, or is not what it may be.

    """

    name: ClassVar[str]
    takes: ClassVar[tuple[Type, ...]] = ()
    """The types of a column that it may be of; any, where there is none."""
    columns: ClassVar[tuple[int, int]] = (1, 1)
    """How many columns it takes, at least and at most."""
    parameters: ClassVar[tuple[Parameter, ...]] = ()
    windowed: ClassVar[bool] = True
    of_ages: ClassVar[bool] = False
    """Whether it is of the rows' ages at t, and of no column."""
    filtered: ClassVar[str] = ""
    """Of an aggregate of the newest row, which a ``where`` would hide: what to use with one."""

    ordered: ClassVar[bool] = False
    """Whether the order of the rows, by (at, partition, offset), matters."""

    def __init__(self, column: str = "", kind: Type = Type.INT64, *parameters: float | int) -> None:
        self.column = column
        self.kind = kind
        if len(parameters) != len(self.parameters):
            asked = f"asked for {self.name} with {len(parameters)} parameters"
            do = f"write it like {self.example(*([column] if column else []))}"
            raise ParameterError(asked, f"it takes {len(self.parameters)}", do)
        for parameter, value in zip(self.parameters, parameters, strict=True):
            parameter.check(value)
        self.told: tuple[str | float, ...] = parameters

    def __str__(self) -> str:
        """Write it out, as a pipeline does."""
        told = [each.said(value) for each, value in zip(self.parameters, self.told, strict=False)]
        columns = [self.column] if self.column else []
        return f"{self.name}({', '.join([*columns, *told])})"

    @classmethod
    def example(cls, *columns: str) -> str:
        """Write one out, as a pipeline does."""
        return f"{cls.name}({', '.join([*columns, *(each.like for each in cls.parameters)])})"

    def over(self, window_ms: int | None) -> Self:
        """Give it as it is over a window; most are the same over all."""
        del window_ms
        return self

    def row(self, values: Mapping[str, object]) -> object:
        """Take from one row what `of` is given of it."""
        return values.get(self.column)

    @property
    @abstractmethod
    def type(self) -> Type:
        """Give the type of the result."""

    @property
    def half_life_ms(self) -> int | None:
        """Give the half-life of its partials' weights; None where all tiles count the same.

        With one, its partials are sums, and come to `result` as float64s: each tile's times its
        weight, added up from the newest to the oldest. `of` is then given tiles, newest first: the
        weight of each and its rows' values.
        """
        return None

    @property
    def partials(self) -> tuple[Partial | Newest | Bins | Ends, ...]:
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


MOST_FIXED = 9_223_372_036_854
"""The greatest float64, without its fraction, that fixed point can hold."""


def fixed(value: float) -> int:
    """Turn one float64 into fixed point, half away from zero, as ROUND does in SQL.

    >>> fixed(0.25), fixed(-0.0000005)
    (250000, -1)
    """
    if abs(value) > MOST_FIXED:
        raise OverflowError(value)
    return int(Decimal(value * SCALE).to_integral_value(ROUND_HALF_UP))


def fixed_sql(column: str, kind: Type) -> tuple[str, str, str]:
    """Print the whole number of a column that enters sums, the same for Flink, and Flink's check.

    The check is over a tile's rows, and empty where there is nothing to check. Flink's cast from
    double stops at the ends of int64, and its ROUND of an infinity ends the job: there a value that
    fixed point cannot hold is passed over, and the tile is to be refused.
    """
    value = f"`{column}`"
    if kind is not Type.FLOAT64:
        return value, value, ""
    held = f"CASE WHEN ABS({value}) <= {MOST_FIXED}e0 THEN {value} END"
    whole, fits = (f"CAST(ROUND({each} * {SCALE}) AS BIGINT)" for each in (value, f"({held})"))
    return whole, fits, f"MAX(ABS({value})) <= {MOST_FIXED}e0"


def counted(column: str) -> Partial:
    """Give the partial that counts the values of a column that are not null."""
    sql = f"COUNT(`{column}`)"
    return Partial(f"count_{column}", sql, Merge.ADD, Type.INT64, column, _count)


def summed(column: str, kind: Type) -> Partial:
    """Give the partial that sums a column exactly, in fixed point where it is a float64."""
    value, fits, held = fixed_sql(column, kind)
    # DuckDB ends a query whose sum leaves int64. Flink's sum wraps, by multiples of 2^64, while the
    # sum of the values' upper halves does not. Such a tile gets a number that its reader refuses.
    right = f"ABS(SUM({fits}) / 4294967296 - SUM({fits} / 4294967296)) <= COUNT(*)"
    right += f" AND {held}" if held else ""
    whole, beyond = (f"CAST({v} AS DECIMAL(20, 0))" for v in (f"SUM({fits})", f"'{BEYOND}'"))
    return Partial(
        f"sum_{column}",
        f"CAST(SUM({value}) AS BIGINT)",
        Merge.ADD,
        Type.INT64,
        column,
        _sum if kind is Type.INT64 else _fixed_sum,
        f"CASE WHEN COALESCE({right}, TRUE) THEN {whole} ELSE {beyond} END",
    )


def _count(values: Sequence[object]) -> int:
    return sum(value is not None for value in values)


def _sum(values: Sequence[object]) -> float | None:
    return Merge.ADD.of(numbers(values))


def _fixed_sum(values: Sequence[object]) -> float | None:
    return Merge.ADD.of([fixed(number) for number in numbers(values)])


def numbers(values: Sequence[object]) -> list[float]:
    """Give the numbers among values, in their order: nulls are skipped."""
    return [value for value in values if isinstance(value, int | float)]
