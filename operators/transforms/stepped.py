"""Transforms of numbers by a few parameters, which change only where a step of event time ends.

::

    rows of steps ≤ s ──► what is learned ──fit, as step s + 1 begins──► parameters ──► its rows
"""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.operators.expression import Expression, Literal, parse
from headrace.operators.functions import Value
from headrace.operators.transforms.columns import Numbers, batch, in_order, numbers, scale
from headrace.operators.transforms.transform import ColumnTransform, Rows, Sees
from headrace.operators.types import Type

__all__ = ["Array", "Fit", "Scaling", "Stepped"]

Array = NDArray[np.generic]
Fit = tuple[Value, ...]
"""Parameters; none where nothing was learned."""


@dataclass(eq=False)
class Stepped(ColumnTransform):
    """A transform whose values at t come from the rows with at < ⌊t / every⌋ · every.

    Parameters
    ----------
    at
        The column of the event time, which `advance` needs.
    every_ms
        The step, in ms.
    """

    sees: ClassVar[Sees] = Sees.STEPS

    at: str = field(default="at", kw_only=True)
    every_ms: int = field(default=1000, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.refuse_unless(self.every_ms > 0, f"its step is {self.every_ms} ms", "give one above 0")
        self._step: int | None = None
        self._newest: int | None = None
        self._fit: Fit = ()

    @abstractmethod
    def fit(self) -> Fit:
        """Compute the parameters from all that was learned."""

    @abstractmethod
    def _read(self, rows: Rows) -> Any:
        """Read the column, refuse what is no value, and give what can be cut by slices."""

    @abstractmethod
    def _learn(self, given: Any) -> None:
        """Learn from what was read."""

    @abstractmethod
    def _apply(self, given: Any, fit: Fit) -> pa.RecordBatch:
        """Compute the outputs."""

    def update(self, rows: Rows) -> None:
        """Learn from rows, in any order."""
        self._learn(self._read(rows))

    def transform(self, rows: Rows) -> pa.RecordBatch:
        """Give the values by all that was learned."""
        return self._apply(self._read(rows), self.fit())

    def advance(self, rows: Rows) -> pa.RecordBatch:
        """Give each row's value by what came before its step, and learn from the rows."""
        given = self._read(rows)
        at = in_order(rows, self.at, self._newest)
        done = []
        for step, run in _runs(at // self.every_ms):
            if step != self._step:
                self._step, self._fit = step, self.fit()
            done.append(self._apply(given[run], self._fit))
            self._learn(given[run])
        if not done:
            return self._apply(given, self._fit)
        self._newest = int(at[-1])
        return pa.Table.from_batches(done).combine_chunks().to_batches()[0]

    def _merge_steps(self) -> None:
        """Forget the step: the next row's begins with all that both have learned."""
        self._step, self._newest, self._fit = None, None, ()

    def _facts(self) -> dict[str, Any]:
        return {"step": self._step, "newest": self._newest, "fit": list(self._fit)}

    def _restore(self, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> None:
        del arrays
        self._step, self._newest = facts["step"], facts["newest"]
        self._fit = tuple(facts["fit"])


def _runs(steps: NDArray[np.int64]) -> Iterator[tuple[int, slice]]:
    edges = [0, *(np.flatnonzero(np.diff(steps)) + 1).tolist(), len(steps)]
    for start, stop in itertools.pairwise(edges):
        if start < stop:
            yield int(steps[start]), slice(start, stop)


@dataclass(eq=False)
class Scaling(Stepped):
    """A transform of a number into a number: null for null, and where nothing was learned."""

    takes = (Type.INT64, Type.FLOAT64)
    makes: ClassVar[Type] = Type.FLOAT64

    @property
    def outputs(self) -> Mapping[str, Type]:
        """Give one number."""
        return {self.out: self.makes}

    @abstractmethod
    def learn(self, units: NDArray[np.int64]) -> None:
        """Learn from numbers, in units (see `Numbers`)."""

    @abstractmethod
    def values(self, given: Numbers, fit: Fit) -> Array:
        """Compute the values; what is not known is passed over."""

    def text(self, fit: Fit) -> str:
        """Write the same as an expression, over ``{x}``; null where x is."""
        raise NotImplementedError(self.name)

    @property
    def scale(self) -> int:
        """Give how many units are 1."""
        return scale(self.kind)

    def expressions(self) -> Mapping[str, Expression]:
        """Write what is learned now."""
        fit = self.fit()
        if not fit:
            return {self.out: Literal(None, self.makes)}
        return {self.out: parse(self.text(fit).format(x=f'"{self.column}"'), self.inputs)}

    def _read(self, rows: Rows) -> Numbers:
        return numbers(rows, self.column, self.kind)

    def _learn(self, given: Numbers) -> None:
        self.learn(given.units if given.known.all() else given.units[given.known])

    def _apply(self, given: Numbers, fit: Fit) -> pa.RecordBatch:
        if not fit:
            return batch(self.outputs, pa.nulls(len(given), self.makes.arrow))
        return batch(self.outputs, (self.values(given, fit), given.known))
