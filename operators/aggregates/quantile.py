"""A quantile of a column's values, from a sketch of bins."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from headrace.operators.aggregates.aggregate import MOST_FIXED, SCALE, Array, fixed, numbers
from headrace.operators.aggregates.bins import Bins
from headrace.operators.aggregates.logarithm import Floats
from headrace.operators.aggregates.of_rows import Gathered, Ints, OfRows
from headrace.operators.aggregates.parameter import Parameter
from headrace.operators.functions import Value
from headrace.operators.types import Type

__all__ = ["Quantile"]

_BITS = 7
_MOST_BINS = 2 * (2**_BITS + (63 - _BITS) * 2 ** (_BITS - 1))


class Quantile(OfRows):
    """Take the value below or at which a share q of a column lies; null where there is none.

    Of N values it is the one of rank ⌈q · N⌉ (at least 1), up to the width of its bin. A bin holds
    the numbers that agree in sign, size and their 7 highest bits; the result is its middle. So a
    whole number up to 127 is exact, and any other is within 2^-7 (0.8 %) of itself. A tile has at
    most 7424 bins, however many rows.

    A float64 is in fixed point, six digits, and beyond ±9.2e12 counts as that.

    >>> Quantile("x", Type.INT64, 0.5).of([1, 2, 100, None])
    2.0
    >>> Quantile("x", Type.INT64, 1).of([1000])
    1003.5

    References
    ----------
    .. [1] C. Masson, J. E. Rim, H. K. Lee, DDSketch: a fast and fully-mergeable quantile sketch
       with relative-error guarantees, PVLDB 12 (2019). Its bins end at powers of a number, ours at
       even steps between powers of two, which whole numbers can tell without a logarithm.

    """

    name = "quantile"
    takes = (Type.INT64, Type.FLOAT64)
    parameters = (Parameter("quantile", "float", "0.95", least=0, most=1),)

    @property
    def type(self) -> Type:
        """Give float64."""
        return Type.FLOAT64

    @property
    def rows(self) -> Bins:
        """Give the bins; quantiles of one column share them."""
        whole = f"`{self.column}`"
        if self.kind is Type.FLOAT64:
            most = f"{MOST_FIXED}e0"
            held = f"LEAST(GREATEST(`{self.column}`, -{most}), {most})"
            whole = f"CAST(ROUND({held} * {SCALE}) AS BIGINT)"
        # The complement of a negative number has its size, and that of the least one exists.
        size = f"CHAR_LENGTH(BIN(CASE WHEN {whole} < 0 THEN -1 - {whole} ELSE {whole} END))"
        step = f"CAST(POWER(2, GREATEST({size} - {_BITS}, 0)) AS BIGINT)"
        return Bins(
            f"sizes_{self.column}",
            self.column,
            Type.INT64,
            f"{whole} - MOD({whole}, {step})",
            _bin if self.kind is Type.INT64 else _fixed_bin,
            most_rows=_MOST_BINS,
        )

    def _rank(self, total: int) -> int:
        return max(1, math.ceil(float(self.told[0]) * total))

    def gathered(self, rows: Gathered, at: Ints) -> Array:
        """Find each window's bin by its rank."""
        del at
        upto = np.concatenate([[0], np.cumsum(rows.numbers)])
        before = upto[rows.starts]
        rank = np.maximum(1, np.ceil(np.float64(self.told[0]) * np.diff(before)).astype(np.int64))
        place = np.searchsorted(upto[1:], before[:-1] + rank)
        if not len(rows.codes):
            return np.zeros(len(rank))
        codes = rows.codes[np.minimum(place, len(rows.codes) - 1)]
        value = codes.astype(np.float64)
        step = np.left_shift(1, np.maximum(np.frexp(np.abs(value))[1].astype(np.int64) - _BITS, 0))
        return self._scaled(value + np.sign(value) * ((step - 1).astype(np.float64) / 2.0))

    def _scaled(self, value: Floats) -> Floats:
        return value if self.kind is Type.INT64 else value / float(SCALE)

    def gathered_sql(self, rows: str, by: str) -> str:
        """Find each window's bin by its rank."""
        ranked = (
            f"SELECT {by}, bin, SUM(n) OVER (PARTITION BY {by} ORDER BY bin) AS _upto, "
            f"SUM(n) OVER (PARTITION BY {by}) AS _all FROM {rows}"
        )
        rank = f"greatest(1e0, ceil({float(self.told[0])!r}e0 * CAST(_all AS DOUBLE)))"
        one = (
            f"SELECT {by}, MIN(bin) FILTER (_upto >= {rank}) AS _bin FROM ({ranked}) GROUP BY {by}"
        )
        size = "length(bin(abs(CAST(_bin AS HUGEINT))))"
        step = f"(CAST(1 AS BIGINT) << greatest({size} - {_BITS}, 0))"
        middle = f"CAST(_bin AS DOUBLE) + sign(_bin) * (CAST({step} - 1 AS DOUBLE) / 2e0)"
        if self.kind is Type.FLOAT64:
            middle = f"({middle}) / {SCALE}e0"
        return f"SELECT {by}, {middle} AS y FROM ({one})"

    def of(self, values: Sequence[object]) -> float | None:
        """Take the middle of the bin of the value of the rank."""
        place = _bin if self.kind is Type.INT64 else _fixed_bin
        bins = sorted(place(value)[0] for value in numbers(values))
        if not bins:
            return None
        lower = bins[self._rank(len(bins)) - 1]
        sign = (lower > 0) - (lower < 0)
        middle = float(lower) + sign * (float(_step(abs(lower)) - 1) / 2.0)
        return middle if self.kind is Type.INT64 else middle / float(SCALE)


def _step(size: int) -> int:
    return 1 << max(size.bit_length() - _BITS, 0)


def _bin(value: Value) -> tuple[int, int]:
    whole = int(value or 0)
    size = abs(whole) // _step(abs(whole)) * _step(abs(whole))
    return (size if whole >= 0 else -size), 1


def _fixed_bin(value: Value) -> tuple[int, int]:
    return _bin(fixed(min(max(float(value or 0), -MOST_FIXED), MOST_FIXED)))
