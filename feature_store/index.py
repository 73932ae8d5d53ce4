"""The hot index of a view: its tiles by key in contiguous arrays, read at any time in O(log n).

::

    head[key] ─► tile ─prev─► tile ─prev─► tile ─► …        ends fall, sums are running sums
                   └────────jump────────────┘

Tiles are appended in the order of their ends. Each links to its key's tile before it and to one
further back (a skew-binary jump pointer), so the newest tile at or before any time is found in
O(log n) steps, without moving anything when a key grows. Sums are kept as running sums per key: a
window is one difference. Minimum, maximum and sums that decay walk the tiles of the window, and so
do aggregates of several rows a tile.

References
----------
.. [1] E. W. Myers, An applicative random-access stack, Information Processing Letters 17 (1983).

"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headrace.feature_store.ragged import Ragged
from headrace.operators import wide
from headrace.operators.aggregates import Bins, Ends, Gathered, Merge, Newest, OfRows, Partial
from headrace.operators.compiled import compiled
from headrace.operators.decay import Decay
from headrace.operators.errors import StoreError
from headrace.operators.status import STATUSES
from headrace.operators.types import Type
from headrace.operators.view import END, NEWEST_AT, View

__all__ = ["Index"]

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Values = npt.NDArray[Any]
_NONE = -1
_PRESENT, _NEVER_SEEN, _EXPIRED = range(len(STATUSES))
_MOST_HIGH, _MOST_LOW = np.int64((10**38 - 1) >> 64), np.uint64((10**38 - 1) & (2**64 - 1))


@compiled
def _append(
    head: Ints, end: Ints, prev: Ints, jump: Ints, depth: Ints, slots: Ints, ends: Ints, start: int
) -> int:
    """Link tiles `start`… to their keys; give the first that does not come after its key's last."""
    for row in range(len(slots)):
        tile = start + row
        before = head[slots[row]]
        if before >= 0 and end[before] >= ends[row]:
            return row
        end[tile] = ends[row]
        prev[tile] = before
        if before < 0:
            depth[tile] = 0
            jump[tile] = -1
        else:
            depth[tile] = depth[before] + 1
            far = jump[before]
            if (
                far >= 0
                and jump[far] >= 0
                and depth[before] - depth[far] == (depth[far] - depth[jump[far]])
            ):
                jump[tile] = jump[far]
            else:
                jump[tile] = before
        head[slots[row]] = tile
    return -1


@compiled
def _find(start: Ints, end: Ints, prev: Ints, jump: Ints, limits: Ints) -> Ints:
    """Go back from each tile of `start` to the newest one that ends at or before its limit."""
    found = np.empty(len(start), dtype=np.int64)
    for row in range(len(start)):
        tile = start[row]
        while tile >= 0 and end[tile] > limits[row]:
            far = jump[tile]
            tile = far if far >= 0 and end[far] > limits[row] else prev[tile]
        found[row] = tile
    return found


@compiled
def _extreme(
    high: Ints, low: Ints, prev: Ints, values: Values, valid: Bools, largest: bool
) -> tuple[Values, Bools]:
    """Find the greatest value (the smallest, unless `largest`) after `low` up to `high`."""
    result = np.zeros(len(high), dtype=values.dtype)
    any_value = np.zeros(len(high), dtype=np.bool_)
    for row in range(len(high)):
        tile = high[row]
        while tile >= 0 and tile != low[row]:
            if valid[tile]:
                value = values[tile]
                if not any_value[row] or (value > result[row]) == largest:
                    result[row] = value
                any_value[row] = True
            tile = prev[tile]
    return result, any_value


@compiled
def _run(prev: Ints, sums: Values, start: int, stop: int) -> int:
    """Turn the sums of tiles `start`… into running sums; give the first that overflows."""
    for tile in range(start, stop):
        if prev[tile] >= 0:
            before = sums[prev[tile]]
            total = before + sums[tile]
            if (before ^ total) & (sums[tile] ^ total) < 0:
                return tile
            sums[tile] = total
    return -1


@compiled
def _run_wide(prev: Ints, sums: Values, start: int, stop: int) -> int:
    """Turn sums of 128 bits, none negative, into running sums; give the first of 39 digits."""
    for tile in range(start, stop):
        before = prev[tile]
        if before >= 0:
            low = sums[before, 0] + sums[tile, 0]
            carry = 1 if np.uint64(low) < np.uint64(sums[tile, 0]) else 0
            high = sums[before, 1] + sums[tile, 1] + carry
            if high < 0 or high > _MOST_HIGH or (high == _MOST_HIGH and np.uint64(low) > _MOST_LOW):
                return tile
            sums[tile, 0] = low
            sums[tile, 1] = high
    return -1


