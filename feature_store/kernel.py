"""The one kernel that reads the hot index: for each (key, t) it follows a plan.

It finds the tiles of each window by binary search, loads what the plan names into registers, takes
the steps and hands out what they give. A sum costs one difference, whatever the window; a maximum
over n tiles looks at n / 1024 + 124 numbers at most, and a longer window goes on where the shorter
one ended. Numba keeps its code by this file: what it compares with must stand here.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from headrace.operators.compiled import compiled

__all__ = ["EXPIRED", "NEVER_SEEN", "NULL", "Load", "Op", "read"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
States = npt.NDArray[np.uint8]

NEVER_SEEN, EXPIRED, NULL = 1, 2, 4
"""A value's state: its status, and that it is null besides."""


class Load(enum.IntEnum):
    """What is taken from a window's tiles: those after `low` up to `high`."""

    SUM = 0
    """A column's running sum at `high`, less that at `low`."""
    WIDE = 1
    """The same of 128 bits, in two columns and two registers."""
    NEWEST = 2
    """A column of the tile at `high`; 0 where the window has no tile."""
    FLAG = 3
    """One bit of it."""
    MOST = 4
    """The greatest of a column of `highs`; with `more` the register of the
    load before it, which goes on to here; with −1 there is none."""
    AGE = 5
    """The time since the newest row; −1 where the window has none."""
    HIGH = 6
    LOW = 7
    FIRST = 8
    """Places of tiles; of `first` the run's oldest."""


class Op(enum.IntEnum):
    """What a step does: those of whole numbers, then those of float64s."""

    ADD = 0
    SUBTRACT = 1
    MULTIPLY = 2
    GREATER = 3
    GREATER_EQUAL = 4
    EQUAL = 5
    NOT_EQUAL = 6
    AND = 7
    OR = 8
    NOT = 9
    WHERE = 10
    INVERT = 11
    """The bits, which turns the order around: of a minimum that is kept as a maximum."""
    FLOAT = 12
    """A float64 of a whole number."""
    ORDERED = 13
    """A float64 of the whole number that stands for it in order."""
    BITS = 14
    """A float64 of its bits."""
    ADD_REAL = 15
    SUBTRACT_REAL = 16
    MULTIPLY_REAL = 17
    DIVIDE_REAL = 18
    GREATER_REAL = 19
    GREATER_EQUAL_REAL = 20
    EQUAL_REAL = 21
    NOT_EQUAL_REAL = 22
    ROOT_REAL = 23
    WHERE_REAL = 24


@compiled
def _back(end: Ints, first: int, last: int, limit: int) -> int:
    """Give a run's last place up to `last` that ends by `limit`; one before `first` if none.

    It looks near `last` first, in steps that double: most reads are of what is new.
    """
    above, place, stride = last + 1, last, 1
    while place >= first and end[place] > limit:
        above = place
        place -= stride
        stride *= 2
    below = max(place, first - 1)
    while above - below > 1:
        middle = (above + below) // 2
        if end[middle] > limit:
            above = middle
        else:
            below = middle
    return below


