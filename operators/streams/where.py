"""The rows for which a condition holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.operators.event import Event
from headrace.operators.expression import Expression
from headrace.operators.streams.operator import Dialect, Step, Types
from headrace.operators.types import Type

__all__ = ["Where"]


@dataclass(frozen=True)
class Where(Step):
    """Keep the rows for which `condition` is true; where it is false or null a row is dropped.

    A row for which a number in it leaves its type is a dead letter.

    >>> from headrace.operators.expression import parse
    >>> rows = [Event(0, n, {"at": n, "x": x}) for n, x in enumerate((14, 15, None))]
    >>> [row.offset for row in Where(parse("x >= 15", {"x": Type.INT64})).of(rows)]
    [1]
    """

    name = "where"
    condition: Expression

    def types(self, given: Types) -> dict[str, Type]:
        """Give the same columns."""
        return dict(given)

    def sql(self, rows: str, given: Types, dialect: Dialect) -> str:
        """Print a filter."""
        condition = self.condition.sql(dialect.engine)
        return f"SELECT {dialect.columns(given)} FROM {rows} WHERE {condition}"

    def of(self, rows: Sequence[Event]) -> list[Event]:
        """Keep what is true."""
        return [row for row in rows if self.condition.of(row.values) is True]

    def checks(self) -> dict[str, Expression]:
        """Give the condition."""
        return {"where": self.condition}
