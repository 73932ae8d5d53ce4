"""What the newest row says, and how old it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from headrace.operators.aggregates.aggregate import Aggregate, Array, Newest, Partials
from headrace.operators.types import Type

__all__ = ["Age", "Latest"]


class Latest(Aggregate):
    """Take a column of the newest row, by (at, partition, offset); null where that row says null.

    An older row is never looked at: a report without a reading is a report without a reading.

    >>> Latest("x").of([1, 2]), Latest("x").of([1, None]), Latest("x").of([])
    (2, None, None)
    """

    name = "latest"
    takes = (Type.INT64, Type.FLOAT64, Type.STRING, Type.BOOL)
    windowed = False
    filtered = "last"

    @property
    def type(self) -> Type:
        """Give the column's own type."""
        return self.kind

    @property
    def partials(self) -> tuple[Newest, ...]:
        """Give the newest value."""
        return (Newest(self.column, self.kind),)

    def result(self, partials: Partials, age_ms: npt.NDArray[np.int64]) -> tuple[Array, Array]:
        """Take it as it is."""
        del age_ms
        return partials[self.partials[0].name]

    def result_sql(self, merged: Mapping[str, str], age_ms: str) -> str:
        """Print it as it is."""
        del age_ms
        return merged[self.partials[0].name]

    def of(self, values: Sequence[object]) -> object:
        """Take the last."""
        return values[-1] if values else None


class Age(Aggregate):
    """Say how long ago the newest row was: t − at, in milliseconds; null where there is none.

    >>> Age().of([90_000, 60_000])
    60000
    """

    name = "age"
    windowed = False
    of_ages = True
    columns = (0, 0)
    filtered = "time_since_last"

    @property
    def type(self) -> Type:
        """Give int64, milliseconds."""
        return Type.INT64

    def result(self, partials: Partials, age_ms: npt.NDArray[np.int64]) -> tuple[Array, Array]:
        """Take the age; a negative one marks that there is no row."""
        del partials
        return age_ms, age_ms >= 0

    def result_sql(self, merged: Mapping[str, str], age_ms: str) -> str:
        """Print it as it is."""
        del merged
        return age_ms

    def of(self, values: Sequence[object]) -> object:
        """Take the last of the ages given."""
        return values[-1] if values else None
