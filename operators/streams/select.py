"""Some of the columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.operators.event import Event
from headrace.operators.source import AT
from headrace.operators.streams.operator import Dialect, Step, Types, only
from headrace.operators.types import Type

__all__ = ["Select"]


@dataclass(frozen=True)
class Select(Step):
    """Keep the columns `names`, and `at`; every row stays, though all that is left of it be null.

    >>> rows = [Event(0, 0, {"at": 1, "x": 4, "y": 5})]
    >>> [row.values for row in Select(("y",)).of(rows)]
    [{'at': 1, 'y': 5}]
    """

    name = "select"
    names: tuple[str, ...]

    def types(self, given: Types) -> dict[str, Type]:
        """Give the columns kept."""
        return {AT: given[AT], **{name: given[name] for name in self.names}}

    def sql(self, rows: str, given: Types, dialect: Dialect) -> str:
        """Print the columns."""
        return f"SELECT {dialect.columns(self.types(given))} FROM {rows}"

    def of(self, rows: Sequence[Event]) -> list[Event]:
        """Keep the columns."""
        return [only(row, self.names) for row in rows]
