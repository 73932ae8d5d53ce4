"""What features compute of a stream's rows for themselves: its last step, where there is any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headrace.operators.event import Event
from headrace.operators.expression import Expression
from headrace.operators.source import Hidden
from headrace.operators.streams.derive import Derive
from headrace.operators.streams.operator import Dialect, Step, Types
from headrace.operators.types import Type

__all__ = ["Hide"]


@dataclass(frozen=True)
class Hide(Step):
    """Add the hidden columns; nobody writes it."""

    columns: Mapping[str, Hidden]

    @property
    def _derive(self) -> Derive:
        return Derive({name: each.expression for name, each in self.columns.items()})

    def types(self, given: Types) -> dict[str, Type]:
        """Give the columns and the hidden ones."""
        return self._derive.types(given)

    def sql(self, rows: str, given: Types, dialect: Dialect) -> str:
        """Print the expressions beside the columns."""
        return self._derive.sql(rows, given, dialect)

    def of(self, rows: Sequence[Event]) -> list[Event]:
        """Compute each row's."""
        return self._derive.of(rows)

    def made_of(self) -> dict[str, set[str]]:
        """Name what the expressions read."""
        return self._derive.made_of()

    def checks(self) -> dict[str, Expression]:
        """Give the expressions, by the features that they are of."""
        return {
            f"feature {', '.join(each.features)}": each.expression for each in self.columns.values()
        }
