"""Which ids a table knows: found by open addressing, counted, admitted, forgotten.

::

    (field, id) ──splitmix64──► index[place] ──► entry: id field count at offset batch row
                                  −1: empty              row −1: not admitted

An entry is a line of int64s; entries stand in the order in which their ids were first seen, so one
log makes one table. Nothing is removed in place: `kept` writes the entries that stay anew.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headrace.operators.compiled import compiled
from headrace.operators.hashing import mixed

__all__ = ["AT", "BATCH", "COLUMNS", "COUNT", "FIELD", "ID", "OFFSET", "ROW"]
__all__ += ["absent", "drawn", "find", "index_of", "rows_of", "sight"]

Ints = NDArray[np.int64]
Index = NDArray[np.int32]

ID, FIELD, COUNT, AT, OFFSET, BATCH, ROW = range(7)
COLUMNS = 7


@compiled
def _place(index: Index, entries: Ints, field: int, key: int) -> int:
    """Give the place in the index where the id stands or would stand."""
    mask = index.shape[0] - 1
    place = int(np.int64(mixed(np.uint64(field), np.uint64(key)) & np.uint64(mask)))
    while True:
        entry = index[place]
        if entry < 0 or (entries[entry, ID] == key and entries[entry, FIELD] == field):
            return place
        place = (place + 1) & mask


@compiled
def index_of(entries: Ints, used: int, size: int) -> Index:
    """Make the index of the first `used` entries; `size` is a power of two above `used`."""
    index = np.full(size, -1, np.int32)
    for entry in range(used):
        index[_place(index, entries, entries[entry, FIELD], entries[entry, ID])] = entry
    return index


@compiled
def absent(entries: Ints, index: Index, others: Ints) -> NDArray[np.bool_]:
    """Say of each of `others` whether its id is in no entry."""
    out = np.empty(others.shape[0], np.bool_)
    for i in range(others.shape[0]):
        out[i] = index[_place(index, entries, others[i, FIELD], others[i, ID])] < 0
    return out


@compiled
def sight(
    index: Index,
    entries: Ints,
    used: int,
    ids: Ints,
    at: Ints,
    offsets: Ints,
    batch: int,
    start: int,
    idle: Ints,
    numbers: Index,
    gone: Ints,
) -> tuple[int, int]:
    """Count every id of a batch, and write the number of its entry into `numbers`.

    An entry that was idle at `start` for longer than `idle` of its field (−1: never) begins anew;
    where it had a row, id, field and row are written into `gone`.

    Returns
    -------
    How many entries there are now, and how many lines `gone` has.
    """
    forgotten = 0
    for i in range(ids.shape[0]):
        for field in range(ids.shape[1]):
            place = _place(index, entries, field, ids[i, field])
            entry = int(index[place])
            if entry < 0:
                entry, used = used, used + 1
                index[place] = entry
                entries[entry, ID], entries[entry, FIELD] = ids[i, field], field
                entries[entry, COUNT], entries[entry, ROW] = 0, -1
                entries[entry, AT] = at[i]
            elif entries[entry, BATCH] != batch and 0 <= idle[field] < start - entries[entry, AT]:
                if entries[entry, ROW] >= 0:
                    gone[forgotten, 0], gone[forgotten, 1] = ids[i, field], field
                    gone[forgotten, 2] = entries[entry, ROW]
                    forgotten += 1
                entries[entry, COUNT], entries[entry, ROW] = 0, -1
                entries[entry, AT] = at[i]
            entries[entry, COUNT] += 1
            entries[entry, AT] = max(entries[entry, AT], at[i])
            entries[entry, OFFSET], entries[entry, BATCH] = offsets[i], batch
            numbers[i, field] = entry
    return used, forgotten


@compiled
def rows_of(entries: Ints, numbers: Index, admit: Ints, free: Ints, new: Ints, rows: Ints) -> int:
    """Write the row of every id sighted into `rows`, giving one of `free` to whom is admitted now.

    Who has none gets the default row, whose number is the field's. `new` gets the entries that were
    given rows, which are taken off the end of `free` one after the other; their number is returned.
    """
    given = 0
    for i in range(numbers.shape[0]):
        for field in range(numbers.shape[1]):
            entry = numbers[i, field]
            if entries[entry, ROW] < 0 and entries[entry, COUNT] >= admit[field]:
                entries[entry, ROW] = free[free.shape[0] - 1 - given]
                new[given] = entry
                given += 1
            row = entries[entry, ROW]
            rows[i, field] = row if row >= 0 else field
    return given


@compiled
def find(index: Index, entries: Ints, ids: Ints, now: int, idle: Ints, rows: Ints) -> None:
    """Write the row of every id into `rows`: the default one if it has none or is idle at `now`."""
    for i in range(ids.shape[0]):
        for field in range(ids.shape[1]):
            rows[i, field] = field
            entry = index[_place(index, entries, field, ids[i, field])]
            if entry < 0 or 0 <= idle[field] < now - entries[entry, AT]:
                continue
            if entries[entry, ROW] >= 0:
                rows[i, field] = entries[entry, ROW]


@compiled
def drawn(keys: Ints, fields: Ints, seed: int, scale: float, out: NDArray[np.float32]) -> None:
    """Draw the weights that an id begins with, from nothing but itself and the seed.

    Each is the sum of four even 16-bit numbers, scaled to a deviation of `scale`: near a normal
    one, never beyond 3.5 deviations, and the same bits on every machine.
    """
    step = scale * np.sqrt(3.0) / 65536.0
    for i in range(keys.shape[0]):
        state = mixed(mixed(np.uint64(seed), np.uint64(fields[i])), np.uint64(keys[i]))
        for j in range(out.shape[1]):
            state = mixed(state, np.uint64(j))
            total = np.int64(0)
            for part in range(4):
                total += np.int64((state >> np.uint64(16 * part)) & np.uint64(65535))
            out[i, j] = np.float32((total - 131070) * step)
