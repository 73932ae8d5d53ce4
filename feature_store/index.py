"""The hot index of a view: its tiles by key in contiguous arrays, read at any time in O(log n).

::

    key ─Keys─► slot ─┐                    ┌─► values of steps
                      ├─ kernel, by a Plan ┤
    t ────────────────┘     over Tiles     └─► merged partials, places of tiles ─NumPy─► the rest

Sums are kept as running sums per key: a window is one difference. Extremes look at blocks of
tiles. What is not made of these walks the tiles of its window: sums that decay, and aggregates of
several rows a tile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headrace.feature_store import kernel
from headrace.feature_store.keys import Keys
from headrace.feature_store.lines import Lines
from headrace.feature_store.plan import Layout, Output, Plan, plan
from headrace.feature_store.ragged import Ragged
from headrace.feature_store.tiles import Tiles
from headrace.operators.aggregates import Bins, Ends, Gathered, Newest, OfRows, Partial
from headrace.operators.compiled import compiled
from headrace.operators.decay import Decay
from headrace.operators.errors import StoreError
from headrace.operators.hashing import whole_array
from headrace.operators.types import Type
from headrace.operators.view import END, Feature, View

__all__ = ["Found", "Index", "Older", "Read", "Single"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
States = npt.NDArray[np.uint8]
Values = npt.NDArray[Any]

Found = tuple[dict[str, pa.Array], dict[str, States]]
"""By feature its values, and their statuses by their numbers in `STATUSES`."""
Older = Callable[[Sequence[Feature], Sequence[pa.Array], Ints], Found]

_ALWAYS = np.iinfo(np.int64).min
_SWEEPS = 8
"""So often in the time of a horizon what is older is dropped."""
_MOST_ROWS = 4096
"""Rows that are read in one go, under the lock: a few ms."""


@compiled
def _weigh(
    places: tuple[Ints, Ints, Ints],
    bounds: Ints,
    end: Ints,
    rows: Ints,
    column: int,
    steps: Ints,
    tables: tuple[Floats, Floats, Floats],
) -> Floats:
    """Add up each row's tiles from high to low, each times its weight; the column has running sums.

    `places` are high, low and the run's first; `steps` those of the view's step in ms, of a
    half-life, and of the fine table.
    """
    every, half_life, fine = steps
    result = np.zeros(len(bounds), dtype=np.float64)
    for row in range(len(bounds)):
        total = 0.0
        for tile in range(places[0][row], places[1][row], -1):
            own = rows[tile, column] - (rows[tile - 1, column] if tile > places[2][row] else 0)
            back = (bounds[row] - end[tile]) // every
            rest = back % half_life
            weight = tables[0][rest // fine] * tables[1][rest % fine] * tables[2][back // half_life]
            total += np.float64(own) * weight
        result[row] = total
    return result


@dataclass(frozen=True)
class Read:
    """What a plan's features are at n (key, t).

    Parameters
    ----------
    wholes, reals
        The kernel's outputs, a row for each.
    states
        A row of n for each feature of the plan: its statuses by their numbers in `STATUSES`, and
        `NULL` added where the value is null.
    missing
        How many nulls each feature has among what steps make.
    others
        Values and validity of the features that NumPy makes.

    """

    wholes: Ints
    reals: Floats
    states: States
    missing: Ints
    others: Mapping[str, tuple[Values, Bools]]


class Index:
    """A view's tiles, ready to be read at any (key, t), by many threads while one appends.

    Parameters
    ----------
    view
        The view whose features it reads.
    older
        Answers what lies before the view's horizon: given the features, the keys' parts and the
        times it gives the same values, and their statuses by number.

    """

    def __init__(self, view: View, older: Older | None = None) -> None:
        self.view, self._older = view, older
        self.floor = _ALWAYS
        """The index has all that windows from this time on need."""
        self._layout = Layout.of(view)
        self._keys = Keys()
        self.tiles = Tiles(list(self._layout.kinds), len(self._layout.highs))
        self._ragged = {rows.name: Ragged(rows) for rows in view.rows}
        self._lines = Lines(view, self._layout)
        self.lock = threading.Lock()
        self._whole = self.plan(view.features)
        self.slot = self._keys.slot
        """Give the slot of a key, by its value or the tuple of its parts'; else the argument."""

    def plan(self, features: Sequence[Feature]) -> Plan:
        """Plan reads of some of the view's features."""
        return plan(self.view, self._layout, features)

    def expect(self, keys: pa.Table) -> None:
        """Make room for what an empty index will be given: each key, and how many ``tiles``."""
        if keys.num_rows:
            slots = self._keys.slots([whole_array(keys[name]) for name in self.view.key], add=True)
            counts = np.zeros(len(self._keys), np.int64)
            counts[slots] = whole_array(keys["tiles"]).to_numpy()
            self.tiles.expect(counts)

    def append(self, tiles: pa.Table, rows: Mapping[str, pa.Table] | None = None) -> None:
        """Take in tiles, each key's in order of their ends, and their companion rows by name.

        Readers see all of them or none. One thread may append at a time.

        Raises
        ------
        StoreError
            Where a tile does not come after its key's last, a running sum leaves its type, or a row
            has no tile.

        """
        slots = self._keys.slots([whole_array(tiles[name]) for name in self.view.key], add=True)
        ends = np.ascontiguousarray(whole_array(tiles[END]).to_numpy())
        own, highs = self._lines.of(tiles)
        for name, ragged in self._ragged.items():
            table = (rows or {})[name]
            column = self._layout.columns[name]
            places = ragged.append(self._tiles_of(table, slots, ends), len(slots), table)
            own[:, column : column + 2] = places
        wrong = self.tiles.append(len(self._keys), slots, ends, own, highs)
        if wrong is not None:
            raise self._refusal(int(ends[wrong[0]]), wrong[1])
        with self.lock:
            self.tiles.publish()

    def due(self, complete_ms: int) -> bool:
        """Say whether `trim` would drop something, were the view complete to then."""
        horizon_ms = self.view.horizon_ms
        if horizon_ms is None or self._older is None:
            return False
        return complete_ms - horizon_ms - max(self.floor, 0) >= horizon_ms // _SWEEPS

    def trim(self, complete_ms: int) -> None:
        """Drop what lies before the horizon of a view that is complete to then, in its file too.

        Of each key the newest tile before it stays: with its running sums all later windows are
        exact, and those over all that came before.
        """
        if not self.due(complete_ms):
            return
        every, horizon_ms = self.view.every_ms, self.view.horizon_ms or 0
        floor = (complete_ms - horizon_ms) // every * every
        self.tiles.trim(floor)
        columns = self._layout.columns
        least = {name: self.tiles.least(columns[name], floor) for name in self._ragged}
        with self.lock:
            self.tiles.publish()
            self.floor = floor
            for name, ragged in self._ragged.items():
                ragged.drop(least[name])

    def _refusal(self, end: int, column: int) -> StoreError:
        if column < 0:
            asked = f"asked to index a tile of view '{self.view.name}' that ends at {end}"
            found = "its key has a tile that ends at or after that already"
            return StoreError(asked, found, "rebuild the store from the log")
        # Of a sum of 128 bits the second of its two columns says so.
        starts = {place: name for name, place in self._layout.columns.items()}
        name = starts.get(column) or starts[column - 1]
        kind = next(each.type for each in self.view.partials if each.name == name)
        asked = f"asked for the running {name} of view '{self.view.name}'"
        found = f"it leaves {kind.value} at the tile that ends at {end}"
        return StoreError(asked, found, "sum smaller values, or a smaller scale")

    def _tiles_of(self, rows: pa.Table, slots: Ints, ends: Ints) -> Ints:
        """Say of each companion row which of the tiles just appended it belongs to."""
        own = self._keys.slots([whole_array(rows[name]) for name in self.view.key], add=False)
        steps = [each // self.view.every_ms for each in (ends, whole_array(rows[END]).to_numpy())]
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

    def read(self, keys: Sequence[pa.Array], at: Ints) -> dict[str, pa.Array]:
        """Compute every feature of the view for each (key, t).

        Up to 4,096 rows are of one moment. More are read part by part, lest the writer wait for
        all: what comes meanwhile may be seen by a later part and not by an earlier one. That
        concerns times to which the view is not complete yet; of all others no value changes.

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
        self, keys: Sequence[pa.Array], at: Ints, plan: Plan | None = None
    ) -> tuple[dict[str, pa.Array], dict[str, States]]:
        """Compute the same, or what a plan says, and each value's status by its number."""
        plan = plan or self._whole
        slots, times = self._keys.slots(keys, add=False), np.ascontiguousarray(at, np.int64)
        parts = []
        for start in range(0, max(len(slots), 1), _MOST_ROWS):
            part = slice(start, start + _MOST_ROWS)
            read = self.compute(plan, slots[part], times[part])
            if read is None:
                return self._read_older(plan, keys, times)
            parts.append(read)
        columns = [self._columns(plan, part) for part in parts]
        names = [feature.name for feature in plan.features]
        if len(parts) == 1:
            values = dict(zip(names, columns[0], strict=True))
        else:
            whole = map(pa.concat_arrays, zip(*columns, strict=True))
            values = dict(zip(names, whole, strict=True))
        states = np.concatenate([part.states for part in parts], axis=1) & ~np.uint8(kernel.NULL)
        return values, dict(zip(names, states, strict=True))

    def _read_older(self, plan: Plan, keys: Sequence[pa.Array], times: Ints) -> Found:
        """Read what the index still has from it, and what is older from where that is kept."""
        bounds = times // self.view.every_ms * self.view.every_ms
        # What is dropped meanwhile is found to be older in its turn.
        old = bounds - plan.longest_ms < self.floor
        places = np.flatnonzero(old), np.flatnonzero(~old)
        parts = [[key.take(pa.array(place)) for key in keys] for place in places]
        found = [cast("Older", self._older)(plan.features, parts[0], times[places[0]])]
        if len(places[1]):
            found.append(self.read_with_status(parts[1], times[places[1]], plan))
        back = np.argsort(np.concatenate(places))
        values, states = {}, {}
        for name in (feature.name for feature in plan.features):
            values[name] = pa.concat_arrays([each[0][name] for each in found]).take(pa.array(back))
            states[name] = np.concatenate([each[1][name] for each in found])[back]
        return values, states

    def _columns(self, plan: Plan, read: Read) -> list[pa.Array]:
        """Give each feature's values as Arrow has them; those of steps are not copied."""
        null = read.states >= kernel.NULL
        known = np.packbits(~null, axis=1, bitorder="little")
        columns = []
        for place, feature in enumerate(plan.features):
            kind = feature.aggregate.type
            if feature.name in read.others:
                values = read.others[feature.name][0]
                columns.append(pa.array(values, kind.arrow, mask=null[place]))
                continue
            output, words = plan.results[feature.name]
            numbers = _output(read, output)
            if words:
                texts = self.texts(words, numbers.tolist())
                columns.append(pa.array(texts, kind.arrow, mask=null[place]))
            elif kind is Type.BOOL:
                columns.append(pa.array(numbers.astype(np.bool_), mask=null[place]))
            else:
                buffers = [pa.py_buffer(known[place]), pa.py_buffer(numbers)]
                columns.append(pa.Array.from_buffers(kind.arrow, len(numbers), buffers))
        return columns

    def texts(self, column: str, codes: Sequence[int]) -> list[str]:
        """Give the texts of a column that numbers stand for; of a null any."""
        return self._lines.texts(column, codes)

    def compute(self, plan: Plan, slots: Ints, times: Ints) -> Read | None:
        """Follow a plan at each slot and time: the one way in which values are computed.

        None where one of the times is too old for what the horizon left.
        """
        read = _room(plan, len(slots))
        outputs = (read.wholes, read.reals, read.states, read.missing)
        with self.lock:
            if self.floor > _ALWAYS and len(times) and self.lacks(plan, int(times.min())):
                return None
            kernel.read(slots, times, *self.tiles.seen.arrays, *plan.follow, *outputs)
            if len(plan.results) == len(plan.features):
                return read
            walked = self._walked(plan, read, times)
        return self._finished(plan, read, times, walked)

    def lacks(self, plan: Plan, at: int) -> bool:
        """Say, under the lock, whether a plan needs tiles for a time that are not here any more."""
        every = self.view.every_ms
        return at // every * every - plan.longest_ms < self.floor

    def _walked(self, plan: Plan, read: Read, times: Ints) -> Mapping[object, Any]:
        """Gather rows and weigh tiles, window by window: what is to be done under the lock."""
        found: dict[object, Any] = {}
        rows, end = self.tiles.seen.rows, self.tiles.seen.end
        bounds: Ints = times // self.view.every_ms * self.view.every_ms
        for feature in plan.features:
            aggregate = feature.aggregate
            if feature.reach_ms not in plan.places:
                continue
            high, low, first = (read.wholes[each.row] for each in plan.places[feature.reach_ms])
            if isinstance(aggregate, OfRows):
                key: object = (aggregate.rows, feature.reach_ms)
                if key not in found:
                    found[key] = self._gathered(aggregate.rows, high, low, rows)
            elif aggregate.half_life_ms is not None:
                for partial in aggregate.partials:
                    places = (high, low, first)
                    key = (partial.name, feature.name)
                    half_life_ms = aggregate.half_life_ms
                    found[key] = self._weighed(partial, half_life_ms, places, bounds, end, rows)
        return found

    def _gathered(self, rows: Bins | Ends, high: Ints, low: Ints, tiles: Ints) -> Gathered:
        column = self._layout.columns[rows.name]
        return self._ragged[rows.name].gather(high, low, tiles, column, rows.most_rows or 0)

    def _weighed(
        self,
        partial: Partial | Newest | Bins | Ends,
        half_life_ms: int,
        places: tuple[Ints, Ints, Ints],
        bounds: Ints,
        end: Ints,
        rows: Ints,
    ) -> Floats:
        """Add up the tiles of each window, weighed: a walk, for each tile has another weight."""
        every = self.view.every_ms
        decay = Decay(half_life_ms // every)
        steps = np.array([every, decay.half_life_steps, decay.fine_steps])
        tables = np.array(decay.coarse), np.array(decay.fine), np.array(decay.halves)
        column = self._layout.columns[partial.name]
        return _weigh(places, bounds, end, rows, column, steps, tables)

    def _finished(self, plan: Plan, read: Read, times: Ints, walked: Mapping[object, Any]) -> Read:
        """Make what no steps make, by NumPy, and say of it which values are null."""
        others: dict[str, tuple[Values, Bools]] = {}
        for place, feature in enumerate(plan.features):
            if feature.name in plan.results:
                continue
            aggregate = feature.aggregate
            merged, age = self._merged(plan, feature, read, times, walked)
            value, valid = aggregate.result(merged, age)
            known = valid.astype(np.bool_)
            others[feature.name] = value, known
            state = read.states[place]
            state[known & (state == kernel.EXPIRED)] = 0
            state[~known] += kernel.NULL
        return Read(read.wholes, read.reals, read.states, read.missing, others)

    def _merged(
        self,
        plan: Plan,
        feature: Feature,
        read: Read,
        times: Ints,
        walked: Mapping[object, Any],
    ) -> tuple[dict[str, tuple[Values, Bools]], Ints]:
        """Give a feature's merged partials, and the age of the newest row."""
        aggregate, count = feature.aggregate, len(times)
        everywhere = np.ones(count, np.bool_)
        if isinstance(aggregate, OfRows):
            rows = aggregate.rows
            gathered: Gathered = walked[rows, feature.reach_ms]
            found = aggregate.gathered(gathered, times)
            return {rows.name: (found, gathered.counts > 0)}, np.full(count, -1, np.int64)
        if aggregate.half_life_ms is not None:
            names = [partial.name for partial in aggregate.partials]
            weighed = {name: (walked[name, feature.name], everywhere) for name in names}
            return cast("dict[str, tuple[Values, Bools]]", weighed), np.full(count, -1, np.int64)
        merged: dict[str, tuple[Values, Bools]] = {}
        for name, (*value, valid) in plan.merged[feature.name].items():
            if name:
                halves = [_output(read, each) for each in value]
                whole = halves[0] if len(halves) == 1 else np.stack(halves, axis=1)
                if self._lines.has_texts(name):
                    whole = np.array(self.texts(name, whole.tolist()), np.object_)
                merged[name] = whole, _output(read, valid).astype(np.bool_)
        return merged, _output(read, plan.merged[feature.name][""][0])

    def statistics(self) -> Mapping[str, int]:
        """Count keys, tiles and their companion rows."""
        rows = {f"{name}_rows": len(ragged) for name, ragged in self._ragged.items()}
        return {"keys": len(self._keys), "tiles": self.tiles.count, **rows}

    @property
    def size_bytes(self) -> int:
        """Give the size of its arrays: keys and texts take some more."""
        return self.tiles.size_bytes + sum(each.size_bytes for each in self._ragged.values())


class Single:
    """Reads a plan that steps make whole at one key and time after another, from any thread.

    What `Index.compute` makes room for in each call is here once, and used under the lock.
    """

    def __init__(self, index: Index, plan: Plan) -> None:
        self._index, self._plan = index, plan
        self._lock, self._tiles = index.lock, index.tiles
        self._slots, self._times = np.zeros(1, np.int64), np.zeros(1, np.int64)
        room = _room(plan, 1)
        self._wholes, self._reals, self._states = room.wholes, room.reals, room.states
        self._rest = (*plan.follow, room.wholes, room.reals, room.states, room.missing)

    def read(
        self, slot: int, at: int
    ) -> tuple[int, list[list[int]], list[list[float]], States] | None:
        """Give how many values are null, the outputs, lists of one, and the features' states.

        None where the time is too old for what the horizon left.
        """
        with self._lock:
            if self._index.floor > _ALWAYS and self._index.lacks(self._plan, at):
                return None
            self._slots[0], self._times[0] = slot, at
            arrays = self._tiles.seen.arrays
            nulls = kernel.read(self._slots, self._times, *arrays, *self._rest)
            outputs = self._wholes.tolist(), self._reals.tolist(), self._states.copy()
        return nulls, *outputs


def _room(plan: Plan, count: int) -> Read:
    """Make room for what the kernel gives of n rows."""
    return Read(
        np.empty((plan.sizes[0], count), np.int64),
        np.empty((plan.sizes[1], count), np.float64),
        np.empty((len(plan.features), count), np.uint8),
        np.empty(len(plan.features), np.int64),
        {},
    )


def _output(read: Read, output: Output) -> Values:
    found: Values = read.reals[output.row] if output.real else read.wholes[output.row]
    return found
