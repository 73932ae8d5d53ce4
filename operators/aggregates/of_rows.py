"""Aggregates whose partial is several rows a tile, and what the rows of a window are to them.

What an aggregate makes of its rows it says twice: over arrays (the online path) and as a query
(the history path). Its `of` is the definition.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from headrace.operators.aggregates.aggregate import Aggregate, Array, Partials
from headrace.operators.aggregates.bins import Bins
from headrace.operators.aggregates.ends import Ends
from headrace.operators.types import Type

__all__ = ["Gathered", "Ints", "OfRows", "listed", "one_each"]

Ints = npt.NDArray[np.int64]
Item = TypeVar("Item", bound=np.generic)


@dataclass(frozen=True)
class Gathered:
    """The rows of many windows in one: window i has those from starts[i] up to starts[i + 1].

    Of `Bins` the merged ones, in the order of their codes; of `Ends` the rows that count, oldest
    first.

    Parameters
    ----------
    starts
        One more than there are windows.
    codes
        What the rows hold: an int64 or a bool as it is, the bits of a float64, a word's number.
    numbers
        Of bins the merged numbers, of ends the times, int64 ms.
    kind
        The type of what the codes stand for.
    words
        The strings, by their numbers.

    """

    starts: Ints
    codes: Ints
    numbers: Ints
    kind: Type
    words: Sequence[str] = ()

    @property
    def counts(self) -> Ints:
        """Count each window's rows."""
        return np.diff(self.starts)

    def values(self, codes: Ints) -> Array:
        """Give what codes stand for.

        >>> nothing = np.zeros(0, np.int64)
        >>> Gathered(nothing, nothing, nothing, Type.STRING, ["b", "a"]).values(np.array([1, 1, 0]))
        array(['a', 'a', 'b'], dtype=object)
        """
        if self.kind is Type.STRING:
            return np.array([self.words[code] for code in codes.tolist()], dtype=object)
        if self.kind is Type.FLOAT64:
            floats: Array = codes.view(np.float64)
            return floats
        return codes.astype(np.bool_) if self.kind is Type.BOOL else codes


def one_each(rows: Gathered, found: npt.NDArray[Item]) -> npt.NDArray[Item]:
    """Give each window what was found for its first row; where it has none, anything."""
    if not len(found):
        return np.zeros(len(rows.counts), found.dtype)
    each: npt.NDArray[Item] = found[np.minimum(rows.starts[:-1], len(found) - 1)]
    return each


def listed(lists: Sequence[list[object]]) -> Array:
    """Give lists as an array of as many objects."""
    array = np.empty(len(lists), dtype=np.object_)
    for place, each in enumerate(lists):
        array[place] = each
    return array


class OfRows(Aggregate):
    """An aggregate whose partial is several rows a tile.

    Gathered over a window the rows give one value, null where there are none; from it the result
    is made as from any other partial.
    """

    @property
    @abstractmethod
    def rows(self) -> Bins | Ends:
        """Give the rows that a tile keeps for it."""

    @property
    def partials(self) -> tuple[Bins | Ends, ...]:
        """Give the rows."""
        return (self.rows,)

    @abstractmethod
    def gathered(self, rows: Gathered, at: Ints) -> Array:
        """Compute each window's value at the times `at`; where it has no row, anything."""

    @abstractmethod
    def gathered_sql(self, rows: str, by: str) -> str:
        """Print the same: a query for `by` and ``y``, one row for each window that has rows.

        `rows` is a relation of `by`, a window's number, and its rows: merged bins, or ends with
        the time ``at`` that they are asked for.
        """

    def result(self, partials: Partials, age_ms: Ints) -> tuple[Array, Array]:
        """Take it as it is."""
        del age_ms
        return partials[self.rows.name]

    def result_sql(self, merged: Mapping[str, str], age_ms: str) -> str:
        """Print it as it is."""
        del age_ms
        return merged[self.rows.name]
