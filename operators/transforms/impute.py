"""Nulls filled with what is usual, and a mark where they were."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.operators.expression import Expression, parse
from headrace.operators.functions import Value
from headrace.operators.transforms.columns import Numbers, batch, column, known, numbers
from headrace.operators.transforms.frequency import Frequency
from headrace.operators.transforms.robust import Robust
from headrace.operators.transforms.standard import Standard
from headrace.operators.transforms.stepped import Fit, Scaling, Stepped
from headrace.operators.transforms.transform import Rows
from headrace.operators.types import Type

__all__ = ["Impute"]

_KINDS: Mapping[str, tuple[Type, ...]] = {
    "mean": (Type.INT64, Type.FLOAT64),
    "median": (Type.INT64, Type.FLOAT64),
    "most_frequent": (Type.STRING, Type.INT64, Type.BOOL),
    "constant": (Type.STRING, Type.INT64, Type.FLOAT64, Type.BOOL),
}


@dataclass(eq=False)
class Impute(Stepped):
    """Give the value, or what was learned where it is null; and whether it was null.

    Where nothing but nulls was learned, null stays null. Of equally frequent values the least is
    taken. The mean is exact, the median within 0.79 % (see `Robust`).

    Parameters
    ----------
    by
        `mean` or `median`, of numbers and as float64; `most_frequent`, but not of float64; or
        `constant`.
    value
        The constant.

    Examples
    --------
    >>> impute = Impute("x", Type.INT64, by="mean")
    >>> impute.update(pa.table({"x": [1, None, 4]}))
    >>> impute.transform(pa.table({"x": [7, None]})).to_pydict()
    {'x_impute': [7.0, 2.5], 'x_impute_missing': [False, True]}
    """

    name = "impute"
    takes = _KINDS["constant"]

    by: str = field(default="mean", kw_only=True)
    value: Value = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        found = f"it is by {self.by!r}"
        self.refuse_unless(self.by in _KINDS, found, f"use {', '.join(_KINDS)}")
        found = f"it is of a {self.kind.value}"
        known = " or ".join(kind.value for kind in _KINDS[self.by])
        self.refuse_unless(self.kind in _KINDS[self.by], found, f"by {self.by} takes {known}")
        fits, do = self.value is None, "give none"
        if self.by == "constant":
            fits, do = _fits(self.value, self.kind), f"give one of type {self.kind.value}"
        self.refuse_unless(fits, f"its constant is {self.value!r}", do)
        column = self.column, self.kind
        self._scaling: Scaling | None = None
        if self.by in ("mean", "median"):
            self._scaling = (Standard if self.by == "mean" else Robust)(*column)
        self._counts = Frequency(*column) if self.by == "most_frequent" else None

    @property
    def makes(self) -> Type:
        """Give the type of what is filled."""
        return self.kind if self._scaling is None else Type.FLOAT64

    @property
    def outputs(self) -> Mapping[str, Type]:
        """Give the value and the mark."""
        return {self.out: self.makes, f"{self.out}_missing": Type.BOOL}

    def fit(self) -> Fit:
        """Give what fills."""
        if self._scaling is not None:
            return self._scaling.fit()[:1]
        filling = self.value if self._counts is None else self._counts.most_frequent()
        if isinstance(filling, float):
            filling += 0.0  # of −0.0, 0.0
        return () if filling is None else (filling,)

    def _read(self, rows: Rows) -> Numbers | pa.Array:
        if self.makes is Type.FLOAT64:
            return numbers(rows, self.column, self.kind)
        return column(rows, self.column, self.kind)

    def _learn(self, given: Numbers | pa.Array) -> None:
        if self._scaling is not None:
            self._scaling.learn(given.units[given.known])
        elif self._counts is not None:
            self._counts.count(given)

    def _apply(self, given: Numbers | pa.Array, fit: Fit) -> pa.RecordBatch:
        if isinstance(given, Numbers):
            values = np.where(given.known, given.values, np.array(fit)) if fit else given.values
            filled = values, given.known | bool(fit)
            return batch(self.outputs, filled, ~given.known)
        whole = given.fill_null(pa.scalar(fit[0], self.kind.arrow)) if fit else given
        return batch(self.outputs, whole, ~known(given))

    def expressions(self) -> Mapping[str, Expression]:
        """Write what is learned now."""
        fit, x = self.fit(), f'"{self.column}"'
        wide = f"{x} + 0.0" if self.makes is not self.kind else x
        text = f"COALESCE({x}, {_text(fit[0])})" if fit else wide
        texts = text, f"{x} IS NULL"
        return {
            name: parse(text, self.inputs) for name, text in zip(self.outputs, texts, strict=True)
        }

    def merge(self, later: Self) -> None:
        """Merge what was learned."""
        if self._scaling is not None and later._scaling is not None:
            self._scaling.merge(later._scaling)
        if self._counts is not None and later._counts is not None:
            self._counts.merge(later._counts)
        self._merge_steps()

    def _arrays(self) -> dict[str, NDArray[Any]]:
        inner = self._scaling or self._counts
        return inner._arrays() if inner else {}

    def _facts(self) -> dict[str, Any]:
        inner = self._scaling or self._counts
        return {**(inner._facts() if inner else {}), **super()._facts()}

    def _restore(self, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> None:
        super()._restore(arrays, facts)
        inner = self._scaling or self._counts
        if inner:
            inner._restore(arrays, facts)


def _fits(value: Value, kind: Type) -> bool:
    if isinstance(value, float):
        return kind is Type.FLOAT64 and math.isfinite(value)
    if type(value) is int:
        return kind is Type.INT64 and -(2**63) <= value < 2**63
    return type(value) is {Type.STRING: str, Type.BOOL: bool}.get(kind)


def _text(value: Value) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return f"({value!r})" if not isinstance(value, bool) else str(value).upper()
