"""Tiles as the hot index has them: a line of whole numbers each, in which texts are numbered.

::

    tile ─┬─ sums ──────────── as they are; of 128 bits two columns      the layout says where
          ├─ extremes ──────── in an order that a maximum keeps ─► highs
          └─ the newest row ── numbers of texts, bits of float64s, flags of what is there
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headrace.feature_store.plan import FLAG_BITS, Layout
from headrace.feature_store.tiles import LEAST
from headrace.operators import wide
from headrace.operators.aggregates import Merge, Newest
from headrace.operators.hashing import whole_array
from headrace.operators.types import Type
from headrace.operators.view import NEWEST_AT, View

__all__ = ["Lines"]

Ints = npt.NDArray[np.int64]
_TOP = np.int64(0x7FFF_FFFF_FFFF_FFFF)


class _Words:
    """The texts of a column, numbered as they come."""

    def __init__(self) -> None:
        self.list: list[str] = []
        self._known: dict[str, int] = {}

    def codes(self, texts: pa.Array) -> Ints:
        """Give each text its number, a null 0."""
        encoded = texts.dictionary_encode()
        codes = np.zeros(len(encoded.dictionary) + 1, np.int64)
        for place, text in enumerate(encoded.dictionary.to_pylist()):
            codes[place] = self._known.setdefault(text, len(self.list))
            if codes[place] == len(self.list):
                self.list.append(text)
        found: Ints = codes[encoded.indices.fill_null(len(codes) - 1).to_numpy()]
        return found


class Lines:
    """The lines of a view's tiles, and the texts that numbers in them stand for.

    Parameters
    ----------
    view
        The view.
    layout
        Which columns a line has.

    """

    def __init__(self, view: View, layout: Layout) -> None:
        self._view, self._layout = view, layout
        self._words = {each.name: _Words() for each in view.newest if each.type is Type.STRING}

    def has_texts(self, column: str) -> bool:
        """Say whether the numbers of a column stand for texts."""
        return column in self._words

    def texts(self, column: str, codes: Sequence[int]) -> list[str]:
        """Give the texts that numbers stand for; of a null any."""
        words = self._words[column].list
        return [words[code] for code in codes] if words else [""] * len(codes)

    def of(self, tiles: pa.Table) -> tuple[Ints, Ints]:
        """Give the lines of tiles, and what maxima are over: a row for each such column."""
        columns, layout = self._layout.columns, self._layout
        own = np.zeros((tiles.num_rows, len(layout.kinds)), np.int64)
        highs = np.full((len(layout.highs), tiles.num_rows), LEAST, np.int64)
        for partial in self._view.partials:
            values = whole_array(tiles[partial.name])
            if partial.name in layout.highs:
                known = values.is_valid().to_numpy(zero_copy_only=False)
                high = np.where(known, _ordered(values, least=partial.merge is Merge.MIN), LEAST)
                highs[layout.highs[partial.name]] = high
                own[:, columns[f"{partial.name} known"]] = known
                own[:, columns[f"{partial.name} so far"]] = high
            elif partial.type is Type.INT128:
                place = columns[partial.name]
                own[:, place : place + 2] = wide.from_arrow(values)
            else:
                own[:, columns[partial.name]] = values.fill_null(0).to_numpy()
        if self._view.keeps_newest:
            own[:, columns[NEWEST_AT]] = whole_array(tiles[NEWEST_AT]).to_numpy()
        for place, newest in enumerate(self._view.newest):
            values = whole_array(tiles[newest.name])
            own[:, columns[newest.name]] = self._coded(newest, values)
            known = values.is_valid().to_numpy(zero_copy_only=False).astype(np.int64)
            own[:, columns[f"flags {place // FLAG_BITS}"]] |= known << (place % FLAG_BITS)
        return own, highs

    def _coded(self, newest: Newest, values: pa.Array) -> Ints:
        if newest.type is Type.STRING:
            return self._words[newest.name].codes(values)
        return _bits(values)


def _bits(values: pa.Array) -> Ints:
    """Give int64s as they are, the bits of float64s, bools as 0 and 1; 0 for a null."""
    array = values.fill_null(False if pa.types.is_boolean(values.type) else 0)
    numbers = array.to_numpy(zero_copy_only=False)
    return cast("Ints", numbers.view(np.int64)) if numbers.dtype == np.float64 else numbers


def _ordered(values: pa.Array, *, least: bool) -> Ints:
    """Give whole numbers in the same order; for `least` in the opposite."""
    bits = _bits(values)
    if pa.types.is_floating(values.type):
        # The bits of negative float64s fall where their values rise.
        bits = bits ^ ((bits >> 63) & _TOP)
    return ~bits if least else bits
