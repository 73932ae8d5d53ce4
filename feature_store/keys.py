"""Numbers for the keys of a view: a key's slot, from Python values or from columns."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["NO_SLOT", "Keys"]

Ints = npt.NDArray[np.int64]
NO_SLOT = -1
_FEW = 4096
"""So many keys are looked up one by one: it takes longer to find out which are the same."""


class Keys:
    """The slots of keys: one part as its value, several as a tuple of theirs.

    Reading is safe while another thread adds: a slot that is not published yet has no tiles.

    >>> keys = Keys()
    >>> keys.slots([pa.array(["a", None, "b", "a"])], add=True).tolist(), keys.slot("b")
    ([0, -1, 1, 0], 1)
    """

    def __init__(self) -> None:
        self._slots: dict[object, int] = {}
        self.slot = self._slots.get
        """Give a key's slot, or the second argument where there is none."""

    def __len__(self) -> int:
        return len(self._slots)

    def slots(self, columns: Sequence[pa.Array], *, add: bool) -> Ints:
        """Give each row its key's slot; `NO_SLOT` where a part is null or, unless `add`, new."""
        known = self._slots
        if not add and len(columns[0]) <= _FEW:
            return np.array([known.get(key, NO_SLOT) for key in _listed(columns)], np.int64)
        codes, keys = _coded(columns)
        of_key = np.full(len(keys) + 1, NO_SLOT, np.int64)
        of_key[:-1] = np.fromiter(map(known.get, keys, repeat(NO_SLOT)), np.int64, len(keys))
        if add:
            for place in np.flatnonzero(of_key[:-1] == NO_SLOT).tolist():
                of_key[place] = known.setdefault(keys[place], len(known))
        slots: Ints = of_key[codes]
        return slots


def _listed(columns: Sequence[pa.Array]) -> list[object]:
    """Give each row's key; one with a null part is never known."""
    if len(columns) > 1:
        return list(zip(*map(pa.Array.to_pylist, columns), strict=True))
    plain = columns[0].type == pa.int64() and not columns[0].null_count
    keys: list[object] = (columns[0].to_numpy() if plain else columns[0]).tolist()
    return keys


def _coded(columns: Sequence[pa.Array]) -> tuple[Ints, list[object]]:
    """Give each row the number of its key among the distinct ones, −1 where a part is null."""
    codes, keys = _encoded(columns[0])
    if len(columns) == 1:
        return codes, keys
    parts: list[tuple[object, ...]] = [(key,) for key in keys]
    for column in columns[1:]:
        more, values = _encoded(column)
        null = (codes < 0) | (more < 0)
        # Numbers of pairs become numbers of those there are: no product of many parts overflows.
        codes, pairs = _encoded(pa.array(codes * len(values) + more, mask=null))
        places = [divmod(pair, len(values)) for pair in _whole(pairs)]
        parts = [(*parts[part], values[place]) for part, place in places]
    return codes, list(parts)


def _encoded(column: pa.Array) -> tuple[Ints, list[object]]:
    encoded = column.dictionary_encode()
    codes: Ints = encoded.indices.fill_null(-1).to_numpy().astype(np.int64)
    # By NumPy: a list of Arrow's makes an object of its own for each value first.
    keys: list[object] = encoded.dictionary.to_numpy(zero_copy_only=False).tolist()
    return codes, keys


def _whole(values: list[object]) -> list[int]:
    return [value for value in values if isinstance(value, int)]
