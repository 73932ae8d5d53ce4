"""The rows of tiles in the hot index, in contiguous arrays, and what a window gathers of them.

::

    tile      0       1   2         3          starts: where each tile's rows begin
    starts    0       3   3         5
    codes     7 9 4   ·   4 7       9          of bins, or of values
    numbers   1 1 2   ·   5 1       1          of bins, or times

A read walks the tiles of its window, newest first. Of r rows in n tiles it costs O(n + r log r):
bins are sorted by code and merged; of ends it stops where it has enough.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headrace.operators.aggregates import Bins, Ends, Gathered, Merge
from headrace.operators.aggregates.bins import BIN, NUMBER
from headrace.operators.aggregates.ends import AT, PLACE, VALUE
from headrace.operators.compiled import compiled
from headrace.operators.types import Type

__all__ = ["Ragged"]

Ints = npt.NDArray[np.int64]


@compiled
def _most(high: Ints, low: Ints, prev: Ints, starts: Ints) -> int:
    """Count the rows of the window that has most."""
    most = 0
    for row in range(len(high)):
        count = 0
        tile = high[row]
        while tile >= 0 and tile != low[row]:
            count += starts[tile + 1] - starts[tile]
            tile = prev[tile]
        most = max(most, count)
    return most


@compiled
def _merge(
    high: Ints, low: Ints, prev: Ints, starts: Ints, codes: Ints, numbers: Ints, adds: bool
) -> tuple[Ints, Ints, Ints]:
    """Merge the bins of each window's tiles: in the order of their codes."""
    most = _most(high, low, prev, starts)
    some, some_numbers = np.empty(most, np.int64), np.empty(most, np.int64)
    found, found_numbers = np.empty(most, np.int64), np.empty(most, np.int64)
    begins = np.zeros(len(high) + 1, np.int64)
    used = 0
    for row in range(len(high)):
        count = 0
        tile = high[row]
        while tile >= 0 and tile != low[row]:
            for place in range(starts[tile], starts[tile + 1]):
                some[count] = codes[place]
                some_numbers[count] = numbers[place]
                count += 1
            tile = prev[tile]
        if used + count > len(found):
            more = np.empty(used + count, np.int64)
            found = np.concatenate((found, more))
            found_numbers = np.concatenate((found_numbers, more))
        before = used
        for place in np.argsort(some[:count]):
            code, number = some[place], some_numbers[place]
            if used > before and found[used - 1] == code:
                if adds:
                    found_numbers[used - 1] += number
                else:
                    found_numbers[used - 1] = max(found_numbers[used - 1], number)
            else:
                found[used] = code
                found_numbers[used] = number
                used += 1
        begins[row + 1] = used
    return begins, found[:used], found_numbers[:used]


@compiled
def _newest(high: Ints, low: Ints, prev: Ints, starts: Ints, count: int) -> tuple[Ints, Ints]:
    """Find the places of each window's newest rows, oldest first."""
    found = np.empty(len(high) * count, np.int64)
    begins = np.zeros(len(high) + 1, np.int64)
    used = 0
    for row in range(len(high)):
        before = used
        tile = high[row]
        while tile >= 0 and tile != low[row] and used - before < count:
            place = starts[tile + 1] - 1
            while place >= starts[tile] and used - before < count:
                found[used] = place
                used += 1
                place -= 1
            tile = prev[tile]
        found[before:used] = found[before:used][::-1].copy()
        begins[row + 1] = used
    return begins, found[:used]


@compiled
def _oldest(high: Ints, low: Ints, prev: Ints, starts: Ints) -> tuple[Ints, Ints]:
    """Find the place of each window's oldest row."""
    found = np.empty(len(high), np.int64)
    begins = np.zeros(len(high) + 1, np.int64)
    used = 0
    for row in range(len(high)):
        oldest = -1
        tile = high[row]
        while tile >= 0 and tile != low[row]:
            if starts[tile + 1] > starts[tile]:
                oldest = starts[tile]
            tile = prev[tile]
        if oldest >= 0:
            found[used] = oldest
            used += 1
        begins[row + 1] = used
    return begins, found[:used]


class Ragged:
    """The rows of one companion table, by tile.

    Parameters
    ----------
    rows
        What they are.

    """

    def __init__(self, rows: Bins | Ends) -> None:
        self.rows = rows
        self.kind: Type = rows.type
        self._starts: Ints = np.zeros(1, np.int64)
        self._codes: Ints = np.zeros(0, np.int64)
        self._numbers: Ints = np.zeros(0, np.int64)
        self._tiles = 0
        self._known: dict[str, int] = {}
        self._words: list[str] = []

    def __len__(self) -> int:
        return int(self._starts[self._tiles])

    def append(self, tiles: Ints, count: int, rows: pa.Table) -> None:
        """Take in the rows of `count` more tiles; `tiles` says to which of these each belongs."""
        keys = (rows[name].to_numpy() for name in (*PLACE[::-1], AT)) if self._ordered else ()
        order = np.lexsort((*keys, tiles))
        value, number = (VALUE, AT) if self._ordered else (BIN, NUMBER)
        codes = self._coded(rows[value].combine_chunks())[order]
        start, stop = len(self), len(self) + len(order)
        self._reserve(stop, self._tiles + count)
        self._codes[start:stop] = codes
        self._numbers[start:stop] = rows[number].to_numpy()[order]
        ends = start + np.cumsum(np.bincount(tiles, minlength=count))
        self._starts[self._tiles + 1 : self._tiles + count + 1] = ends
        self._tiles += count

    @property
    def _ordered(self) -> bool:
        return isinstance(self.rows, Ends)

    def _coded(self, values: pa.Array) -> Ints:
        if self.kind is Type.STRING:
            encoded = values.dictionary_encode()
            codes = [self._word(word) for word in encoded.dictionary.to_pylist()]
            found: Ints = np.array(codes, np.int64)[encoded.indices.to_numpy()]
            return found
        array = values.to_numpy(zero_copy_only=False)
        return cast("Ints", array.view(np.int64) if self.kind is Type.FLOAT64 else array)

    def _word(self, word: str) -> int:
        code = self._known.setdefault(word, len(self._words))
        if code == len(self._words):
            self._words.append(word)
        return code

    def _reserve(self, rows: int, tiles: int) -> None:
        if rows > len(self._codes):
            more: Ints = np.zeros(max(rows, 1024), np.int64)
            self._codes = np.concatenate([self._codes, more])
            self._numbers = np.concatenate([self._numbers, more])
        if tiles >= len(self._starts):
            self._starts = np.concatenate([self._starts, np.zeros(max(tiles, 1024), np.int64)])

    def gather(self, high: Ints, low: Ints, prev: Ints, most: int) -> Gathered:
        """Gather the rows of the tiles after `low` up to `high`; of ends at most `most`."""
        where = (high, low, prev, self._starts)
        if isinstance(self.rows, Bins):
            adds = self.rows.merge is Merge.ADD
            begins, codes, numbers = _merge(*where, self._codes, self._numbers, adds)
        else:
            begins, places = _newest(*where, most) if self.rows.newest else _oldest(*where)
            codes, numbers = self._codes[places], self._numbers[places]
        return Gathered(begins, codes, numbers, self.kind, self._words)
