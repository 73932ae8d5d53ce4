"""How many rows a window has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from headrace.operators.aggregates.aggregate import Aggregate, Array, Merge, Partial, Partials
from headrace.operators.types import Type

__all__ = ["Count"]


class Count(Aggregate):
    """Count the rows, or the values of a column that are not null; 0 over an empty window.

    >>> Count().of([1, None, 3]), Count("x").of([1, None, 3])
    (3, 2)
    """

    name = "count"
    columns = (0, 1)

    @property
    def type(self) -> Type:
        """Give int64."""
        return Type.INT64

    @property
    def partials(self) -> tuple[Partial, ...]:
        """Give one count."""
        counted = f"`{self.column}`" if self.column else "*"
        name = f"count_{self.column}" if self.column else "rows"
        sql = f"COUNT({counted})"
        return (Partial(name, sql, Merge.ADD, Type.INT64, self.column, self.of),)

    def result(self, partials: Partials, age_ms: npt.NDArray[np.int64]) -> tuple[Array, Array]:
        """Take the count as it is; a window without tiles has the sum 0."""
        del age_ms
        values, _ = partials[self.partials[0].name]
        return values, np.ones(len(values), dtype=np.bool_)

    def result_sql(self, merged: Mapping[str, str], age_ms: str) -> str:
        """Print the count, 0 where there is no tile."""
        del age_ms
        return f"COALESCE({merged[self.partials[0].name]}, 0)"

    def of(self, values: Sequence[object]) -> int:
        """Count."""
        return sum(1 for value in values if value is not None or not self.column)
