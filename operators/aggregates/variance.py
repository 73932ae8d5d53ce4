"""How far a column's values lie apart: variance and standard deviation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from headrace.operators import wide
from headrace.operators.aggregates.aggregate import (
    SCALE,
    Aggregate,
    Array,
    Merge,
    Partial,
    Partials,
    counted,
    fixed,
    fixed_sql,
    numbers,
    summed,
    within_38_digits,
    within_int64,
)
from headrace.operators.types import Type

__all__ = ["Std", "Var"]


def squared(column: str, kind: Type) -> Partial:
    """Give the partial that sums a column's squares exactly, in 128 bits."""
    value, fits, held = fixed_sql(column, kind)
    # A sum of more than 38 digits is NULL in Flink, and the next value begins a new one: what is
    # lost is then 1e38 at least, which the sum in doubles shows. The reader refuses such a text.
    exact = f"SUM(CAST({fits} AS DECIMAL(19, 0)) * CAST({fits} AS DECIMAL(19, 0)))"
    rough = f"SUM(CAST({fits} AS DOUBLE) * CAST({fits} AS DOUBLE))"
    right = f"ABS(CAST({exact} AS DOUBLE) - {rough}) <= {rough} / 1e6"
    right += f" AND {held}" if held else ""
    square = f"CAST({value} AS HUGEINT) * CAST({value} AS HUGEINT)"
    return Partial(
        f"squares_{column}",
        f"CAST(CAST(SUM({square}) AS DECIMAL(38, 0)) AS HUGEINT)",
        Merge.ADD,
        Type.INT128,
        column,
        _squares if kind is Type.INT64 else _fixed_squares,
        f"CASE WHEN COUNT(`{column}`) > 0 THEN "
        f"(CASE WHEN {right} THEN CAST({exact} AS STRING) ELSE 'beyond' END) END",
    )


def _squares(values: Sequence[object]) -> float | None:
    known = numbers(values)
    return within_38_digits(sum(each * each for each in known)) if known else None


def _fixed_squares(values: Sequence[object]) -> float | None:
    return _squares([fixed(number) for number in numbers(values)])


class Var(Aggregate):
    """Take the population variance of a column, nulls aside; null where there is no value.

    It is the mean of the squared distances from the mean: of one value it is 0. It is made of three
    exact sums: n values, their sum S and the sum of their squares Q, of float64s in fixed point.
    With m = ⌊S / n⌋ and r = S − n·m the distances from m have the exact sum of squares
    D = Q − m·S − m·r, and the result is ((f(D) − f(r)·f(r) / n) / n) / scale², in this order, where
    f(D) is double(⌊D / 2^64⌋) · 2^64 + double(D mod 2^64).

    A sum that leaves int64 is an error in every engine, and so is one of squares that leaves 38
    digits: those of numbers around a billion with six digits after the point do at 1e8 of them.

    >>> Var("x").of([1, None, 4]), Var("x").of([None]), Var("x").of([7])
    (2.25, None, 0.0)
    """

    name = "var"
    takes = (Type.INT64, Type.FLOAT64)

    @property
    def type(self) -> Type:
        """Give float64."""
        return Type.FLOAT64

    @property
    def partials(self) -> tuple[Partial, ...]:
        """Give the count, the sum and the sum of squares."""
        column, kind = self.column, self.kind
        return counted(column), summed(column, kind), squared(column, kind)

    @property
    def _scale(self) -> float:
        return float(SCALE * SCALE) if self.kind is Type.FLOAT64 else 1.0

    def result(self, partials: Partials, age_ms: npt.NDArray[np.int64]) -> tuple[Array, Array]:
        """Take the exact sum of squared distances, then divide."""
        del age_ms
        count, total, squares = (
            partials[partial.name][0].astype(np.int64, copy=False) for partial in self.partials
        )
        valid = np.greater(count, 0)
        n = np.where(valid, count, 1)
        m, r = np.divmod(total, n)
        distances = wide.minus(wide.minus(squares, wide.times(m, total)), wide.times(m, r))
        rest = r.astype(np.float64)
        n_float = n.astype(np.float64)
        value = (wide.floats(distances) - rest * rest / n_float) / n_float
        return value / np.float64(self._scale), valid

    def result_sql(self, merged: Mapping[str, str], age_ms: str) -> str:
        """Print the same, in the same order; DuckDB's // cuts towards zero."""
        del age_ms
        count, total, squares = (merged[partial.name] for partial in self.partials)
        n = f"NULLIF({count}, 0)"
        below = f"(CASE WHEN {total} % {n} < 0 THEN 1 ELSE 0 END)"
        m = f"CAST({total} // {n} - {below} AS HUGEINT)"
        r = f"({total} % {n} + {below} * {count})"
        distances = f"({squares} - {m} * {total} - {m} * {r})"
        whole = (
            f"(CAST(CAST({distances} // {_HALF} AS BIGINT) AS DOUBLE) * CAST({_HALF} AS DOUBLE) "
            f"+ CAST(CAST({distances} % {_HALF} AS UBIGINT) AS DOUBLE))"
        )
        rest, n_float = f"CAST({r} AS DOUBLE)", f"CAST({n} AS DOUBLE)"
        value = f"({whole} - {rest} * {rest} / {n_float}) / {n_float}"
        return f"({value}) / CAST({self._scale!r} AS DOUBLE)"

    def of(self, values: Sequence[object]) -> float | None:
        """Take the variance."""
        known = numbers(values)
        if not known:
            return None
        whole = [fixed(each) if self.kind is Type.FLOAT64 else int(each) for each in known]
        n, total = len(whole), int(within_int64(sum(whole)))
        squares = int(within_38_digits(sum(each * each for each in whole)))
        m, r = divmod(total, n)
        upper, lower = divmod(squares - m * total - m * r, _HALF)
        distances = float(upper) * float(_HALF) + float(lower)
        return (distances - float(r) * float(r) / float(n)) / float(n) / self._scale


_HALF = 2**64


class Std(Var):
    """Take the standard deviation of a column: the square root of its population variance.

    Every engine's square root is rounded to the nearest float64, so it adds no difference.

    >>> Std("x").of([1, None, 4]), Std("x").of([None])
    (1.5, None)
    """

    name = "std"

    def result(self, partials: Partials, age_ms: npt.NDArray[np.int64]) -> tuple[Array, Array]:
        """Take the root."""
        value, valid = super().result(partials, age_ms)
        return np.sqrt(value.astype(np.float64)), valid

    def result_sql(self, merged: Mapping[str, str], age_ms: str) -> str:
        """Print the root."""
        return f"SQRT({super().result_sql(merged, age_ms)})"

    def of(self, values: Sequence[object]) -> float | None:
        """Take the root."""
        variance = super().of(values)
        return None if variance is None else math.sqrt(variance)
