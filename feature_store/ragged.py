"""The rows of tiles in the hot index, in contiguous arrays, and what a window gathers of them.

::

    codes     7 9 4   4 7   9          of bins, or of values      a tile has two columns that say
    numbers   1 1 2   5 1   1          of bins, or times          where its rows begin and stop

A read walks the tiles of its window, newest first. Of r rows in n tiles it costs O(n + r log r):
bins are sorted by code and merged; of the newest ends it stops where it has enough.
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
def _most(high: Ints, low: Ints, tiles: Ints, column: int) -> int:
    """Count the rows of the window that has most."""
    most = 0
    for row in range(len(high)):
        count = 0
        for tile in range(low[row] + 1, high[row] + 1):
            count += tiles[tile, column + 1] - tiles[tile, column]
        most = max(most, count)
    return most


@compiled
def _merge(
    high: Ints,
    low: Ints,
    tiles: Ints,
    column: int,
    codes: Ints,
    numbers: Ints,
    base: int,
    adds: bool,
) -> tuple[Ints, Ints, Ints]:
    """Merge the bins of each window's tiles: in the order of their codes."""
    most = _most(high, low, tiles, column)
    some, some_numbers = np.empty(most, np.int64), np.empty(most, np.int64)
    found, found_numbers = np.empty(most, np.int64), np.empty(most, np.int64)
    begins = np.zeros(len(high) + 1, np.int64)
    used = 0
    for row in range(len(high)):
        count = 0
        for tile in range(low[row] + 1, high[row] + 1):
            for place in range(tiles[tile, column], tiles[tile, column + 1]):
                some[count] = codes[place - base]
                some_numbers[count] = numbers[place - base]
                count += 1
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
def _newest(high: Ints, low: Ints, tiles: Ints, column: int, count: int) -> tuple[Ints, Ints]:
    """Find the places of each window's newest rows, oldest first."""
    found = np.empty(len(high) * count, np.int64)
    begins = np.zeros(len(high) + 1, np.int64)
    used = 0
    for row in range(len(high)):
        before = used
        tile = high[row]
        while tile > low[row] and used - before < count:
            place = tiles[tile, column + 1] - 1
            while place >= tiles[tile, column] and used - before < count:
                found[used] = place
                used += 1
                place -= 1
            tile -= 1
        found[before:used] = found[before:used][::-1].copy()
        begins[row + 1] = used
    return begins, found[:used]


@compiled
def _oldest(high: Ints, low: Ints, tiles: Ints, column: int) -> tuple[Ints, Ints]:
    """Find the place of each window's oldest row."""
    found = np.empty(len(high), np.int64)
    begins = np.zeros(len(high) + 1, np.int64)
    used = 0
    for row in range(len(high)):
        for tile in range(low[row] + 1, high[row] + 1):
            if tiles[tile, column + 1] > tiles[tile, column]:
                found[used] = tiles[tile, column]
                used += 1
                break
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
        self._codes: Ints = np.zeros(0, np.int64)
        self._numbers: Ints = np.zeros(0, np.int64)
        self._base = 0
        self._rows = 0
        self._known: dict[str, int] = {}
        self._words: list[str] = []

    def __len__(self) -> int:
        return self._rows - self._base

    @property
    def size_bytes(self) -> int:
        """Give the size of its arrays."""
        return self._codes.nbytes + self._numbers.nbytes

    def append(self, tiles: Ints, count: int, rows: pa.Table) -> Ints:
        """Take in the rows of `count` more tiles; `tiles` says to which of these each belongs.

        Gives where the rows of each tile begin and stop, a line each.
        """
        keys = (rows[name].to_numpy() for name in (*PLACE[::-1], AT)) if self._ordered else ()
        order = np.lexsort((*keys, tiles))
        value, number = (VALUE, AT) if self._ordered else (BIN, NUMBER)
        codes = self._coded(rows[value].combine_chunks())[order]
        start, stop = self._rows, self._rows + len(order)
        here = slice(start - self._base, stop - self._base)
        self._reserve(stop - self._base)
        self._codes[here] = codes
        self._numbers[here] = rows[number].to_numpy()[order]
        self._rows = stop
        counts = np.bincount(tiles, minlength=count)
        stops = start + np.cumsum(counts)
        return np.stack([stops - counts, stops], axis=1)

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

    def _reserve(self, rows: int) -> None:
        missing = rows - len(self._codes)
        if missing > 0:
            more: Ints = np.zeros(max(missing, len(self._codes) // 2, 1024), np.int64)
            self._codes = np.concatenate([self._codes, more])
            self._numbers = np.concatenate([self._numbers, more])

    def drop(self, least: int) -> None:
        """Drop the rows before number `least`, under the readers' lock: no tile has them."""
        gone = min(least, self._rows) - self._base
        if 2 * gone > len(self._codes):
            self._codes, self._numbers = self._codes[gone:].copy(), self._numbers[gone:].copy()
            self._base += gone

    def gather(self, high: Ints, low: Ints, tiles: Ints, column: int, most: int) -> Gathered:
        """Gather the rows of the tiles after `low` up to `high`; of ends at most `most`.

        `column` is the first of the two of `tiles` that say where a tile's rows are.
        """
        where = (high, low, tiles, column)
        if isinstance(self.rows, Bins):
            adds = self.rows.merge is Merge.ADD
            kept = (self._codes, self._numbers, self._base)
            begins, codes, numbers = _merge(*where, *kept, adds)
        else:
            begins, places = _newest(*where, most) if self.rows.newest else _oldest(*where)
            codes, numbers = self._codes[places - self._base], self._numbers[places - self._base]
        return Gathered(begins, codes, numbers, self.kind, self._words)