@compiled
def _most(values: Ints, blocks: Ints, start: int, stop: int, most: int) -> int:
    """Give the greatest of `most` and the values from `start` up to `stop`.

    It looks at whole blocks of 1024, at blocks of 32 where the former are cut, and at what is left.
    """
    above = -(-len(values) // 32)
    place = start
    while place < stop:
        if place & 1023 == 0 and place + 1024 <= stop:
            most = max(most, blocks[above + place // 1024])
            place += 1024
        elif place & 31 == 0 and place + 32 <= stop:
            most = max(most, blocks[place // 32])
            place += 32
        else:
            most = max(most, values[place])
            place += 1
    return most


@compiled
def _find(
    table: Ints, slots: Ints, times: Ints, runs: Ints, end: Ints, firsts: Ints, lows: Ints
) -> None:
    """Find each row's first tile and the last of each window's bounds; the last line is `high`."""
    every, windows = table[0, 0], table[1, 0]
    for row in range(len(slots)):
        slot = slots[row]
        bound = times[row] // every * every
        first, low = 0, -1
        if 0 <= slot < len(runs):
            first = runs[slot, 0]
            low = _back(end, first, runs[slot, 1] - 1, bound)
        firsts[row] = first
        lows[windows, row] = first - 1
        lows[windows + 1, row] = low
        for window in range(windows):
            low = _back(end, first, low, bound - table[2 + window, 0])
            lows[window, row] = low


@compiled
def _load(
    table: Ints,
    line: int,
    times: Ints,
    firsts: Ints,
    lows: Ints,
    reached: Ints,
    rows: Ints,
    highs: Ints,
    blocks: Ints,
    wholes: Ints,
) -> None:
    """Load one line of the plan for all rows."""
    kind, to, column = table[line, 0], table[line, 1], table[line, 2]
    more = table[line, 4]
    low, high = lows[table[line, 3]], lows[len(lows) - 1]
    loaded, next_loaded = wholes[to], wholes[min(to + 1, len(wholes) - 1)]
    if kind == Load.SUM:
        for row in range(len(times)):
            upper = rows[high[row], column] if high[row] >= firsts[row] else 0
            lower = rows[low[row], column] if low[row] >= firsts[row] else 0
            loaded[row] = upper - lower
    elif kind == Load.WIDE:
        for row in range(len(times)):
            upper, lower = np.int64(0), np.int64(0)
            if high[row] >= firsts[row]:
                lower, upper = rows[high[row], column], rows[high[row], column + 1]
            if low[row] >= firsts[row]:
                less = rows[low[row], column]
                upper -= rows[low[row], column + 1]
                upper -= 1 if np.uint64(lower) < np.uint64(less) else 0
                lower -= less
            loaded[row] = lower
            next_loaded[row] = upper
    elif kind == Load.NEWEST:
        for row in range(len(times)):
            loaded[row] = rows[high[row], column] if high[row] > low[row] else 0
    elif kind == Load.FLAG:
        for row in range(len(times)):
            loaded[row] = (rows[high[row], column] >> more) & 1 if high[row] > low[row] else 0
    elif kind == Load.MOST:
        before = wholes[more]
        for row in range(len(times)):
            most, stop = np.int64(_LEAST), high[row] + 1
            if more >= 0:
                most, stop = before[row], reached[row]
            loaded[row] = _most(highs[column], blocks[column], low[row] + 1, stop, int(most))
            reached[row] = low[row] + 1
    elif kind == Load.AGE:
        for row in range(len(times)):
            alive = high[row] > low[row]
            loaded[row] = times[row] - rows[high[row], column] if alive else -1
    elif kind == Load.HIGH:
        loaded[:] = high
    elif kind == Load.LOW:
        loaded[:] = low
    else:
        loaded[:] = firsts


_LEAST = np.iinfo(np.int64).min
_TOP = np.int64(0x7FFF_FFFF_FFFF_FFFF)


@compiled
def _step(table: Ints, line: int, wholes: Ints, reals: Floats) -> None:
    """Take one step of the plan for all rows."""
    op, to = table[line, 0], table[line, 1]
    a, b, c = table[line, 2], table[line, 3], table[line, 4]
    if op < Op.FLOAT:
        whole, x, y = wholes[to], wholes[a], wholes[b]
        if op == Op.GREATER:
            whole[:] = x > y
        elif op == Op.WHERE:
            z = wholes[c]
            for row in range(len(whole)):
                whole[row] = y[row] if x[row] else z[row]
        elif op == Op.INVERT:
            whole[:] = ~x
        elif op == Op.ADD:
            whole[:] = x + y
        elif op == Op.SUBTRACT:
            whole[:] = x - y
        elif op == Op.MULTIPLY:
            whole[:] = x * y
        elif op == Op.GREATER_EQUAL:
            whole[:] = x >= y
        elif op == Op.EQUAL:
            whole[:] = x == y
        elif op == Op.NOT_EQUAL:
            whole[:] = x != y
        elif op == Op.AND:
            whole[:] = x & y
        elif op == Op.OR:
            whole[:] = x | y
        else:
            whole[:] = x ^ 1
    elif op < Op.ADD_REAL:
        real, x = reals[to], wholes[a]
        if op == Op.FLOAT:
            real[:] = x
        elif op == Op.ORDERED:
            # What stands for a negative float64 has all bits but its sign's turned around.
            real[:] = (x ^ ((x >> 63) & _TOP)).view(np.float64)
        else:
            real[:] = x.view(np.float64)
    elif op < Op.GREATER_REAL:
        real, p, q = reals[to], reals[a], reals[b]
        if op == Op.DIVIDE_REAL:
            for row in range(len(real)):
                # By 0 as IEEE 754 says: Numba would raise an error.
                real[row] = p[row] * np.inf if q[row] == 0 else p[row] / q[row]
        elif op == Op.ADD_REAL:
            real[:] = p + q
        elif op == Op.SUBTRACT_REAL:
            real[:] = p - q
        else:
            real[:] = p * q
    elif op < Op.ROOT_REAL:
        whole, p, q = wholes[to], reals[a], reals[b]
        if op == Op.GREATER_REAL:
            whole[:] = p > q
        elif op == Op.GREATER_EQUAL_REAL:
            whole[:] = p >= q
        elif op == Op.EQUAL_REAL:
            whole[:] = p == q
        else:
            whole[:] = p != q
    elif op == Op.ROOT_REAL:
        reals[to][:] = np.sqrt(reals[a])
    else:
        real, x, p, q = reals[to], wholes[a], reals[b], reals[c]
        for row in range(len(real)):
            real[row] = p[row] if x[row] else q[row]


@compiled
def _state(
    windows: int, window: int, valid: int, firsts: Ints, lows: Ints, wholes: Ints, states: States
) -> int:
    """Say of one feature what its values are; give how many are null."""
    high, low, nulls = lows[len(lows) - 1], lows[window], 0
    for row in range(len(states)):
        state = 0
        if high[row] < firsts[row]:
            state = 1
        elif window < windows and low[row] == high[row]:
            state = 2
        if valid >= 0:
            if not wholes[valid, row]:
                state += 4
                nulls += 1
            elif state == 2:
                state = 0
        states[row] = state
    return nulls


def _read(
    slots: Ints,
    times: Ints,
    runs: Ints,
    end: Ints,
    rows: Ints,
    highs: Ints,
    blocks: Ints,
    table: Ints,
    first_wholes: Ints,
    first_reals: Floats,
    out_wholes: Ints,
    out_reals: Floats,
    states: States,
    missing: Ints,
) -> int:
    """Read what a plan says at each slot and time; give how many values are null.

    `runs` to `blocks` are what `Seen` has, `table` to `first_reals` a plan's; a row of `out_wholes`
    and `out_reals` is an output, one of `states` a feature, whose nulls `missing` counts. Where
    only NumPy can say whether a value is null, its state is that of a null without saying so.
    """
    windows = table[1, 0]
    loads = 2 + windows
    steps = loads + table[1, 1]
    exports = steps + table[1, 2]
    results = exports + table[1, 3]
    # So few rows at once that their registers stay in the processor's cache.
    most = max(1, min(len(slots), 128))
    wholes = np.empty((len(first_wholes), most), np.int64)
    reals = np.empty((len(first_reals), most), np.float64)
    for place in range(len(first_wholes)):
        wholes[place] = first_wholes[place]
    for place in range(len(first_reals)):
        reals[place] = first_reals[place]
    firsts, reached = np.empty(most, np.int64), np.empty(most, np.int64)
    lows = np.empty((windows + 2, most), np.int64)
    missing[:] = 0
    for start in range(0, len(slots), most):
        stop = min(start + most, len(slots))
        n, at = stop - start, times[start:stop]
        _find(table, slots[start:stop], at, runs, end, firsts, lows)
        for line in range(loads, steps):
            _load(table, line, at, firsts, lows, reached, rows, highs, blocks, wholes)
        for line in range(steps, exports):
            _step(table, line, wholes, reals)
        for line in range(exports, results):
            if table[line, 0]:
                out_reals[table[line, 2], start:stop] = reals[table[line, 1], :n]
            else:
                out_wholes[table[line, 2], start:stop] = wholes[table[line, 1], :n]
        for line in range(results, results + table[1, 4]):
            told, window, valid = states[line - results, start:stop], table[line, 0], table[line, 1]
            count = _state(windows, window, valid, firsts, lows, wholes, told)
            missing[line - results] += count
    return int(missing.sum())


read: Callable[..., int] = compiled(_read)
"""`_read` as machine code; a checker of types cannot follow tuples of arrays into it."""
