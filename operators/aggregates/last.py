"""What the newest or oldest row with a value says, and how long ago that was.

A null is passed over; of `latest` and `age`, which look at the newest row whatever it says, it is
not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from headrace.operators.aggregates.aggregate import Array
from headrace.operators.aggregates.ends import AT, PLACE, VALUE, Ends
from headrace.operators.aggregates.of_rows import Gathered, Ints, OfRows, listed, one_each
from headrace.operators.aggregates.parameter import Parameter
from headrace.operators.types import Type

__all__ = ["First", "Last", "LastN", "TimeSinceLast"]

_ORDER = ", ".join((AT, *PLACE))


class _OfEnds(OfRows):
    takes = (Type.INT64, Type.FLOAT64, Type.STRING, Type.BOOL)
    ordered = True
    newest: ClassVar[bool] = True

    @property
    def type(self) -> Type:
        """Give the column's own type."""
        return self.kind

    @property
    def rows(self) -> Ends:
        """Give one row of each tile."""
        return Ends(self.column, self.kind, newest=self.newest)

    def gathered(self, rows: Gathered, at: Ints) -> Array:
        """Take each window's value: there is one row at most."""
        del at
        return one_each(rows, rows.values(rows.codes))

    def gathered_sql(self, rows: str, by: str) -> str:
        """Take each window's value."""
        pick = "arg_max" if self.newest else "arg_min"
        place = f'{{"a": {AT}, "p": {PLACE[0]}, "o": {PLACE[1]}}}'
        return f"SELECT {by}, {pick}({VALUE}, {place}) AS y FROM {rows} GROUP BY {by}"

    def of(self, values: Sequence[object]) -> object:
        """Take the newest that is not null, or the oldest."""
        known = [value for value in values if value is not None]
        return known[-1 if self.newest else 0] if known else None


class First(_OfEnds):
    """Take the oldest value of a column, by (at, partition, offset), nulls aside; null without one.

    >>> First("x").of([None, 3, 1]), First("x").of([None])
    (3, None)
    """

    name = "first"
    newest = False


class Last(_OfEnds):
    """Take the newest value of a column, by (at, partition, offset), nulls aside; null without one.

    >>> Last("x").of([3, 1, None]), Last("x").of([None])
    (1, None)
    """

    name = "last"


class LastN(_OfEnds):
    """List the n newest values of a column, oldest first, nulls aside; null where there is none.

    Fewer where there are fewer. Ordered by (at, partition, offset).

    >>> LastN("x", Type.INT64, 2).of([3, 1, None, 7]), LastN("x", Type.INT64, 2).of([])
    ([1, 7], None)
    """

    name = "last_n"
    parameters = (Parameter("number of values", "int", "5", least=1, most=100),)

    @property
    def type(self) -> Type:
        """Give a list of the column's own type."""
        return Type.list_of(self.kind)

    @property
    def rows(self) -> Ends:
        """Give n rows of each tile."""
        return Ends(self.column, self.kind, int(self.told[0]))

    def gathered(self, rows: Gathered, at: Ints) -> Array:
        """List each window's values."""
        del at
        values = rows.values(rows.codes).tolist()
        pairs = zip(rows.starts[:-1].tolist(), rows.starts[1:].tolist(), strict=True)
        return listed([values[start:stop] for start, stop in pairs])

    def gathered_sql(self, rows: str, by: str) -> str:
        """List each window's values."""
        n = int(self.told[0])
        return f"SELECT {by}, list({VALUE} ORDER BY {_ORDER})[-{n}:] AS y FROM {rows} GROUP BY {by}"

    def of(self, values: Sequence[object]) -> list[object] | None:
        """List them."""
        return [value for value in values if value is not None][-int(self.told[0]) :] or None


class TimeSinceLast(_OfEnds):
    """Say how long ago a column last had a value: t − at, in milliseconds; null where it never had.

    >>> TimeSinceLast("x").of([90_000, 60_000])
    60000
    """

    name = "time_since_last"
    of_ages = True

    @property
    def type(self) -> Type:
        """Give int64, milliseconds."""
        return Type.INT64

    def gathered(self, rows: Gathered, at: Ints) -> Array:
        """Take the time from each window's newest row."""
        since: Ints = at - one_each(rows, rows.numbers)
        return since

    def gathered_sql(self, rows: str, by: str) -> str:
        """Take the time from each window's newest row."""
        return f'SELECT {by}, MIN("at" - {AT}) AS y FROM {rows} GROUP BY {by}'
