"""The rows that are scored: predictions with their labels, in columns, checked once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.operators.errors import HeadraceError, UnknownName
from headrace.operators.evaluation.logarithm import ln
from headrace.operators.evaluation.sums import ONE, fixed

__all__ = ["CLIP", "Column", "EvaluationError", "Name", "Rows", "grouped", "numbers"]

CLIP = 1e-7
"""Log loss and AUC take a probability as no nearer than this to 0 or 1."""

Column: TypeAlias = "NDArray[Any] | Sequence[object] | pa.Array | pa.ChunkedArray"
"""A column, as it may be given: None and Arrow's nulls are nulls, NaN is not."""

Name = str | int | None
"""What a group or a slice is called: a value of its column."""

_HEAVIEST = float(1 << 28)


class EvaluationError(HeadraceError):
    """Something was asked to be scored that cannot be.

    >>> print(EvaluationError("asked to score predictions", "a label is neither 0 nor 1",
    ...                       "mend the labels"))
    asked to score predictions; a label is neither 0 nor 1; mend the labels
    """


@dataclass(frozen=True)
class Rows:
    """Predictions `p` with their labels `y`, and what else there is of each; made by `of`.

    Parameters
    ----------
    p
        What was predicted: a probability, or a number.
    y
        What came: 0.0 or 1.0, or a number.
    units
        The weight of each, in units of 2^−24.
    at
        Its event time in ms.
    columns
        What rows are grouped and sliced by, per name.
    """

    p: NDArray[np.float64]
    y: NDArray[np.float64]
    units: NDArray[np.int64]
    at: NDArray[np.int64] | None = None
    columns: Mapping[str, pa.Array] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        p: Column,
        y: Column,
        *,
        weight: Column | None = None,
        at: Column | None = None,
        columns: Mapping[str, Column] | None = None,
    ) -> Rows:
        """Take columns of equal length; a row without p, y or weight is skipped.

        Raises
        ------
        EvaluationError
            Where lengths differ, or a number is none: p and y are finite, weights are 0 to 2^28.

        Examples
        --------
        >>> rows = Rows.of([0.9, 0.2], [1, None], at=[5, 7])
        >>> rows.p.tolist(), rows.y.tolist(), rows.at.tolist()
        ([0.9], [1.0], [5])
        """
        given = {"p": p, "y": y} | ({} if weight is None else {"weight": weight})
        read = {name: numbers(name, column) for name, column in given.items()}
        others = {name: _arrow(column) for name, column in (columns or {}).items()}
        times = None if at is None else np.asarray(at, np.int64)
        lengths = {name: len(values) for name, (values, _) in read.items()}
        lengths |= {name: len(column) for name, column in others.items()}
        lengths |= {} if times is None else {"at": len(times)}
        if len(set(lengths.values())) != 1:
            raise EvaluationError(_ASKED, f"columns of {lengths} rows", "give one for each row")
        for name, (values, _) in read.items():
            if not np.isfinite(values).all():
                found, do = f"a {name!r} is no finite number", "mend it, or make it null"
                raise EvaluationError(_ASKED, found, do)
        units = _units(read["weight"][0] if weight is not None else None, len(read["p"][0]))
        rows = cls(read["p"][0], read["y"][0], units, times, others)
        nulls = [null for _, null in read.values() if null is not None]
        return rows.take(np.flatnonzero(~np.logical_or.reduce(nulls))) if nulls else rows

    def __len__(self) -> int:
        return len(self.p)

    def take(self, places: NDArray[np.int64]) -> Rows:
        """Take some of the rows, in the order given."""
        columns = {name: column.take(pa.array(places)) for name, column in self.columns.items()}
        at = None if self.at is None else self.at[places]
        return Rows(self.p[places], self.y[places], self.units[places], at, columns)

    def predicted(self, p: NDArray[np.float64]) -> Rows:
        """Give the same rows as another would have predicted them."""
        return Rows(p, self.y, self.units, self.at, self.columns)

    def column(self, name: str) -> pa.Array:
        """Give the column that rows are grouped or sliced by."""
        if name not in self.columns:
            raise UnknownName(kind="column", name=name, known=self.columns)
        return self.columns[name]

    @cached_property
    def weight(self) -> NDArray[np.float64]:
        """Give the weights as numbers; exact, and 1.0 where none were given."""
        return self.units / float(ONE)

    @cached_property
    def ln(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Give the logarithms of p and of 1 − p, with p clipped."""
        clipped = np.maximum(np.minimum(self.p, 1.0 - CLIP), CLIP)
        return ln(clipped), ln(1.0 - clipped)

    @cached_property
    def binary(self) -> bool:
        """Say that p are probabilities and y are 0 or 1.

        Raises
        ------
        EvaluationError
            Where they are not.
        """
        if not ((self.p >= 0) & (self.p <= 1)).all():
            found, do = "a probability is not in [0, 1]", "mend what predicts"
            raise EvaluationError(_ASKED, found, do)
        if not ((self.y == 0) | (self.y == 1)).all():
            raise EvaluationError(_ASKED, "a label is neither 0 nor 1", "mend the labels")
        return True


_ASKED = "asked to score predictions"


def grouped(column: pa.Array) -> tuple[list[Name], NDArray[np.int64]]:
    """Give the values of a column, each once, and for each row the place of its own.

    >>> names, codes = grouped(pa.array(["b", "a", None, "b"]))
    >>> names, codes.tolist()
    (['b', 'a', None], [0, 1, 2, 0])
    """
    kind = column.type
    right = pa.types.is_string(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)
    if not right and not pa.types.is_null(kind):
        asked, found = "asked to group rows", f"the column is of {kind}"
        raise EvaluationError(asked, found, "group by strings, whole numbers or truths")
    encoded = column.dictionary_encode(null_encoding="encode")
    codes: NDArray[np.int64] = encoded.indices.to_numpy().astype(np.int64)
    return encoded.dictionary.to_pylist(), codes


def numbers(name: str, given: Column) -> tuple[NDArray[np.float64], NDArray[np.bool_] | None]:
    """Give a column's numbers, 0.0 for a null, and which are null; None where none is.

    >>> numbers("p", [0.5, None])[0].tolist()
    [0.5, 0.0]
    """
    if isinstance(given, np.ndarray) and given.dtype == np.float64 and given.ndim == 1:
        return given, None
    column = _arrow(given)
    try:
        cast = column.cast(pa.float64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise EvaluationError(_ASKED, f"the {name!r} are {column.type}", "give numbers") from error
    nulls: NDArray[np.bool_] = cast.is_null().to_numpy(zero_copy_only=False)
    return cast.fill_null(0.0).to_numpy(), nulls if nulls.any() else None


def _arrow(given: Column) -> pa.Array:
    if isinstance(given, pa.ChunkedArray):
        return given.combine_chunks()
    try:
        return given if isinstance(given, pa.Array) else pa.array(given)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise EvaluationError(_ASKED, str(error), "give columns of one type") from error


def _units(weight: NDArray[np.float64] | None, length: int) -> NDArray[np.int64]:
    if weight is None:
        return np.full(length, ONE, np.int64)
    if not ((weight >= 0) & (weight <= _HEAVIEST)).all():
        found = "a weight is below 0 or above 2^28"
        raise EvaluationError(_ASKED, found, "scale the weights")
    return fixed(weight)
