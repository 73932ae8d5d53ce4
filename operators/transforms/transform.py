"""What a transform is: columns in, columns out, and what it learned from the rows before.

::

    rows ──► transform ──► columns        by all that was learned; learns nothing
    rows ──► update                       learns; gives nothing
    rows ──► advance  ──► columns         each row by what came before it, then learned: no leak

What is learned is a function of the rows, not of the batches that they came in. It goes to a
snapshot as named arrays and as facts that JSON can say, and comes back to the bit.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, ClassVar, Self, TypeAlias

import pyarrow as pa
from numpy.typing import NDArray

from headrace.operators.errors import Gap, GapError, HeadraceError
from headrace.operators.expression import Expression
from headrace.operators.types import Type

__all__ = [
    "ENGINES",
    "ColumnTransform",
    "Rows",
    "Sees",
    "State",
    "Transform",
    "TransformError",
    "only_in_process",
]

Rows: TypeAlias = pa.Table | pa.RecordBatch
ENGINES = ("in_process", "duckdb", "flink")
_NO_GAPS: Mapping[str, Gap] = MappingProxyType({})


def only_in_process(gap: Gap) -> Mapping[str, Gap]:
    """Give the gap of every engine but the one in process."""
    return MappingProxyType(dict.fromkeys(ENGINES[1:], gap))


class TransformError(HeadraceError):
    """A transform that is not possible, or rows that it does not take.

    >>> print(TransformError("asked to scale 'x'", "row 3 is not a number (NaN)", "write null"))
    asked to scale 'x'; row 3 is not a number (NaN); write null
    """


@dataclass(frozen=True, slots=True)
class State:
    """What a transform is and has learned: arrays, and facts that JSON can say."""

    arrays: Mapping[str, NDArray[Any]]
    facts: Mapping[str, Any]


class Sees(enum.Enum):
    """Which rows the value of a row depends on, where rows are advanced through."""

    ITSELF = "itself"
    """Nothing is learned."""
    ROWS = "rows before it"
    """All that came before it in the log, and not itself."""
    STEPS = "steps before its own"
    """What came before the step of event time that it is in, and so not itself."""


@dataclass(eq=False)
class Transform(ABC):
    """One transform: its declaration, in the fields, and what it has learned so far.

    Nothing is changed by an error of `update` or `advance`.
    """

    name: ClassVar[str]
    takes: ClassVar[tuple[Type, ...]]
    sees: ClassVar[Sees]
    ordered: ClassVar[bool] = False
    """Whether the order of the rows is part of what is learned; else any order gives the same."""
    gaps: ClassVar[Mapping[str, Gap]] = _NO_GAPS
    """Per engine: why what was learned cannot be printed for it as an expression of one row."""

    @property
    @abstractmethod
    def inputs(self) -> Mapping[str, Type]:
        """Give the columns it reads, and their types."""

    @property
    @abstractmethod
    def outputs(self) -> Mapping[str, Type]:
        """Give the columns it makes, and their types."""

    @abstractmethod
    def update(self, rows: Rows) -> None:
        """Learn from rows."""

    @abstractmethod
    def transform(self, rows: Rows) -> pa.RecordBatch:
        """Give the output columns by all that was learned; learn nothing."""

    @abstractmethod
    def advance(self, rows: Rows) -> pa.RecordBatch:
        """Give each row's output by what came before it (see `sees`), and learn from all rows.

        The outputs, as what is learned, are the same however the rows are cut into batches.
        """

    @abstractmethod
    def merge(self, later: Self) -> None:
        """Learn all that `later`, of the same declaration, has learned from other rows.

        Where the order matters these come after one's own.
        """

    @abstractmethod
    def _arrays(self) -> dict[str, NDArray[Any]]:
        """Give what was learned as arrays, in an order that does not depend on batches."""

    @abstractmethod
    def _facts(self) -> dict[str, Any]:
        """Give what was learned as facts."""

    @abstractmethod
    def _restore(self, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> None:
        """Take what `_arrays` and `_facts` gave."""

    def state(self) -> State:
        """Give all that is learned, with what it is of."""
        return State(self._arrays(), {"declared": self.declared(), **self._facts()})

    def restore(self, state: State) -> None:
        """Go on from a state.

        Raises
        ------
        TransformError
            Where the state is of another declaration.
        """
        found = state.facts["declared"]
        if found != self.declared():
            asked = f"asked {self.name} to go on as {self.declared()}"
            raise TransformError(asked, f"the state is of {found}", "learn anew, or declare that")
        self._restore(state.arrays, state.facts)

    def declared(self) -> dict[str, Any]:
        """Give the declaration as JSON can say it."""
        mine = {each.name: _plain(getattr(self, each.name)) for each in fields(self) if each.init}
        return {"transform": self.name, **mine}

    def expressions(self) -> Mapping[str, Expression]:
        """Give what is learned now as expressions of one row, one for each output."""
        raise NotImplementedError(self.name)

    def sql(self, engine: str) -> dict[str, str]:
        """Print what is learned now as SQL over the input columns, for each output.

        Raises
        ------
        GapError
            Where `gaps` says that there is no such expression.
        """
        if engine in self.gaps:
            raise GapError(self.name, engine, self.gaps[engine], do="transform in process")
        return {name: tree.sql(engine) for name, tree in self.expressions().items()}


def _plain(value: object) -> object:
    if isinstance(value, Type):
        return value.value
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


@dataclass(eq=False)
class ColumnTransform(Transform):
    """A transform of one column.

    Parameters
    ----------
    column, kind
        The column and its type.
    out
        The name of what it makes; `<column>_<transform>` where it is not given.
    """

    column: str
    kind: Type
    out: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        self.out = self.out or f"{self.column}_{self.name}"
        if self.kind not in self.takes:
            known = " or ".join(kind.value for kind in self.takes)
            found = f"it is a {self.kind.value}"
            raise TransformError(self.asked, found, f"give a column of type {known}")

    @property
    def asked(self) -> str:
        """Say what was asked, for errors."""
        return f"asked for {self.name} of {self.column!r}"

    def refuse_unless(self, holds: bool, found: str, do: str) -> None:
        """Raise a TransformError unless a setting holds."""
        if not holds:
            raise TransformError(self.asked, found, do)

    @property
    def inputs(self) -> Mapping[str, Type]:
        """Give the column."""
        return {self.column: self.kind}
