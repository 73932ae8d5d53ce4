"""What a stream operator is: types, a query in an engine's dialect, and the meaning in process.

::

    rows ─► [ where │ derive │ dedup │ sample │ session │ … ] ─► rows, each in its place

An operator never changes a row's place (at, partition, offset), so the rows that it gives have the
one total order of the rows that it was given.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from headrace.operators.errors import Gap
from headrace.operators.event import Event
from headrace.operators.expression import Expression
from headrace.operators.functions import Value
from headrace.operators.source import AT, PLACE
from headrace.operators.types import Type

__all__ = ["Dialect", "Operator", "Step", "Types", "only", "with_values"]

Types = Mapping[str, Type]
"""The columns of rows, `at` among them."""


class Dialect(ABC):
    """How an engine says what operators need; one for each engine, beside it."""

    engine: ClassVar[Literal["duckdb", "flink"]]
    carried: ClassVar[tuple[str, ...]]
    """The columns besides the declared ones that every relation of rows has."""
    place: ClassVar[str]
    """An expression of a row's place; one that is less comes before."""

    @abstractmethod
    def quote(self, name: str) -> str:
        """Quote an identifier."""

    @abstractmethod
    def relation(self, name: str) -> str:
        """Name the relation, quoted, of the rows of a source or a stream."""

    @abstractmethod
    def since(self, keys: Sequence[str], before_ms: int | None) -> str:
        """Print the window of the rows of equal `keys` from `before_ms` before a row up to it.

        Those of its own time are all in it. `before_ms` None is the beginning.
        """

    def columns(self, types: Types, *, partition: str = "") -> str:
        """List a relation's columns, `partition` instead of the one that rows have."""
        names = dict.fromkeys((*self.carried, *types))
        return ", ".join(
            f"{partition} AS {self.quote(name)}"
            if partition and name == PLACE[0]
            else self.quote(name)
            for name in names
        )


class Operator(ABC):
    """One of the catalogue: its name, and what engines lack of it."""

    name: ClassVar[str]
    gaps: ClassVar[Mapping[str, Gap]] = {}


class Step(Operator):
    """An operator that makes rows of the rows of one stream."""

    remembers: ClassVar[bool] = False
    """Whether a row is made of rows before it, too."""

    @abstractmethod
    def types(self, given: Types) -> dict[str, Type]:
        """Give the columns of the rows that it makes."""

    @abstractmethod
    def sql(self, rows: str, given: Types, dialect: Dialect) -> str:
        """Print it as a query over the relation `rows`, whose columns are `given`."""

    @abstractmethod
    def of(self, rows: Sequence[Event]) -> list[Event]:
        """Make the rows: the definition, never tuned. They are given in their total order."""

    def made_of(self) -> dict[str, set[str]]:
        """Name the columns that each column that it makes is made of; the others it only passes."""
        return {}

    def checks(self) -> dict[str, Expression]:
        """Give what it computes, each by what a row is refused for where it leaves its type."""
        return {}


def only(row: Event, names: Sequence[str]) -> Event:
    """Give a row with `at` and the columns of `names` alone."""
    kept = {name: value for name, value in row.values.items() if name == AT or name in names}
    return Event(row.partition, row.offset, kept)


def with_values(row: Event, values: Mapping[str, Value]) -> Event:
    """Give a row with more values, or others."""
    return Event(row.partition, row.offset, {**row.values, **values})
