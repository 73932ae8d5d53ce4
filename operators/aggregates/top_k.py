"""A window's most frequent values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from headrace.operators.aggregates.aggregate import Array
from headrace.operators.aggregates.bins import Bins, values_of
from headrace.operators.aggregates.of_rows import Gathered, Ints, OfRows, listed
from headrace.operators.aggregates.parameter import Parameter
from headrace.operators.types import Type

__all__ = ["TopK"]


class TopK(OfRows):
    """List the k values that are there most often, nulls aside; null where there is none.

    The most frequent first; of equally frequent ones the smaller, texts by their code points and
    false before true. Exact.

    >>> TopK("x", Type.STRING, 2).of(["b", "a", "c", None, "c", "b"])
    ['b', 'c']
    """

    name = "top_k"
    takes = (Type.INT64, Type.STRING, Type.BOOL)
    parameters = (Parameter("number of values", "int", "3", least=1, most=100),)

    @property
    def type(self) -> Type:
        """Give a list of the column's own type."""
        return Type.list_of(self.kind)

    @property
    def rows(self) -> Bins:
        """Give a bin for each value."""
        return values_of(self.column, self.kind)

    def gathered(self, rows: Gathered, at: Ints) -> Array:
        """Sort each window's bins; the values of those that may count only."""
        del at
        k = int(self.told[0])
        found: list[list[object]] = []
        for start, stop in zip(rows.starts[:-1], rows.starts[1:], strict=True):
            numbers, codes = rows.numbers[start:stop], rows.codes[start:stop]
            if len(numbers) > k:
                least = np.partition(numbers, len(numbers) - k)[len(numbers) - k]
                numbers, codes = numbers[numbers >= least], codes[numbers >= least]
            pairs = zip((-numbers).tolist(), rows.values(codes).tolist(), strict=True)
            found.append([value for _, value in sorted(pairs)[:k]])
        return listed(found)

    def gathered_sql(self, rows: str, by: str) -> str:
        """Sort each window's bins."""
        k = int(self.told[0])
        # A list, not `arg_max(bin, n, k)`: of ties that one keeps any.
        return f"SELECT {by}, list(bin ORDER BY n DESC, bin)[:{k}] AS y FROM {rows} GROUP BY {by}"

    def of(self, values: Sequence[object]) -> list[object] | None:
        """List them."""
        numbers = Counter(value for value in values if isinstance(value, int | str))
        order = sorted((-number, value) for value, number in numbers.items())
        return [value for _, value in order[: int(self.told[0])]] or None
