"""Factorisation machines, one row after the other: weights by FTRL-proximal, vectors by Adagrad.

Members of a row are its tokens (x = 1) and its numbers; the bias is none. The sum of a row is

    s = its weights, as in `ftrl` + ... + the products of its pairs
    fm    pair (i, j): x_i x_j <v_i, v_j>               a vector a slot                       [^1]
    ffm   pair (i, j): x_i x_j <v_i,j, v_j,i>           a vector a slot and other member      [^2]

    a weight v of a vector learns   h = g x_i (the other side's) + l2 v;  n += h²
                                    v -= rate h / sqrt(n)

A slot has vectors from the first label on that it learns; before, its products are 0. What they
begin with depends on the slot and the seed alone. All of a row's updates take the vectors that
made s. Vectors and their n are float32, a row of the table for each slot that has some. (With one n
for a whole vector it took a fifth longer, and the AUC was .0004 lower on made-up clicks.)

[^1]: Rendle, "Factorization machines", ICDM 2010.
[^2]: Juan et al., "Field-aware factorization machines for CTR prediction", RecSys 2016.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.online_learning.deep.entries import drawn
from headrace.online_learning.models.ftrl import learn_row, settings_of, sum_of
from headrace.online_learning.models.losses import LOGISTIC, gradient, sigmoid
from headrace.online_learning.settings import Ftrl
from headrace.operators.compiled import compiled, inlined

__all__ = ["BEGINS", "Factors", "advance", "pairs"]

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]

BEGINS = 0.01
"""What n begins with: the first step is no jump."""
_DRAWN = 0.01  # deviation of what a vector begins with
_L2 = 1e-6
_FIRST_ROWS = 1024


@dataclass
class Factors:
    """The vectors of the slots that have some.

    Parameters
    ----------
    slots
        How many slots there are, with those of numbers.
    members
        How many members a row has.
    width
        Of a vector.
    aware
        Whether a slot has a vector for each member that it meets.

    Examples
    --------
    >>> factors = Factors(slots=8, members=2, width=3, aware=True)
    >>> factors.vectors.shape[1:], factors.used
    ((6,), 0)
    """

    slots: int
    members: int
    width: int
    aware: bool
    used: int = 0
    index: NDArray[np.int32] = field(init=False)
    owners: NDArray[np.int64] = field(init=False)
    vectors: Singles = field(init=False)
    squares: Singles = field(init=False)

    def __post_init__(self) -> None:
        self.index = np.full(self.slots, -1, np.int32)
        self.owners = np.empty(0, np.int64)
        blocks = self.members if self.aware else 1
        self.vectors = np.empty((0, blocks * self.width), np.float32)
        self.squares = np.empty((0, blocks * self.width), np.float32)

    def grow(self, rows: int) -> None:
        """Make room for so many rows more, and as many again as there are."""
        if self.used + rows > len(self.owners):
            length = max(_FIRST_ROWS, 2 * self.used) + rows
            for name in ("owners", "vectors", "squares"):
                old = getattr(self, name)
                more = np.empty((length, *old.shape[1:]), old.dtype)
                more[: self.used] = old[: self.used]
                setattr(self, name, more)

    def take(self, owners: NDArray[np.int64], vectors: Singles, squares: Singles) -> None:
        """Take up rows; there are none yet."""
        self.owners, self.vectors, self.squares = owners.copy(), vectors.copy(), squares.copy()
        self.used = len(owners)
        self.index[owners] = np.arange(self.used, dtype=np.int32)


def advance(
    zr: Floats,
    factors: Factors,
    slots: NDArray[np.int32],
    numbers: Floats,
    rows: NDArray[np.int64],
    labels: Floats,
    weights: Floats,
    ftrl: Ftrl,
    *,
    rate: float,
    seed: int,
    offsets: Floats | None,
    learned_offset: float,
    touched: NDArray[np.bool_],
) -> tuple[Floats, Floats]:
    """Take the steps in their order, as `ftrl.advance` does; zr and the factors are changed."""
    predicted, gradients = np.empty(len(rows)), np.zeros(len(rows))
    added = np.zeros(len(rows)) if offsets is None else offsets
    settings = settings_of(ftrl)
    done = 0
    while done < len(rows):
        factors.grow(factors.members)
        table = factors.index, factors.owners, factors.vectors, factors.squares, factors.used
        told = slots, numbers, rows, labels, weights, added, learned_offset, predicted, gradients
        more = touched, done, factors.members, factors.aware, np.float32(rate), seed
        done, factors.used = _advance(zr, *(*table, *told, *more, *settings))
    return predicted, gradients


def pairs(
    factors: Factors, slots: NDArray[np.int32], numbers: Floats, *, shared: bool = False
) -> tuple[Floats, Singles]:
    """Give of each row the sum of its products and, where asked, what each member has in it.

    A product is half of either of its two members'.
    """
    sums = np.empty(len(slots))
    shares = np.empty((len(slots) if shared else 0, factors.members), np.float32)
    told = (slots, numbers, factors.aware, sums, shares)
    _pairs(factors.index, factors.vectors, *told)
    return sums, shares


@inlined
def _slot(slots: NDArray[np.int32], row: int, i: int, tokens: int, last: int) -> int:
    return int(slots[row, i]) if i < tokens else last + i - tokens


@compiled
def _gather(
    index: NDArray[np.int32],
    vectors: Singles,
    slots: NDArray[np.int32],
    numbers: Floats,
    row: int,
    used: Singles,
) -> None:
    """Write x times the vectors of each member into `used`; 0 where its slot has none."""
    tokens = used.shape[0] - numbers.shape[1]
    last = index.shape[0] - numbers.shape[1]
    for i in range(used.shape[0]):
        place = index[_slot(slots, row, i, tokens, last)]
        x = np.float32(1.0) if i < tokens else np.float32(numbers[row, i - tokens])
        if place < 0:
            used[i] = np.float32(0.0)
        else:
            for d in range(used.shape[1]):
                used[i, d] = x * vectors[place, d]


@compiled
def _met(used: Singles, aware: bool, met: Singles) -> None:
    """Write into `met` what each of the vectors in `used` is multiplied by."""
    # Without a sign: a place below 0 would be counted from the end, and to test for it took as long
    # as all else here.
    members, width = np.uint64(used.shape[0]), np.uint64(used.shape[1])
    if aware:
        for i in range(members):
            start = np.uint64(0)
            while start < width:
                for j in range(members):
                    met[i, start + j] = used[j, start + i]
                met[i, start + i] = np.float32(0.0)
                start += members
        return
    last = met[used.shape[0] - 1]
    last[:] = np.float32(0.0)
    for i in range(members):
        for d in range(width):
            last[d] += used[i, d]
    for i in range(members):
        for d in range(width):
            met[i, d] = last[d] - used[i, d]


@compiled
def _products(used: Singles, met: Singles, sums: Singles) -> float:
    """Give the sum of the products; `sums` is scratch.

    It is added up member after member at each place of a vector, which need not wait for the next.
    """
    sums[:] = np.float32(0.0)
    for i in range(used.shape[0]):
        for d in range(used.shape[1]):
            sums[d] += used[i, d] * met[i, d]
    total = np.float32(0.0)
    for d in range(used.shape[1]):
        total += sums[d]
    return 0.5 * float(total)


@compiled
def _move(
    vectors: Singles,
    squares: Singles,
    place: int,
    met: Singles,
    i: int,
    g: Any,
    rate: Any,
) -> None:
    """Let the vectors of the slot of member i learn."""
    for d in range(vectors.shape[1]):
        h = g * met[i, d] + np.float32(_L2) * vectors[place, d]
        square = squares[place, d] + h * h
        squares[place, d] = square
        # Not by `/`, whose test for 0 keeps it from doing several at once.
        vectors[place, d] -= np.divide(rate * h, np.sqrt(square))


@compiled
def _advance(
    zr: Floats,
    index: NDArray[np.int32],
    owners: NDArray[np.int64],
    vectors: Singles,
    squares: Singles,
    filled: int,
    slots: NDArray[np.int32],
    numbers: Floats,
    rows: NDArray[np.int64],
    labels: Floats,
    weights: Floats,
    offsets: Floats,
    learned_offset: float,
    predicted: Floats,
    gradients: Floats,
    touched: NDArray[np.bool_],
    start: int,
    members: int,
    aware: bool,
    rate: Any,
    seed: int,
    a: float,
    beta: float,
    l1: float,
    l2: float,
) -> tuple[int, int]:
    """Take steps from `start` on while there is room; give where it stopped, and rows in use."""
    tokens, last = members - numbers.shape[1], zr.shape[0] - numbers.shape[1]
    linear = np.empty(slots.shape[1] + numbers.shape[1])
    used = np.empty((members, vectors.shape[1]), np.float32)
    met, sums = np.empty_like(used), np.empty(vectors.shape[1], np.float32)
    none = np.zeros(1, np.int64)
    for step in range(start, rows.shape[0]):
        if filled + members > owners.shape[0]:
            return step, filled
        row, label = rows[step], labels[step]
        left = 0.0 if math.isnan(label) else weights[row]
        first = True
        while first or left > 0.0:
            _gather(index, vectors, slots, numbers, row, used)
            total = sum_of(zr, slots, numbers, row, linear, a, beta, l1, l2)
            _met(used, aware, met)
            total += _products(used, met, sums) + offsets[step]
            if first:
                predicted[step] = sigmoid(total)
                first = False
            if left <= 0.0:
                break
            p = sigmoid(total + learned_offset)
            g = gradient(LOGISTIC, 0.0, p, label) * min(left, 1.0)
            gradients[step] += g
            left -= 1.0
            learn_row(zr, slots, numbers, row, linear, g, touched, a)
            for i in range(members):
                slot = _slot(slots, row, i, tokens, last)
                if index[slot] < 0:
                    index[slot], owners[filled] = filled, slot
                    new = slice(filled, filled + 1)
                    drawn(owners[new], none, seed, _DRAWN, vectors[new])
                    squares[filled] = np.float32(BEGINS)
                    filled += 1
                x = 1.0 if i < tokens else numbers[row, i - tokens]
                h = np.float32(g * x)
                _move(vectors, squares, index[slot], met, i, h, rate)
    return rows.shape[0], filled


@compiled
def _pairs(
    index: NDArray[np.int32],
    vectors: Singles,
    slots: NDArray[np.int32],
    numbers: Floats,
    aware: bool,
    sums: Floats,
    shares: Singles,
) -> None:
    used = np.empty((shares.shape[1], vectors.shape[1]), np.float32)
    met, scratch = np.empty_like(used), np.empty(vectors.shape[1], np.float32)
    for row in range(slots.shape[0]):
        _gather(index, vectors, slots, numbers, row, used)
        _met(used, aware, met)
        sums[row] = _products(used, met, scratch)
        if shares.shape[0]:
            for i in range(used.shape[0]):
                shares[row, i] = np.float32(0.5) * (used[i] * met[i]).sum()
