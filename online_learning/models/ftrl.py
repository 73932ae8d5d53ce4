"""FTRL-proximal, one row after the other, in the order of event time.

The state of a slot is (z, r), both 0 at first, where r is the root of the paper's n: a root less to
take per token and step. The weight is read off them [^1], with a the inverse of alpha:

    w  = 0 where |z| <= l1, else -(z - sign(z) l1) / ((beta + r) a + l2)
    s  = w of the first token + w of the second + ... + w x of the first number + ... + offset
    g  = the loss's gradient at s
    r' = sqrt(r² + (g x)²);  z += g x - (r' - r) a w;  r = r'       (x is 1 for a token)

An l1 gives weights that are exactly 0, because none is ever stored. Where two tokens of a row fall
on one slot, both updates take the w that made s, and the second sees the r that the first left.
A row of weight h is learned as h rows of weight 1 would be; the last of them may be a part of one.

[^1]: McMahan et al., "Ad click prediction: a view from the trenches", KDD 2013.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from headrace.online_learning.models.losses import LOGISTIC, gradient, linked
from headrace.online_learning.settings import Ftrl
from headrace.operators.compiled import compiled, inlined, prefetched

__all__ = ["advance", "blank", "learn_row", "score", "seeded", "settings_of", "sum_of", "weights"]

Floats = NDArray[np.float64]

_AHEAD = 2
"""How many rows before its own a row's slots are asked for; of 1, 2 and 3 the best."""


def blank(slots: int) -> Floats:
    """Make the state of weights that have seen nothing: z and r side by side, per slot."""
    return np.zeros((slots, 2))


def advance(
    zr: Floats,
    slots: NDArray[np.int32],
    rows: NDArray[np.int64],
    labels: Floats,
    ftrl: Ftrl,
    *,
    loss: int = LOGISTIC,
    tau: float = 0.5,
    numbers: Floats | None = None,
    weights: Floats | None = None,
    offsets: Floats | None = None,
    learned_offset: float = 0.0,
    touched: NDArray[np.bool_] | None = None,
) -> tuple[Floats, Floats]:
    """Take the steps in their order, each predicting a row and, if it has a label, learning it.

    No bounds are checked here: `Steps.check` does.

    Parameters
    ----------
    zr
        The state, of shape (slots + numbers, 2); it is changed. Numbers have the last places.
    slots
        The slots of each row, of shape (rows, tokens).
    rows
        The row of each step.
    labels
        What each step learns, or `PREDICT`.
    numbers
        Of shape (rows, numbers).
    weights
        How many times each row counts where it is learned.
    offsets
        What is added to the sum at each step.
    learned_offset
        What is added besides where a label is learned.
    touched
        Is set where a slot learns for the first time.

    Returns
    -------
    The prediction at each step before it learned, and the gradient by its sum, 0 without a label.

    Examples
    --------
    >>> state, slots = blank(4), np.array([[0, 3]], np.int32)
    >>> steps, labels = np.zeros(3, np.int64), np.array([np.nan, 1.0, np.nan])
    >>> advance(state, slots, steps, labels, Ftrl(alpha=0.5))[0].round(3).tolist()
    [0.5, 0.5, 0.562]
    """
    predicted, gradients = np.empty(len(rows)), np.zeros(len(rows))
    _advance(
        *(zr, slots, np.empty((len(slots), 0)) if numbers is None else numbers, rows, labels),
        np.ones(len(slots)) if weights is None else weights,
        np.zeros(len(rows)) if offsets is None else offsets,
        *(learned_offset, predicted, gradients, loss, tau),
        np.empty(len(zr), np.bool_) if touched is None else touched,
        *settings_of(ftrl),
    )
    return predicted, gradients


def weights(zr: Floats, ftrl: Ftrl) -> Floats:
    """Read the weight of every slot off the state.

    >>> weights(np.array([[-3.0, 1.0], [0.5, 3.0]]), Ftrl(alpha=0.5, l1=1.0)).tolist()
    [0.4, 0.0]
    """
    out = np.empty(len(zr))
    _weights(zr, out, *settings_of(ftrl))
    return out


def seeded(weights: Floats, n: Floats, ftrl: Ftrl) -> Floats:
    """Make the state whose weights are those of a batch fit: a warm start.

    Parameters
    ----------
    weights
        Per slot. A z of 0, as after a copy of the weights alone, would forget them at first touch.
    n
        Per slot the sum of squared gradients over the batch, which is what it is worth; 0 makes it
        no more than a first guess.

    Examples
    --------
    >>> ftrl = Ftrl(alpha=0.1, l1=0.5)
    >>> weights_now = weights(seeded(np.array([0.25, -1.0, 0.0]), np.array([4.0, 0.0, 1.0]), ftrl),
    ...                       ftrl)
    >>> weights_now.round(12).tolist()
    [0.25, -1.0, 0.0]
    """
    slack = (ftrl.beta + np.sqrt(n)) / ftrl.alpha + ftrl.l2
    return np.stack([-weights * slack - np.sign(weights) * ftrl.l1, np.sqrt(n)], axis=1)


