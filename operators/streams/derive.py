"""New columns, computed from each row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headrace.operators.computed import columns_of
from headrace.operators.event import Event
from headrace.operators.expression import Expression
from headrace.operators.streams.operator import Dialect, Step, Types, with_values
from headrace.operators.types import Type

__all__ = ["Derive"]


@dataclass(frozen=True)
class Derive(Step):
    """Add columns, each an expression over the columns given, not over one another.

    A row for which a number in one of them leaves its type is a dead letter.

    >>> from headrace.operators.expression import parse
    >>> double = Derive({"y": parse("x * 2", {"x": Type.INT64})})
    >>> [row.values for row in double.of([Event(0, 0, {"at": 1, "x": 4})])]
    [{'at': 1, 'x': 4, 'y': 8}]
    """

    name = "derive"
    columns: Mapping[str, Expression]

    def types(self, given: Types) -> dict[str, Type]:
        """Give the columns and the new ones; one of a name that is there takes its place."""
        return {**given, **{name: tree.type for name, tree in self.columns.items()}}

    def sql(self, rows: str, given: Types, dialect: Dialect) -> str:
        """Print the expressions beside the columns."""
        kept = {name: kind for name, kind in given.items() if name not in self.columns}
        new = [
            f"{tree.sql(dialect.engine)} AS {dialect.quote(name)}"
            for name, tree in self.columns.items()
        ]
        return f"SELECT {', '.join([dialect.columns(kept), *new])} FROM {rows}"

    def of(self, rows: Sequence[Event]) -> list[Event]:
        """Compute each row's."""
        return [
            with_values(row, {name: tree.of(row.values) for name, tree in self.columns.items()})
            for row in rows
        ]

    def made_of(self) -> dict[str, set[str]]:
        """Name what the expressions read."""
        return {name: set(columns_of(tree)) for name, tree in self.columns.items()}

    def checks(self) -> dict[str, Expression]:
        """Give the expressions."""
        return {f"column {name}": tree for name, tree in self.columns.items()}
