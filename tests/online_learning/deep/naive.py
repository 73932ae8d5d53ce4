"""A table of embeddings as a dictionary: what the fast one must equal, bit for bit."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from headrace.online_learning.deep.settings import Field

__all__ = ["Naive", "Row"]

_MASK = 2**64 - 1
_ENTRY_BYTES = 72


def mixed(state: int, code: int) -> int:
    state = ((state ^ code) + 0x9E3779B97F4A7C15) & _MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
    return state ^ (state >> 31)


@dataclass
class Row:
    """Weights and Adagrad's accumulator."""

    weights: list[np.float32]
    squares: np.float32 = field(default_factory=np.float32)


@dataclass
class _Seen:
    count: int = 0
    at: int = -(2**62)
    offset: int = 0
    row: Row | None = None


@dataclass
class Naive:
    """Row-wise Adagrad over a dictionary of ids."""

    fields: tuple[Field, ...]
    width: int
    rate: float
    seed: int
    memory_bytes: int | None = None
    level: int = 1
    now: int = -(2**62)
    seen: dict[tuple[int, int], _Seen] = field(default_factory=dict)
    defaults: list[Row] = field(default_factory=list)
    lookups: int = 0
    default_lookups: int = 0

    def __post_init__(self) -> None:
        self.defaults = [Row([np.float32(0)] * self.width) for _ in self.fields]

    def sight(self, ids: list[list[int]], at: list[int], offsets: list[int]) -> list[Row]:
        """Count and admit; the row of each lookup."""
        self.forget(max([self.now, min(at)]), len(ids) * len(self.fields))
        for row, t, offset in zip(ids, at, offsets, strict=True):
            for f, key in enumerate(row):
                one = self.seen.setdefault((f, key), _Seen())
                one.count, one.at, one.offset = one.count + 1, max(one.at, t), offset
        self.now = max(self.now, *at)
        for f, key in ((f, key) for row in ids for f, key in enumerate(row)):
            one = self.seen[f, key]
            if one.row is None and one.count >= max(self.fields[f].admit, self.level):
                one.row = Row(self.drawn(f, key))
        lookups = ((f, key) for row in ids for f, key in enumerate(row))
        found = [self.seen[f, key].row or self.defaults[f] for f, key in lookups]
        self.lookups += len(found)
        self.default_lookups += sum(any(row is one for one in self.defaults) for row in found)
        return found

    def idle(self, f: int, one: _Seen, at: int) -> bool:
        """Whether it has not come for too long."""
        limit = self.fields[f].expire_ms
        return limit is not None and at - one.at > limit

    def read(self, f: int, key: int) -> Row:
        """The row that an id has now."""
        one = self.seen.get((f, key))
        if one is None or one.row is None or self.idle(f, one, self.now):
            return self.defaults[f]
        return one.row

    def forget(self, start: int, lookups: int) -> None:
        """Drop who is idle, and who is seen least where the memory asks for it."""
        self.seen = {k: one for k, one in self.seen.items() if not self.idle(k[0], one, start)}
        if self.memory_bytes is None:
            return
        row_bytes = 4 * (self.width + 1)
        most = lookups * (_ENTRY_BYTES + row_bytes)
        base = len(self.fields) * row_bytes

        def size(level: int) -> int:
            stay = [one for one in self.seen.values() if one.count >= level]
            return sum(_ENTRY_BYTES + row_bytes * (one.row is not None) for one in stay)

        if base + size(0) + most <= self.memory_bytes:
            return
        room = min(self.memory_bytes // 2, self.memory_bytes - most) - base
        counts = sorted({one.count for one in self.seen.values()})
        fits = [level for level in (0, *(n + 1 for n in counts)) if size(level) <= room]
        if fits[0]:
            self.level = fits[0]
            self.seen = {k: one for k, one in self.seen.items() if one.count >= self.level}

    def drawn(self, f: int, key: int) -> list[np.float32]:
        """The weights that an id begins with."""
        state = mixed(mixed(self.seed, f), key & _MASK)
        step, weights = 0.01 * math.sqrt(3) / 65536, []
        for j in range(self.width):
            state = mixed(state, j)
            total = sum((state >> 16 * part) & 0xFFFF for part in range(4))
            weights.append(np.float32((total - 131070) * step))
        return weights

    def learn(self, rows: list[Row], gradient: NDArray[np.float32]) -> None:
        """Add the gradients of each row, then move it."""
        sums: dict[int, tuple[Row, list[np.float32]]] = {}
        for row, line in zip(rows, gradient, strict=True):
            if id(row) in sums:
                total = sums[id(row)][1]
                total[:] = [a + b for a, b in zip(total, line, strict=True)]
            else:
                sums[id(row)] = (row, list(line))
        for row, g in sums.values():
            square = np.float32(0)
            for one in g:
                square += one * one
            row.squares = row.squares + square / np.float32(self.width)
            step = np.float32(self.rate) / (np.sqrt(row.squares) + np.float32(1e-8))
            row.weights = [w - step * one for w, one in zip(row.weights, g, strict=True)]
