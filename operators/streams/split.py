"""One stream into several: each row goes to the first whose condition holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headrace.operators.event import Event
from headrace.operators.expression import Expression
from headrace.operators.streams.operator import Dialect, Step, Types
from headrace.operators.types import Type

__all__ = ["Part", "Split"]


@dataclass(frozen=True)
class Split(Step):
    """Give every row, to be parted by `conditions`; a `Part` of them each is a stream.

    A row for which a number in any condition leaves its type is a dead letter, once, and in no
    part.

    >>> from headrace.operators.expression import parse
    >>> types = {"x": Type.INT64}
    >>> split = Split({"big": parse("x > 100", types), "some": parse("x > 10", types), "few": None})
    >>> rows = [Event(0, n, {"at": 0, "x": x}) for n, x in enumerate((5, 500, None, 11))]
    >>> {name: [row.values["x"] for row in Part(split, name).of(rows)] for name in split.conditions}
    {'big': [500], 'some': [11], 'few': [5, None]}
    """

    name = "split"
    conditions: Mapping[str, Expression | None]
    """By the name of the part, in their order; None is all the rest."""

    def types(self, given: Types) -> dict[str, Type]:
        """Give the same columns."""
        return dict(given)

    def sql(self, rows: str, given: Types, dialect: Dialect) -> str:
        """Print all the rows."""
        return f"SELECT {dialect.columns(given)} FROM {rows}"

    def of(self, rows: Sequence[Event]) -> list[Event]:
        """Give all the rows."""
        return list(rows)

    def checks(self) -> dict[str, Expression]:
        """Give the conditions."""
        known = ((name, tree) for name, tree in self.conditions.items() if tree is not None)
        return {f"split {name}": tree for name, tree in known}


@dataclass(frozen=True)
class Part(Step):
    """Keep the rows that go to one part of a `Split`: no condition before its own holds."""

    name = "split"
    split: Split
    part: str

    def types(self, given: Types) -> dict[str, Type]:
        """Give the same columns."""
        return dict(given)

    def sql(self, rows: str, given: Types, dialect: Dialect) -> str:
        """Print a filter."""
        kept = []
        for name, tree in self.split.conditions.items():
            condition = "TRUE" if tree is None else tree.sql(dialect.engine)
            if name == self.part:
                kept.append(f"({condition}) IS TRUE")
                break
            kept.append(f"({condition}) IS NOT TRUE")
        return f"SELECT {dialect.columns(given)} FROM {rows} WHERE {' AND '.join(kept)}"

    def of(self, rows: Sequence[Event]) -> list[Event]:
        """Keep what goes here."""
        return [row for row in rows if self._goes(row) == self.part]

    def _goes(self, row: Event) -> str | None:
        for name, tree in self.split.conditions.items():
            if tree is None or tree.of(row.values) is True:
                return name
        return None
