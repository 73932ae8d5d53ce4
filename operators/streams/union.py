"""The rows of several streams as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.operators.errors import HeadraceError
from headrace.operators.event import Event
from headrace.operators.source import AT, PLACE
from headrace.operators.streams.operator import Dialect, Operator, Types, only
from headrace.operators.types import Type

__all__ = ["MOST_INPUTS", "Union", "UnionError"]

_ASKED = "asked for a union"
MOST_INPUTS = 64
"""Of a union and of those that it is made of: a place has five digits for the partition."""


class UnionError(HeadraceError):
    """Streams that cannot be one."""


@dataclass(frozen=True)
class Union(Operator):
    """Give the rows of every input, with the columns that all of them have.

    Partition p of input i of n becomes partition p · n + i: so places stay different, and do not
    change when a topic is given more partitions. Each row keeps its time and offset.

    >>> rows = [Event(1, 7, {"at": 1, "x": 4})], [Event(1, 7, {"at": 1, "x": 5, "y": 6})]
    >>> types = {"at": Type.INT64, "x": Type.INT64}
    >>> [(row.partition, row.values) for row in Union().of(rows, types)]
    [(2, {'at': 1, 'x': 4}), (3, {'at': 1, 'x': 5})]
    """

    name = "union"

    def types(self, given: Sequence[Types]) -> dict[str, Type]:
        """Give the columns that all have; a UnionError where one has two types, or there is none.

        >>> Union().types([{"at": Type.INT64, "x": Type.INT64}, {"at": Type.INT64}])
        Traceback (most recent call last):
        ...
        headrace.operators.streams.union.UnionError: asked for a union; its parts have no column ...
        """
        common = {
            name: kind for name, kind in given[0].items() if all(name in each for each in given)
        }
        for name, kind in common.items():
            other = next((each[name] for each in given if each[name] is not kind), kind)
            if other is not kind:
                found = f"the column {name!r} is {kind.value} in one part, {other.value} in another"
                raise UnionError(_ASKED, found, "cast it in a stream of its own")
        if set(common) == {AT}:
            found = "its parts have no column of one name"
            raise UnionError(_ASKED, found, "derive columns of equal names")
        return common

    def sql(self, rows: Sequence[str], types: Types, dialect: Dialect) -> str:
        """Print it over the relations `rows`."""
        place = f"{dialect.quote(PLACE[0])} * {len(rows)}"
        return " UNION ALL ".join(
            f"SELECT {dialect.columns(types, partition=f'{place} + {i}')} FROM {each}"
            for i, each in enumerate(rows)
        )

    def of(self, rows: Sequence[Sequence[Event]], types: Types) -> list[Event]:
        """Give the rows, in their total order."""
        placed = [
            Event(row.partition * len(rows) + i, row.offset, only(row, tuple(types)).values)
            for i, each in enumerate(rows)
            for row in each
        ]
        return sorted(placed, key=lambda row: row.order)
