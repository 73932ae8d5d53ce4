"""The tiles of a view in the hot index: each key's in one run of contiguous arrays, oldest first.

::

    seen[slot] ─► first ────────────────► stop        a key's run; tiles come at its end
    end           e0   e1   e2   e3   e4              sorted: a time is found by binary search
    rows          ...................... ┐            per tile: running sums, the newest row, …
    highs         h0   h1   h2   h3   h4 ┘            what a maximum is over
    blocks        └── max of each 32 and of each 1024 ──┘

A run that is full moves to a longer place behind all others. Where the arrays are full, all runs
move to new ones, which leaves behind what nobody sees any more: so a tile is copied a few times in
its life. Whatever moves or comes is written where no reader looks, and published at once, under the
lock: a reader sees all of an append or nothing of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headrace.operators.compiled import compiled

__all__ = ["LEAST", "Kind", "Seen", "Tiles"]

Ints = npt.NDArray[np.int64]

_SPARE = 1 << 18
"""Places for runs that move, at the least: else small arrays move in every append."""
LEAST = np.iinfo(np.int64).min
"""What a tile without a value has among `highs`."""
_MOST_HIGH, _MOST_LOW = np.int64((10**38 - 1) >> 64), np.uint64((10**38 - 1) & (2**64 - 1))


class Kind:
    """How a column of `rows` comes from the one before it in its run."""

    OWN, SUM, WIDE, WIDE_HIGH, MOST = range(5)


@dataclass(frozen=True)
class Seen:
    """What a reader sees: runs by slot, [first, stop) each, and the arrays that they are in."""

    runs: Ints
    end: Ints
    rows: Ints
    highs: Ints
    blocks: Ints

    @property
    def arrays(self) -> tuple[Ints, Ints, Ints, Ints, Ints]:
        """Give them in this order."""
        return self.runs, self.end, self.rows, self.highs, self.blocks


@compiled
def _needed(runs: Ints, slots: Ints, coming: Ints) -> int:
    """Count each slot's rows into `coming`; give how much room the runs that must move need."""
    for row in range(len(slots)):
        coming[slots[row]] += 1
    room = 0
    for row in range(len(slots)):
        slot = slots[row]
        more = coming[slot]
        if more > 0:
            if runs[slot, 2] + more > runs[slot, 0]:
                room += _holds(runs[slot, 2] - runs[slot, 1] + more)
            coming[slot] = -more
    for row in range(len(slots)):
        coming[slots[row]] = abs(coming[slots[row]])
    return room


@compiled
def _holds(count: int) -> int:
    """Give how many tiles there is room for where a run of `count` moves to."""
    return count + count // 2 + 2


