"""Counts, sums and means in which what is older counts less: by half for each half-life."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from headrace.operators.aggregates.aggregate import (
    SCALE,
    Aggregate,
    Array,
    Partial,
    Partials,
    counted,
    summed,
)
from headrace.operators.aggregates.count import Count
from headrace.operators.aggregates.parameter import Parameter
from headrace.operators.types import Type

__all__ = ["DecayedCount", "DecayedMean", "DecayedSum"]


_DAY_MS = 86_400_000


class _Decayed(Aggregate):
    parameters = (Parameter("half-life", "duration", "1h", least=1, most=10_000 * _DAY_MS),)

    @property
    def type(self) -> Type:
        """Give float64."""
        return Type.FLOAT64

    @property
    def half_life_ms(self) -> int:
        """Give the half-life."""
        return int(self.told[0])

    def _folded(self, partial: Partial, tiles: Sequence[object]) -> float:
        """Add up a partial's tiles, each times its weight, in their order."""
        total = 0.0
        for tile in tiles:
            if isinstance(tile, tuple):
                weight, values = tile
                total += float(partial.of(values) or 0) * weight
        return total


class DecayedCount(_Decayed):
    """Count the rows, or a column's values that are not null, each by its weight.

    The weight halves with each half-life: of a tile that ends at e it is 2^-((b − e) / half-life)
    for all its rows, so those of the newest tile weigh 1. Rows of 64 half-lives ago and before
    weigh nothing. Tiles are added up from the newest to the oldest; 0 over an empty window.

    A half-life is a multiple of the step. Online a read walks the tiles of the window: a day in
    steps of a minute is 1440 additions for a key that is always busy.

    >>> DecayedCount("", Type.INT64, 60_000).of([(1.0, [None, 1]), (0.5, [7])])
    2.5
    """

    name = "decayed_count"
    columns = (0, 1)

    @property
    def partials(self) -> tuple[Partial, ...]:
        """Give the count."""
        return Count(self.column).partials

    def result(self, partials: Partials, age_ms: npt.NDArray[np.int64]) -> tuple[Array, Array]:
        """Take it as it is."""
        del age_ms
        return partials[self.partials[0].name]

    def result_sql(self, merged: Mapping[str, str], age_ms: str) -> str:
        """Print it as it is."""
        del age_ms
        return merged[self.partials[0].name]

    def of(self, values: Sequence[object]) -> float:
        """Add up the tiles."""
        return self._folded(self.partials[0], values)


class DecayedSum(_Decayed):
    """Sum a column, nulls aside, each value by its weight; 0 over an empty window.

    The weights are those of `decayed_count`. A tile's sum is exact, of a float64 in fixed point; it
    becomes a float64 when it is weighed, and the scale divides the total.

    >>> DecayedSum("x", Type.INT64, 60_000).of([(1.0, [1, None]), (0.5, [4])])
    3.0
    """

    name = "decayed_sum"
    takes = (Type.INT64, Type.FLOAT64)

    @property
    def partials(self) -> tuple[Partial, ...]:
        """Give the sum."""
        return (summed(self.column, self.kind),)

    @property
    def _scale(self) -> float:
        return float(SCALE) if self.kind is Type.FLOAT64 else 1.0

    def result(self, partials: Partials, age_ms: npt.NDArray[np.int64]) -> tuple[Array, Array]:
        """Divide by the scale."""
        del age_ms
        total, valid = partials[self.partials[0].name]
        return total.astype(np.float64) / np.float64(self._scale), valid

    def result_sql(self, merged: Mapping[str, str], age_ms: str) -> str:
        """Print the same."""
        del age_ms
        return f"({merged[self.partials[0].name]} / CAST({self._scale!r} AS DOUBLE))"

    def of(self, values: Sequence[object]) -> float:
        """Add up the tiles."""
        return self._folded(self.partials[0], values) / self._scale


class DecayedMean(DecayedSum):
    """Take the mean of a column, nulls aside, each value by its weight; null where there is none.

    It is its `decayed_sum`, divided by the `decayed_count` of its values.

    >>> DecayedMean("x", Type.INT64, 60_000).of([(1.0, [1, None]), (0.5, [4])])
    2.0
    """

    name = "decayed_mean"

    @property
    def partials(self) -> tuple[Partial, ...]:
        """Give the sum and the count."""
        return *super().partials, counted(self.column)

    def result(self, partials: Partials, age_ms: npt.NDArray[np.int64]) -> tuple[Array, Array]:
        """Divide last."""
        total, _ = super().result(partials, age_ms)
        count = partials[self.partials[1].name][0].astype(np.float64)
        valid = count > 0
        return total.astype(np.float64) / np.where(valid, count, 1), valid

    def result_sql(self, merged: Mapping[str, str], age_ms: str) -> str:
        """Print the same."""
        count = merged[self.partials[1].name]
        return f"{super().result_sql(merged, age_ms)} / NULLIF({count}, CAST(0 AS DOUBLE))"

    def of(self, values: Sequence[object]) -> float | None:  # type: ignore[override]  # null
        """Divide last."""
        count = self._folded(self.partials[1], values)
        return super().of(values) / count if count else None
