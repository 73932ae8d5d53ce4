"""One column's sum for each of another's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from headrace.operators.aggregates.aggregate import Aggregate, Array, Partial, Partials
from headrace.operators.aggregates.sum import Sum
from headrace.operators.types import Type

__all__ = ["Ratio"]


class Ratio(Aggregate):
    """Divide the sum of one column by that of another; null where the latter is 0.

    Nulls are skipped, in each column by themselves. Each sum is exact and as `sum` gives it; then
    both are float64s, and divided. A share is the ratio of a condition's numbers, made by CASE.

    Parameters
    ----------
    column, kind
        What is divided.
    other, other_kind
        What it is divided by.

    Examples
    --------
    >>> Ratio("x", Type.INT64, "y", Type.INT64).of([(1, 2), (None, 2), (2, None)])
    0.75

    """

    name = "ratio"
    takes = (Type.INT64, Type.FLOAT64)
    columns = (2, 2)

    def __init__(
        self,
        column: str = "",
        kind: Type = Type.INT64,
        other: str = "",
        other_kind: Type = Type.INT64,
    ) -> None:
        super().__init__(column, kind)
        self.told = (other,)
        self.sums = Sum(column, kind), Sum(other, other_kind)

    @property
    def type(self) -> Type:
        """Give float64."""
        return Type.FLOAT64

    @property
    def partials(self) -> tuple[Partial, ...]:
        """Give both sums."""
        return tuple(partial for each in self.sums for partial in each.partials)

    def __str__(self) -> str:
        """Write it out, as a pipeline does."""
        return f"{self.name}({', '.join(each.column for each in self.sums)})"

    def row(self, values: Mapping[str, object]) -> object:
        """Take both columns."""
        return tuple(each.row(values) for each in self.sums)

    def result(self, partials: Partials, age_ms: npt.NDArray[np.int64]) -> tuple[Array, Array]:
        """Divide the sums; to add 0 makes 0.0 of −0.0."""
        above, below = (each.result(partials, age_ms)[0].astype(np.float64) for each in self.sums)
        valid = below != 0
        return above / np.where(valid, below, 1) + np.float64(0), valid

    def result_sql(self, merged: Mapping[str, str], age_ms: str) -> str:
        """Print the same."""
        above, below = (f"CAST({each.result_sql(merged, age_ms)} AS DOUBLE)" for each in self.sums)
        return f"({above} / NULLIF({below}, CAST(0 AS DOUBLE)) + CAST(0 AS DOUBLE))"

    def of(self, values: Sequence[object]) -> float | None:
        """Divide the sums of pairs."""
        pairs = [pair for pair in values if isinstance(pair, tuple)]
        above, below = (
            float(each.of([pair[place] for pair in pairs])) for place, each in enumerate(self.sums)
        )
        return above / below + 0.0 if below else None