@compiled
def _put(highs: Ints, blocks: Ints, column: int, place: int, value: int) -> None:
    """Write a value; a block begins anew at its first place, and a run is written in order.

    A block that a run shares with another, or has not filled, says nothing: no reader asks it.
    """
    highs[column, place] = value
    block = place // 32
    if place % 32 == 0 or value > blocks[column, block]:
        blocks[column, block] = value
    block = -(-highs.shape[1] // 32) + place // 1024
    if place % 1024 == 0 or value > blocks[column, block]:
        blocks[column, block] = value


@compiled
def _move(
    run: Ints,
    start: int,
    room: int,
    end: Ints,
    rows: Ints,
    highs: Ints,
    to_end: Ints,
    to_rows: Ints,
    to_highs: Ints,
    to_blocks: Ints,
) -> None:
    """Copy a run to a place that has room for so many tiles, of the same arrays or of others."""
    first, count = run[1], run[2] - run[1]
    to_end[start : start + count] = end[first : first + count]
    to_rows[start : start + count] = rows[first : first + count]
    for column in range(highs.shape[0]):
        for place in range(count):
            _put(to_highs, to_blocks, column, start + place, highs[column, first + place])
    run[0] = start + room
    run[1] = start
    run[2] = start + count


@compiled
def _compacted(runs: Ints, coming: Ints) -> int:
    """Give how many places all runs take after they have moved together."""
    total = 0
    for slot in range(len(runs)):
        total += _together(runs[slot], coming[slot])
    return total


@compiled
def _together(run: Ints, more: int) -> int:
    """Give the room of a run among all that move: much for one that grows, little for others."""
    live = run[2] - run[1]
    return _holds(live + more) if more else live + live // 8


@compiled
def _compact(
    runs: Ints,
    coming: Ints,
    end: Ints,
    rows: Ints,
    highs: Ints,
    to_end: Ints,
    to_rows: Ints,
    to_highs: Ints,
    to_blocks: Ints,
) -> int:
    """Move all runs to other arrays; give the place behind the last."""
    used = 0
    for slot in range(len(runs)):
        room = _together(runs[slot], coming[slot])
        where = (to_end, to_rows, to_highs, to_blocks)
        _move(runs[slot], used, room, end, rows, highs, *where)
        used += room
    return used


@compiled
def _by_slot(coming: Ints, slots: Ints) -> Ints:
    """Give the rows slot by slot, each slot's in their order."""
    starts = np.zeros(len(coming) + 1, np.int64)
    for slot in range(len(coming)):
        starts[slot + 1] = starts[slot] + coming[slot]
    order = np.empty(len(slots), np.int64)
    for row in range(len(slots)):
        order[starts[slots[row]]] = row
        starts[slots[row]] += 1
    return order


@compiled
def _append(
    order: Ints,
    runs: Ints,
    coming: Ints,
    used: int,
    end: Ints,
    rows: Ints,
    highs: Ints,
    blocks: Ints,
    kinds: Ints,
    slots: Ints,
    ends: Ints,
    own: Ints,
    high: Ints,
) -> tuple[int, int, int]:
    """Write tiles in an order at the ends of their runs; give the place behind all of them.

    Besides: the first row that does not come after its key's last or whose sum leaves its type, −1
    if there is none, and the column of that sum, −1 if it is the order.
    """
    for row in range(len(slots)):
        run = runs[slots[row]]
        more = coming[slots[row]]
        coming[slots[row]] = 0
        if more > 0 and run[2] + more > run[0]:
            room = _holds(run[2] - run[1] + more)
            _move(run, used, room, end, rows, highs, end, rows, highs, blocks)
            used += room
    for row in order:
        run = runs[slots[row]]
        place = run[2]
        before = place - 1 if place > run[1] else -1
        if before >= 0 and end[before] >= ends[row]:
            return used, row, -1
        end[place] = ends[row]
        for column in range(len(kinds)):
            kind, value = kinds[column], own[row, column]
            if before >= 0 and kind != 0:
                known = rows[before, column]
                if kind == 1:
                    total = known + value
                    if (known ^ total) & (value ^ total) < 0:
                        return used, row, column
                    value = total
                elif kind == 2:
                    value = known + value
                elif kind == 3:
                    # The carry of the column before it: its sum is less than what was added.
                    carry = np.uint64(rows[place, column - 1]) < np.uint64(own[row, column - 1])
                    value = known + value + (1 if carry else 0)
                elif known > value:
                    value = known
            if kind == 3 and (
                value < 0
                or value > _MOST_HIGH
                or (value == _MOST_HIGH and np.uint64(rows[place, column - 1]) > _MOST_LOW)
            ):
                return used, row, column
            rows[place, column] = value
        for column in range(highs.shape[0]):
            _put(highs, blocks, column, place, high[column, row])
        run[2] = place + 1
    return used, -1, -1


@compiled
def _publish(seen: Ints, runs: Ints, slots: Ints) -> None:
    for row in range(len(slots)):
        seen[slots[row], 0] = runs[slots[row], 1]
        seen[slots[row], 1] = runs[slots[row], 2]


@compiled
def _trim(runs: Ints, end: Ints, floor: int) -> int:
    """Let each run begin at its newest tile at or before `floor`; give how many tiles are left."""
    left = 0
    for slot in range(len(runs)):
        low, high = runs[slot, 1], runs[slot, 2]
        while high - low > 1:
            middle = (low + high) // 2
            if end[middle] > floor:
                high = middle
            else:
                low = middle
        runs[slot, 1] = low
        left += runs[slot, 2] - low
    return left


@compiled
def _least(runs: Ints, end: Ints, rows: Ints, column: int, floor: int) -> int:
    """Give the least of a column's values after `floor`."""
    least = np.int64(9223372036854775807)
    for slot in range(len(runs)):
        for place in range(runs[slot, 1], runs[slot, 2]):
            if end[place] > floor:
                least = min(least, rows[place, column])
    return int(least)


class Tiles:
    """The tiles of all keys. One thread writes; others read what `seen` gives, under the lock.

    Parameters
    ----------
    kinds
        How each column of `rows` comes from the tile before.
    highs
        How many columns there are to take maxima of.

    """

    def __init__(self, kinds: list[int], highs: int) -> None:
        self._kinds = np.array(kinds, np.int64)
        # Of each slot the place behind its room, its first tile and the place behind its last.
        self._runs: Ints = np.zeros((0, 3), np.int64)
        self._coming: Ints = np.zeros(0, np.int64)
        self._used = 0
        self._slots: Ints = np.zeros(0, np.int64)
        self._seen = self._next = _arrays(0, 0, len(kinds), highs)
        self.count = 0

    @property
    def seen(self) -> Seen:
        """Give what was published last."""
        return self._seen

    @property
    def size_bytes(self) -> int:
        """Give the size of all arrays."""
        now = self._next
        arrays = (now.runs, now.end, now.rows, now.highs, now.blocks, self._runs, self._coming)
        return sum(array.nbytes for array in arrays)

    def expect(self, counts: Ints) -> None:
        """Make room for so many tiles of each slot, before the first is appended.

        A run that is where it will stay is written once: ten million tiles load in half the time.
        """
        self._reserve_slots(len(counts))
        rooms = counts + counts // 8 + 2
        stops = np.cumsum(rooms)
        runs = self._runs[: len(counts)]
        runs[:, 0], runs[:, 1], runs[:, 2] = stops, stops - rooms, stops - rooms
        self._used = int(stops[-1])
        size, now = self._used + self._used // 8 + 1024, self._next
        self._next = _arrays(len(now.runs), size, len(self._kinds), len(now.highs))

    def append(
        self, keys: int, slots: Ints, ends: Ints, own: Ints, high: Ints
    ) -> tuple[int, int] | None:
        """Write tiles where no reader looks; `publish` shows them.

        Gives None, or the first row that is refused and the column whose sum leaves its type, −1
        where it is that the row does not come after its key's last.
        """
        self._reserve_slots(keys)
        room = _needed(self._runs, slots, self._coming)
        if self._used + room > len(self._next.end):
            self._compact()
        now = self._next
        arrays = (now.end, now.rows, now.highs, now.blocks)
        rest = (self._kinds, slots, ends, own, high)
        # Many tiles are written run by run: long runs are each in pages of their own, and one after
        # the other in the order of time is twice as slow.
        many = len(slots) > len(self._runs)
        order = _by_slot(self._coming, slots) if many else np.arange(len(slots))
        found = _append(order, self._runs, self._coming, self._used, *arrays, *rest)
        self._used, wrong, column = found
        self._slots = slots
        if wrong >= 0:
            return wrong, column
        self.count += len(slots)
        return None

    def publish(self) -> None:
        """Show what was appended or trimmed: to be called under the readers' lock, and short."""
        _publish(self._next.runs, self._runs, self._slots)
        self._seen = self._next
        self._slots = self._slots[:0]

    def trim(self, floor: int) -> None:
        """Drop what no window from `floor` on needs; `publish` shows it."""
        self.count = _trim(self._runs, self._next.end, floor)
        now = self._next
        self._next = Seen(self._shown(now.runs), now.end, now.rows, now.highs, now.blocks)

    def least(self, column: int, floor: int) -> int:
        """Give the least value of a column among the tiles that end after `floor`."""
        return _least(self._runs, self._next.end, self._next.rows, column, floor)

    def _shown(self, like: Ints) -> Ints:
        runs = np.zeros_like(like)
        runs[: len(self._runs)] = self._runs[:, 1:]
        return runs

    def _reserve_slots(self, keys: int) -> None:
        missing = keys - len(self._runs)
        if missing > 0:
            more = max(missing, len(self._runs) // 2, 64)
            self._runs = np.concatenate([self._runs, np.zeros((more, 3), np.int64)])
            self._coming = np.concatenate([self._coming, np.zeros(more, np.int64)])
            now = self._next
            runs = np.concatenate([now.runs, np.zeros((more, 2), np.int64)])
            self._next = Seen(runs, now.end, now.rows, now.highs, now.blocks)

    def _compact(self) -> None:
        """Move all runs to new arrays, with room for what comes and more."""
        now = self._next
        total = _compacted(self._runs, self._coming)
        size = total + max(total // 4, min(4 * total, _SPARE))
        then = _arrays(len(now.runs), size, len(self._kinds), len(now.highs))
        where = (then.end, then.rows, then.highs, then.blocks)
        self._used = _compact(self._runs, self._coming, now.end, now.rows, now.highs, *where)
        self._next = Seen(self._shown(now.runs), *where)


def _arrays(slots: int, size: int, columns: int, highs: int) -> Seen:
    """Make arrays; pages that nobody writes take no memory."""
    return Seen(
        np.zeros((slots, 2), np.int64),
        np.empty(size, np.int64),
        np.empty((size, columns), np.int64),
        np.empty((highs, size), np.int64),
        # The blocks of 32, then those of 1024.
        np.empty((highs, -(-size // 32) - (-size // 1024)), np.int64),
    )
