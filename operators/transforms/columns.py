"""The door: columns of Arrow become arrays, and what has no meaning is refused with its row.

A float64 must be a finite number of at most 9.2e12 in magnitude, which fixed point can hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.operators.aggregates.aggregate import SCALE
from headrace.operators.errors import UnknownName
from headrace.operators.hashing import whole_array
from headrace.operators.transforms.transform import Rows, TransformError
from headrace.operators.types import Type

__all__ = ["Numbers", "batch", "column", "in_order", "known", "numbers", "scale", "times"]

_MOST_FIXED = 9_223_372_036_854.0


@dataclass(frozen=True, slots=True)
class Numbers:
    """A column of numbers: 0 where it is null, and not `known`."""

    values: NDArray[np.float64]
    units: NDArray[np.int64]
    """What is summed and counted: whole numbers as they are, others in fixed point."""
    known: NDArray[np.bool_]

    def __getitem__(self, rows: slice) -> Numbers:
        return Numbers(self.values[rows], self.units[rows], self.known[rows])

    def __len__(self) -> int:
        return len(self.known)


def scale(kind: Type) -> int:
    """Give how many units are 1."""
    return SCALE if kind is Type.FLOAT64 else 1


def column(rows: Rows, name: str, kind: Type) -> pa.Array:
    """Give a column as one array.

    Raises
    ------
    UnknownName
        When the rows do not have it.
    TransformError
        When it is of another type.
    """
    if name not in rows.schema.names:
        raise UnknownName(kind="column", name=name, known=rows.schema.names)
    array = whole_array(rows.column(name))
    if array.type != kind.arrow:
        asked, found = f"asked for the {kind.value} {name!r}", f"the rows have it as {array.type}"
        raise TransformError(asked, found, "cast it")
    return array


def known(array: pa.Array) -> NDArray[np.bool_]:
    """Say where a column is not null."""
    if not array.null_count:
        return np.ones(len(array), np.bool_)
    return np.asarray(array.is_valid().to_numpy(zero_copy_only=False), np.bool_)


def numbers(rows: Rows, name: str, kind: Type) -> Numbers:
    """Read a column of numbers, or of bools as 0 and 1.

    Raises
    ------
    TransformError
        Where a float64 is not finite, or is beyond fixed point.
    """
    array = column(rows, name, kind)
    valid = known(array)
    if kind is Type.BOOL:
        array = array.cast(pa.int64())
    plain = (array.fill_null(0) if array.null_count else array).to_numpy(zero_copy_only=False)
    if kind is not Type.FLOAT64:
        return Numbers(plain.astype(np.float64), plain, valid)
    within = np.abs(plain) <= _MOST_FIXED
    if not within.all():
        row = int(within.argmin())
        found = f"row {row} is {float(plain[row])!r}, which fixed point cannot hold"
        do = "write null for it, or derive a number of at most 9.2e12"
        asked = f"asked for numbers of {name!r}"
        raise TransformError(asked, found, do)
    return Numbers(plain + 0.0, _fixed(plain), valid)


def _fixed(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Turn float64 into fixed point, half away from zero: `fixed`, for arrays."""
    scaled = values * SCALE
    whole = np.trunc(scaled)
    whole += np.sign(scaled) * (np.abs(scaled - whole) >= 0.5)
    units: NDArray[np.int64] = whole.astype(np.int64)
    return units


def times(rows: Rows, name: str) -> NDArray[np.int64]:
    """Read the event times.

    Raises
    ------
    TransformError
        Where one is null.
    """
    array = column(rows, name, Type.INT64)
    if array.null_count:
        found = f"row {int(known(array).argmin())} has none"
        asked = f"asked for the times {name!r}"
        raise TransformError(asked, found, "give each row one")
    at: NDArray[np.int64] = array.to_numpy(zero_copy_only=False)
    return at


def in_order(rows: Rows, name: str, newest: int | None) -> NDArray[np.int64]:
    """Read the event times, which must not go back, nor below `newest`.

    Raises
    ------
    TransformError
        Where one is null, or is earlier than one before it.
    """
    at = times(rows, name)
    before = np.concatenate([at[:1] if newest is None else [newest], at[:-1]])
    back = before[: len(at)] > at
    if back.any():
        row = int(back.argmax())
        asked = f"asked to learn in the order of {name!r}"
        found = f"row {row} is of {at[row]} ms, after one of {before[row]} ms"
        raise TransformError(asked, found, "sort the rows by time, then partition and offset")
    return at


def batch(outputs: Mapping[str, Type], *arrays: object) -> pa.RecordBatch:
    """Make the batch of `outputs` from arrays: pairs of (values, known), numpy's, or Arrow's."""
    made = []
    for kind, array in zip(outputs.values(), arrays, strict=True):
        if isinstance(array, tuple):
            values, valid = array
            array = pa.array(values, kind.arrow, mask=None if valid.all() else ~valid)
        elif not isinstance(array, pa.Array):
            array = pa.array(array, kind.arrow)
        made.append(array)
    return pa.RecordBatch.from_arrays(made, names=list(outputs))
