"""Values to numbers, in the order of their first coming; and arrays that grow with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from headrace.operators.types import Type

__all__ = ["NULL", "UNSEEN", "Keys", "grown"]

NULL, UNSEEN = -1, -2
"""The numbers of a null, and of a value that has none."""

D = TypeVar("D", bound=np.generic)


def grown(array: NDArray[D], size: int) -> NDArray[D]:
    """Give the array, with zeros at its end where it is shorter than `size`.

    >>> grown(np.array([7]), 2).tolist()[:2]
    [7, 0]
    """
    if len(array) >= size:
        return array
    out = np.zeros((max(size, 2 * len(array)), *array.shape[1:]), array.dtype)
    out[: len(array)] = array
    return out


class Keys:
    """The numbers of the distinct values of a column; without collisions.

    >>> keys = Keys(Type.STRING)
    >>> keys.add(pa.array(["a", None, "b", "a"])).tolist(), keys.find(pa.array(["b", "c"])).tolist()
    ([0, -1, 1, 0], [1, -2])
    """

    def __init__(self, kind: Type, values: Sequence[object] = ()) -> None:
        self._kind = kind
        self._numbers = {value: number for number, value in enumerate(values)}

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def values(self) -> list[Any]:
        """List the values, by their numbers."""
        return list(self._numbers)

    def find(self, column: pa.Array) -> NDArray[np.int64]:
        """Give each row's number: `NULL` for a null, `UNSEEN` for a value that has none."""
        distinct, rows = _encoded(column)
        known = self._numbers
        numbers = [known.get(value, UNSEEN) for value in distinct]
        return np.array([*numbers, NULL], np.int64)[rows]

    def add(self, column: pa.Array) -> NDArray[np.int64]:
        """Give each row's number; new values get the next ones."""
        distinct, rows = _encoded(column)
        known = self._numbers
        numbers = [known.setdefault(value, len(known)) for value in distinct]
        return np.array([*numbers, NULL], np.int64)[rows]

    def add_values(self, values: Sequence[object]) -> NDArray[np.int64]:
        """Give the number of each of some values; new ones get the next."""
        known = self._numbers
        return np.array([known.setdefault(value, len(known)) for value in values], np.int64)

    def sorted(self) -> NDArray[np.int64]:
        """Give the numbers in the order of their values."""
        known = self._numbers
        return np.array([known[value] for value in sorted(self.values)], np.int64)

    def arrays(self, numbers: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Give the values of these numbers as arrays; strings as UTF-8 and their ends."""
        values = self.values
        chosen = [values[number] for number in numbers.tolist()]
        if self._kind is not Type.STRING:
            return {"keys": np.array(chosen, np.int64)}
        encoded = [value.encode() for value in chosen]
        ends = np.cumsum([len(text) for text in encoded], dtype=np.int64)
        return {"keys": np.frombuffer(b"".join(encoded), np.uint8), "key_ends": ends}

    @classmethod
    def restored(cls, kind: Type, arrays: Mapping[str, NDArray[Any]]) -> Keys:
        """Give the keys of `arrays`, numbered in their order."""
        if kind is not Type.STRING:
            return cls(kind, arrays["keys"].astype(kind.arrow.to_pandas_dtype()).tolist())
        text, ends = arrays["keys"].tobytes(), arrays["key_ends"].tolist()
        starts = [0, *ends][:-1]
        return cls(kind, [text[a:b].decode() for a, b in zip(starts, ends, strict=True)])


def _encoded(column: pa.Array) -> tuple[list[Any], NDArray[np.int64]]:
    """Give the distinct values in their order, and the place of each row's; -1 for null."""
    encoded = pc.dictionary_encode(column)
    rows = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return encoded.dictionary.to_pylist(), rows