@compiled
def _weigh(
    high: Ints,
    low: Ints,
    ago: Ints,
    end: Ints,
    prev: Ints,
    sums: Values,
    steps: Ints,
    tables: tuple[Values, Values, Values],
) -> Values:
    """Add up each row's tiles from `high` to `low`, each times its weight; `sums` are running.

    `steps` are those of the view's step in ms, of a half-life, and of the fine table.
    """
    every, half_life, fine = steps
    result = np.zeros(len(high), dtype=np.float64)
    for row in range(len(high)):
        tile = high[row]
        total = 0.0
        while tile >= 0 and tile != low[row]:
            before = prev[tile]
            own = sums[tile] - (sums[before] if before >= 0 else 0)
            back = (ago[row] - end[tile]) // every
            rest = back % half_life
            weight = tables[0][rest // fine] * tables[1][rest % fine] * tables[2][back // half_life]
            total += np.float64(own) * weight
            tile = before
        result[row] = total
    return result


class _Keys:
    """Numbers for the keys of a view: parts to codes, codes to slots."""

    def __init__(self, parts: int) -> None:
        self._codes: list[dict[object, int]] = [{} for _ in range(parts)]
        self._slots: dict[tuple[int, ...], int] = {}

    def __len__(self) -> int:
        return len(self._slots)

    def slots(self, columns: Sequence[pa.Array], *, add: bool) -> Ints:
        """Give each row its key's slot; −1 where a part is null or, unless `add`, new."""
        codes = np.stack([self._code(i, column, add=add) for i, column in enumerate(columns)])
        distinct, inverse = np.unique(codes, axis=1, return_inverse=True)
        slots: Ints = np.empty(distinct.shape[1], dtype=np.int64)
        for place, key in enumerate(map(tuple, distinct.T.tolist())):
            if min(key) < 0:
                slots[place] = _NONE
            elif add:
                slots[place] = self._slots.setdefault(key, len(self._slots))
            else:
                slots[place] = self._slots.get(key, _NONE)
        found: Ints = slots[inverse.reshape(-1)]
        return found

    def _code(self, part: int, column: pa.Array, *, add: bool) -> Ints:
        encoded = column.dictionary_encode()
        known = self._codes[part]
        of_value = np.empty(len(encoded.dictionary) + 1, dtype=np.int64)
        of_value[-1] = _NONE
        for place, value in enumerate(encoded.dictionary.to_pylist()):
            of_value[place] = (
                known.setdefault(value, len(known)) if add else known.get(value, _NONE)
            )
        codes: Ints = of_value[encoded.indices.fill_null(len(encoded.dictionary)).to_numpy()]
        return codes


@dataclass
class _Column:
    """A growing column of tiles, with validity."""

    values: Values
    valid: Bools

    def grow(self, size: int) -> None:
        more = np.zeros((size, *self.values.shape[1:]), self.values.dtype)
        self.values = np.concatenate([self.values, more])
        self.valid = np.concatenate([self.valid, np.zeros(size, np.bool_)])

    def put(self, start: int, column: pa.ChunkedArray) -> None:
        array = column.combine_chunks()
        stop = start + len(array)
        self.valid[start:stop] = array.is_valid().to_numpy(zero_copy_only=False)
        if self.values.ndim == 2:
            self.values[start:stop] = wide.from_arrow(array)
        elif self.values.dtype == np.object_:
            self.values[start:stop] = array.to_pylist()
        else:
            nothing = False if self.values.dtype == np.bool_ else 0
            self.values[start:stop] = array.fill_null(nothing).to_numpy(zero_copy_only=False)


class Index:
    """A view's tiles, ready to be read at any (key, t).

    Parameters
    ----------
    view
        The view whose features it reads.

    """

    def __init__(self, view: View) -> None:
        self.view = view
        self.tiles = 0
        self._lock = threading.Lock()
        self._keys = _Keys(len(view.key))
        self._head = np.empty(0, dtype=np.int64)
        self._links = {name: np.empty(0, np.int64) for name in (END, "prev", "jump", "depth")}
        kinds = {partial.name: partial.type for partial in view.partials}
        kinds |= {newest.name: newest.type for newest in view.newest}
        if view.keeps_newest:
            kinds[NEWEST_AT] = Type.INT64
        self._ragged = {rows.name: Ragged(rows) for rows in view.rows}
        self._columns = {
            name: _Column(_no_values(kind), np.empty(0, np.bool_)) for name, kind in kinds.items()
        }

    def append(self, tiles: pa.Table, rows: Mapping[str, pa.Table] | None = None) -> None:
        """Take in tiles, each key's in order of their ends, and their companion rows by name.

        Raises
        ------
        StoreError
            Where a tile does not come after its key's last, a running sum leaves int64, or a row
            has no tile.

        """
        with self._lock:
            self._append(tiles, rows)

    def _append(self, tiles: pa.Table, rows: Mapping[str, pa.Table] | None) -> None:
        keys = [tiles[name].combine_chunks() for name in self.view.key]
        slots = self._keys.slots(keys, add=True)
        start, self.tiles = self.tiles, self.tiles + len(slots)
        self._reserve()
        link = self._links
        for name, column in self._columns.items():
            column.put(start, tiles[name])
        ends = tiles[END].to_numpy()
        wrong = _append(
            self._head, link[END], link["prev"], link["jump"], link["depth"], slots, ends, start
        )
        if wrong >= 0:
            asked = f"asked to index a tile of view '{self.view.name}' that ends at {ends[wrong]}"
            found = "its key has a tile that ends at or after that already"
            raise StoreError(asked, found, "rebuild the store from the log")
        for name, ragged in self._ragged.items():
            table = (rows or {})[name]
            ragged.append(self._tiles_of(table, slots, ends), len(slots), table)
        for partial in self.view.partials:
            if partial.merge is Merge.ADD:
                sums = self._columns[partial.name]
                sums.valid[start : self.tiles] = True
                run = _run_wide if partial.type is Type.INT128 else _run
                over = run(link["prev"], sums.values, start, self.tiles)
                if over >= 0:
                    asked = f"asked for the running {partial.name} of view '{self.view.name}'"
                    found = (
                        f"it leaves {partial.type.value} at the tile that ends at {link[END][over]}"
                    )
                    raise StoreError(asked, found, "sum smaller values, or a smaller scale")

    def _tiles_of(self, rows: pa.Table, slots: Ints, ends: Ints) -> Ints:
        """Say of each companion row which of the tiles just appended it belongs to."""
        own = self._keys.slots([_one(rows[name]) for name in self.view.key], add=False)
        steps = [each // self.view.every_ms for each in (ends, rows[END].to_numpy())]
        least = min((int(each.min()) for each in steps if len(each)), default=0)
        span = max((int(each.max()) for each in steps if len(each)), default=0) - least + 1
        of_tiles = slots * span + steps[0] - least
        order = np.argsort(of_tiles)
        of_rows = own * span + steps[1] - least
        place = np.searchsorted(of_tiles[order], of_rows)
        known = place < len(of_tiles)
        known[known] = of_tiles[order][place[known]] == of_rows[known]
        if not known.all():
            asked = f"asked to index rows of tiles of view '{self.view.name}'"
            found = f"one that ends at {rows[END][int(np.argmin(known))]} has no tile"
            raise StoreError(asked, found, "rebuild the store from the log")
        tiles: Ints = order[place]
        return tiles

    def _reserve(self) -> None:
        missing = self.tiles - len(self._links[END])
        if missing > 0:
            size = max(missing, len(self._links[END]), 1024)
            for name, array in self._links.items():
                self._links[name] = np.concatenate([array, np.zeros(size, np.int64)])
            for column in self._columns.values():
                column.grow(size)
        more = len(self._keys) - len(self._head)
        if more > 0:
            size = max(more, len(self._head), 64)
            self._head = np.concatenate([self._head, np.full(size, _NONE, np.int64)])

    def read(self, keys: Sequence[pa.Array], at: Ints) -> dict[str, pa.Array]:
        """Compute every feature of the view for each (key, t).

        Parameters
        ----------
        keys
            The key's parts, in the view's order, each of n rows; a null part is no key.
        at
            The times t, int64 ms, of n rows, past or present in any order.

        Returns
        -------
        dict
            Each feature's name and its n values.

        """
        return self.read_with_status(keys, at)[0]

    def read_with_status(
        self, keys: Sequence[pa.Array], at: Ints
    ) -> tuple[dict[str, pa.Array], dict[str, npt.NDArray[np.uint8]]]:
        """Compute the same, and each value's status as its number in `STATUSES`."""
        with self._lock:
            return self._read(keys, at)

    def _read(
        self, keys: Sequence[pa.Array], at: Ints
    ) -> tuple[dict[str, pa.Array], dict[str, npt.NDArray[np.uint8]]]:
        limits: Ints = at // self.view.every_ms * self.view.every_ms
        slots = self._keys.slots(keys, add=False)
        start = np.where(slots >= 0, self._head[slots] if len(self._head) else _NONE, _NONE)
        high = self._find(start, limits)
        low: dict[int | None, Ints] = {None: np.full(len(at), _NONE)}
        gathered: dict[tuple[Bins | Ends, int | None], Gathered] = {}
        values, states = {}, {}
        for feature in self.view.features:
            window = feature.reach_ms
            if window not in low and window is not None:
                low[window] = self._find(high, limits - window)
            alive = self._alive(high, limits, window)
            half_life = feature.aggregate.half_life_ms
            merged = {
                partial.name: self._merged(partial, high, low[window], alive)
                if half_life is None
                else self._weighed(partial, high, low[window], limits, half_life)
                for partial in feature.aggregate.partials
                if isinstance(partial, Partial | Newest)
            }
            if isinstance(feature.aggregate, OfRows):
                rows = feature.aggregate.rows
                place = (rows, window)
                if place not in gathered:
                    gathered[place] = self._gathered(rows, high, low[window])
                found = feature.aggregate.gathered(gathered[place], at)
                merged[rows.name] = found, gathered[place].counts > 0
            age = np.full(len(at), _NONE, dtype=np.int64)
            if self.view.keeps_newest:
                age[alive] = at[alive] - self._columns[NEWEST_AT].values[high[alive]]
            value, valid = feature.aggregate.result(merged, age)
            kind = feature.aggregate.type.arrow
            values[feature.name] = pa.array(value, kind, mask=~valid)
            gone = (window is not None) & (high == low[window]) & ~valid.astype(np.bool_)
            state = np.where(high < 0, _NEVER_SEEN, np.where(gone, _EXPIRED, _PRESENT))
            states[feature.name] = state.astype(np.uint8)
        return values, states

    def _find(self, start: Ints, limits: Ints) -> Ints:
        link = self._links
        return _find(start, link[END], link["prev"], link["jump"], limits)

    def _alive(self, high: Ints, limits: Ints, window: int | None) -> Bools:
        """Say where the newest row exists and is inside the window."""
        alive: Bools = high >= 0
        if window is not None and self.view.keeps_newest:
            alive[alive] = self._columns[NEWEST_AT].values[high[alive]] >= limits[alive] - window
        return alive

    def _gathered(self, rows: Bins | Ends, high: Ints, low: Ints) -> Gathered:
        return self._ragged[rows.name].gather(high, low, self._links["prev"], rows.most_rows or 0)

    def _merged(
        self, partial: Partial | Newest, high: Ints, low: Ints, alive: Bools
    ) -> tuple[Values, Bools]:
        column = self._columns[partial.name]
        if not len(column.values):
            none = np.zeros((len(high), *column.values.shape[1:]), column.values.dtype)
            return none, np.zeros(len(high), np.bool_)
        if isinstance(partial, Newest):
            return column.values[high], alive & column.valid[high]
        if partial.type is Type.INT128:
            none = wide.zeros(len(high))
            upper, lower = (
                np.where(place[:, None] >= 0, column.values[place], none) for place in (high, low)
            )
            return wide.minus(upper, lower), np.ones(len(high), np.bool_)
        if partial.merge is Merge.ADD:
            upper = np.where(high >= 0, column.values[high], 0)
            lower = np.where(low >= 0, column.values[low], 0)
            return upper - lower, np.ones(len(high), np.bool_)
        largest = partial.merge is Merge.MAX
        return _extreme(high, low, self._links["prev"], column.values, column.valid, largest)

    def _weighed(
        self, partial: Partial | Newest, high: Ints, low: Ints, limits: Ints, half_life_ms: int
    ) -> tuple[Values, Bools]:
        """Add up the tiles of each window, weighed: a walk, for each tile has another weight."""
        every = self.view.every_ms
        decay = Decay(half_life_ms // every)
        steps = np.array([every, decay.half_life_steps, decay.fine_steps])
        tables = np.array(decay.coarse), np.array(decay.fine), np.array(decay.halves)
        sums, link = self._columns[partial.name].values, self._links
        total = _weigh(high, low, limits, link[END], link["prev"], sums, steps, tables)
        return total, np.ones(len(high), np.bool_)

    def statistics(self) -> Mapping[str, int]:
        """Count keys, tiles and their companion rows."""
        with self._lock:
            rows = {f"{name}_rows": len(ragged) for name, ragged in self._ragged.items()}
            return {"keys": len(self._keys), "tiles": self.tiles, **rows}


def _one(column: pa.ChunkedArray) -> pa.Array:
    combined = column.combine_chunks()
    return combined if isinstance(combined, pa.Array) else combined.chunk(0)


def _no_values(kind: Type) -> Values:
    if kind is Type.INT128:
        return wide.zeros(0)
    dtypes = {Type.BOOL: np.bool_, Type.INT64: np.int64, Type.FLOAT64: np.float64}
    return np.empty(0, dtypes.get(kind, np.object_))
