"""Columns with another type."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.operators.expression import Expression
from headrace.operators.streams.derive import Derive

__all__ = ["Cast"]


@dataclass(frozen=True)
class Cast(Derive):
    """Give columns another type: each takes the place of the one it is made of.

    A row whose value the new type cannot hold is a dead letter. Null stays null.

    >>> from headrace.operators.event import Event
    >>> from headrace.operators.expression import parse
    >>> from headrace.operators.types import Type
    >>> wide = parse("CAST(x AS DOUBLE)", {"x": Type.INT64})
    >>> [row.values for row in Cast({"x": wide}).of([Event(0, 0, {"at": 1, "x": 4})])]
    [{'at': 1, 'x': 4.0}]
    """

    name = "cast"

    def checks(self) -> dict[str, Expression]:
        """Give the casts."""
        return {f"cast {name}": tree for name, tree in self.columns.items()}
