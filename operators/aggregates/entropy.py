"""How evenly a window's values are spread."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from headrace.operators.aggregates.aggregate import Array
from headrace.operators.aggregates.bins import Bins, values_of
from headrace.operators.aggregates.logarithm import ln, ln_of, ln_sql
from headrace.operators.aggregates.of_rows import Gathered, Ints, OfRows
from headrace.operators.types import Type

__all__ = ["Entropy"]

_SCALE = 1_000_000


class Entropy(OfRows):
    """Take Shannon's entropy of a column's values, in nats, nulls aside; null where there is none.

    Of N values, n of each kind, it is the sum of n · (ln N − ln n), divided by N. Each logarithm is
    rounded to six digits, so the sum is one of whole numbers whatever its order, and the result is
    within 1e-6. There may be 10^11 values in a window.

    >>> Entropy("x", Type.STRING).of(["a", "b", None, "a", "b"]), Entropy("x").of([7, 7])
    (0.693147, 0.0)
    """

    name = "entropy"
    takes = (Type.INT64, Type.STRING, Type.BOOL)

    @property
    def type(self) -> Type:
        """Give float64."""
        return Type.FLOAT64

    @property
    def rows(self) -> Bins:
        """Give a bin for each value."""
        return values_of(self.column, self.kind)

    def gathered(self, rows: Gathered, at: Ints) -> Array:
        """Sum over each window's bins."""
        del at
        window = np.repeat(np.arange(len(rows.counts)), rows.counts)
        total = np.zeros(len(rows.counts), np.int64)
        np.add.at(total, window, rows.numbers)
        of_total = np.floor(ln(np.maximum(total, 1)) * _SCALE + 0.5).astype(np.int64)
        own = np.floor(ln(rows.numbers) * _SCALE + 0.5).astype(np.int64)
        spread = np.zeros(len(total), np.int64)
        np.add.at(spread, window, rows.numbers * (of_total[window] - own))
        return spread.astype(np.float64) / np.maximum(total, 1).astype(np.float64) / _SCALE

    def gathered_sql(self, rows: str, by: str) -> str:
        """Sum over each window's bins, then the total's own."""
        rounded = f"CAST(floor({{}} * {_SCALE}e0 + 0.5e0) AS BIGINT)"
        own = f"SELECT {by}, n, {ln_sql('n', '_ln')} FROM {rows}"
        sums = (
            f"SELECT {by}, CAST(SUM(n) AS BIGINT) AS _all, "
            f"CAST(SUM(n * {rounded.format('_ln')}) AS BIGINT) AS _own FROM ({own}) GROUP BY {by}"
        )
        spread = f"_all * {rounded.format('_ln')} - _own"
        return (
            f"SELECT {by}, CAST({spread} AS DOUBLE) / CAST(_all AS DOUBLE) / {_SCALE}e0 AS y "
            f"FROM (SELECT *, {ln_sql('_all', '_ln')} FROM ({sums}))"
        )

    def of(self, values: Sequence[object]) -> float | None:
        """Take the entropy."""
        numbers = Counter(value for value in values if value is not None)
        total = sum(numbers.values())
        if not total:
            return None
        spread = sum(n * (_rounded(total) - _rounded(n)) for n in numbers.values())
        return float(spread) / float(total) / _SCALE


def _rounded(n: int) -> int:
    return math.floor(ln_of(n) * _SCALE + 0.5)