def score(
    weights: Floats,
    slots: NDArray[np.int32],
    numbers: Floats | None = None,
    *,
    offsets: Floats | None = None,
    loss: int = LOGISTIC,
) -> Floats:
    """Predict rows with given weights, to the bit as `advance` does.

    >>> score(np.zeros(8), np.array([[1, 2]], np.int32)).tolist()
    [0.5]
    """
    out = np.empty(len(slots))
    none = np.empty((len(slots), 0)) if numbers is None else numbers
    _score(weights, slots, none, np.zeros(len(slots)) if offsets is None else offsets, out, loss)
    return out


def settings_of(ftrl: Ftrl) -> tuple[float, float, float, float]:
    """Give the settings as the kernels take them: a, beta, l1, l2.

    >>> settings_of(Ftrl(alpha=0.5))
    (2.0, 1.0, 0.0, 1.0)
    """
    return 1.0 / ftrl.alpha, float(ftrl.beta), float(ftrl.l1), float(ftrl.l2)


@compiled
def _weight(z: float, r: float, a: float, beta: float, l1: float, l2: float) -> float:
    if abs(z) <= l1:
        return 0.0
    return -(z - math.copysign(l1, z)) / ((beta + r) * a + l2)


@inlined
def sum_of(
    zr: Floats,
    slots: NDArray[np.int32],
    numbers: Floats,
    row: int,
    used: Floats,
    a: float,
    beta: float,
    l1: float,
    l2: float,
) -> float:
    """Give the sum of a row, and in `used` the weights that made it."""
    width, more = slots.shape[1], numbers.shape[1]
    last = zr.shape[0] - more
    total = 0.0
    for j in range(width):
        slot = slots[row, j]
        used[j] = _weight(zr[slot, 0], zr[slot, 1], a, beta, l1, l2)
        total += used[j]
    for j in range(more):
        slot = last + j
        used[width + j] = _weight(zr[slot, 0], zr[slot, 1], a, beta, l1, l2)
        total += used[width + j] * numbers[row, j]
    return total


@inlined
def learn_row(
    zr: Floats,
    slots: NDArray[np.int32],
    numbers: Floats,
    row: int,
    used: Floats,
    g: float,
    touched: NDArray[np.bool_],
    a: float,
) -> None:
    """Let a row's weights learn the gradient of its sum, which `used` made."""
    width, more = slots.shape[1], numbers.shape[1]
    last = zr.shape[0] - more
    for j in range(width):
        slot = slots[row, j]
        before = zr[slot, 1]
        if before == 0.0:
            touched[slot] = True
        after = math.sqrt(before * before + g * g)
        zr[slot, 0] += g - (after - before) * a * used[j]
        zr[slot, 1] = after
    for j in range(more):
        slot = last + j
        part = g * numbers[row, j]
        before = zr[slot, 1]
        after = math.sqrt(before * before + part * part)
        zr[slot, 0] += part - (after - before) * a * used[width + j]
        zr[slot, 1] = after


@compiled
def _advance(
    zr: Floats,
    slots: NDArray[np.int32],
    numbers: Floats,
    rows: NDArray[np.int64],
    labels: Floats,
    weights: Floats,
    offsets: Floats,
    learned_offset: float,
    predicted: Floats,
    gradients: Floats,
    loss: int,
    tau: float,
    touched: NDArray[np.bool_],
    a: float,
    beta: float,
    l1: float,
    l2: float,
) -> None:
    width = slots.shape[1]
    used = np.empty(width + numbers.shape[1])
    for step in range(rows.shape[0]):
        row, label = rows[step], labels[step]
        left = 0.0 if math.isnan(label) else weights[row]
        if step + _AHEAD < rows.shape[0]:
            for j in range(width):
                prefetched(zr, slots[rows[step + _AHEAD], j])
        first = True
        while first or left > 0.0:
            total = sum_of(zr, slots, numbers, row, used, a, beta, l1, l2)
            total += offsets[step]
            if first:
                predicted[step] = linked(loss, total)
                first = False
            if left <= 0.0:
                break
            p = linked(loss, total + learned_offset)
            g = gradient(loss, tau, p, label) * min(left, 1.0)
            gradients[step] += g
            left -= 1.0
            learn_row(zr, slots, numbers, row, used, g, touched, a)


@compiled
def _weights(zr: Floats, out: Floats, a: float, beta: float, l1: float, l2: float) -> None:
    for slot in range(zr.shape[0]):
        out[slot] = _weight(zr[slot, 0], zr[slot, 1], a, beta, l1, l2)


@compiled
def _score(
    weights: Floats,
    slots: NDArray[np.int32],
    numbers: Floats,
    offsets: Floats,
    out: Floats,
    loss: int,
) -> None:
    last = weights.shape[0] - numbers.shape[1]
    for row in range(slots.shape[0]):
        total = 0.0
        for j in range(slots.shape[1]):
            total += weights[slots[row, j]]
        for j in range(numbers.shape[1]):
            total += weights[last + j] * numbers[row, j]
        out[row] = linked(loss, total + offsets[row])
