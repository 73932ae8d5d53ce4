"""FTRL-proximal, one row after the other, in the order of event time.

The state of a slot is (z, n), both 0 at first; its weight is read off them [^1]:

    w = 0 where |z| <= l1, else -(z - sign(z) l1) / ((beta + sqrt n) / alpha + l2)
    p = σ(w of the first token + w of the second + ...), added in the tokens' order
    g = p - y;  s = (sqrt(n + g²) - sqrt n) / alpha;  z += g - s w;  n += g²

An l1 gives weights that are exactly 0, because none is ever stored. Where two tokens of a row fall
on one slot, both updates take the w that made p, and the second sees the n that the first left.

[^1]: McMahan et al., "Ad click prediction: a view from the trenches", KDD 2013.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from headrace.online_learning.settings import Ftrl, LearningError
from headrace.operators.compiled import compiled

__all__ = ["PREDICT", "advance", "blank", "score", "weights"]

PREDICT = -1.0
"""The label of a step that only predicts."""

_LOG_ODDS = 35.0  # beyond, p is 0 or 1 to the last digit


def blank(slots: int) -> NDArray[np.float64]:
    """Make the state of weights that have seen nothing: z and n side by side, per slot."""
    return np.zeros((slots, 2))


def advance(
    zn: NDArray[np.float64],
    ids: NDArray[np.int32],
    rows: NDArray[np.int64],
    labels: NDArray[np.float64],
    ftrl: Ftrl,
) -> NDArray[np.float64]:
    """Take the steps in their order, each predicting a row and, if it has a label, learning it.

    Parameters
    ----------
    zn
        The state, of shape (slots, 2); it is changed.
    ids
        The slots of each row, of shape (rows, tokens).
    rows
        The row of each step.
    labels
        What each step learns: 0.0, 1.0, or `PREDICT` for nothing.

    Returns
    -------
    The probability at each step, before it learned.

    Examples
    --------
    >>> state, ids = blank(4), np.array([[0, 3]], np.int32)
    >>> steps, labels = np.zeros(3, np.int64), np.array([PREDICT, 1.0, PREDICT])
    >>> advance(state, ids, steps, labels, Ftrl(alpha=0.5)).round(3).tolist()
    [0.5, 0.5, 0.562]
    """
    _check(len(zn), ids)
    if len(rows) and not 0 <= rows.min() <= rows.max() < len(ids):
        asked = "asked to learn"
        raise LearningError(asked, f"a step is of none of {len(ids)} rows", "mend it")
    if not np.isin(labels, (PREDICT, 0.0, 1.0)).all():
        asked = "asked to learn"
        raise LearningError(asked, "a label is not 0, 1 or PREDICT", "mend it")
    probabilities = np.empty(len(rows))
    _advance(
        *(zn, ids, rows, labels, probabilities),
        *(float(ftrl.alpha), float(ftrl.beta), float(ftrl.l1), float(ftrl.l2)),
    )
    return probabilities


def weights(zn: NDArray[np.float64], ftrl: Ftrl) -> NDArray[np.float64]:
    """Read the weight of every slot off the state.

    >>> weights(np.array([[-3.0, 1.0], [0.5, 9.0]]), Ftrl(alpha=0.5, l1=1.0)).tolist()
    [0.4, 0.0]
    """
    out = np.empty(len(zn))
    _weights(zn, out, float(ftrl.alpha), float(ftrl.beta), float(ftrl.l1), float(ftrl.l2))
    return out


def score(weights: NDArray[np.float64], ids: NDArray[np.int32]) -> NDArray[np.float64]:
    """Predict rows with given weights, to the bit as `advance` does.

    >>> score(np.zeros(8), np.array([[1, 2]], np.int32)).tolist()
    [0.5]
    """
    _check(len(weights), ids)
    out = np.empty(len(ids))
    _score(weights, ids, out)
    return out


def _check(slots: int, ids: NDArray[np.int32]) -> None:
    # The loops below check no bounds; a slot outside would be read from other memory.
    if ids.size and not 0 <= ids.min() <= ids.max() < slots:
        asked = "asked for a weight"
        raise LearningError(asked, f"its slot is none of {slots}", "encode it anew")


@compiled
def _sigmoid(total: float) -> float:
    return 1.0 / (1.0 + math.exp(-max(min(total, _LOG_ODDS), -_LOG_ODDS)))


@compiled
def _weight(z: float, n: float, alpha: float, beta: float, l1: float, l2: float) -> float:
    if abs(z) <= l1:
        return 0.0
    return -(z - math.copysign(l1, z)) / ((beta + math.sqrt(n)) / alpha + l2)


@compiled
def _advance(
    zn: NDArray[np.float64],
    ids: NDArray[np.int32],
    rows: NDArray[np.int64],
    labels: NDArray[np.float64],
    probabilities: NDArray[np.float64],
    alpha: float,
    beta: float,
    l1: float,
    l2: float,
) -> None:
    width = ids.shape[1]
    used = np.empty(width)
    for step in range(rows.shape[0]):
        row = rows[step]
        total = 0.0
        for j in range(width):
            slot = ids[row, j]
            used[j] = _weight(zn[slot, 0], zn[slot, 1], alpha, beta, l1, l2)
            total += used[j]
        p = _sigmoid(total)
        probabilities[step] = p
        label = labels[step]
        if label < 0.0:
            continue
        gradient = p - label
        for j in range(width):
            slot = ids[row, j]
            before = zn[slot, 1]
            after = before + gradient * gradient
            zn[slot, 0] += gradient - (math.sqrt(after) - math.sqrt(before)) / alpha * used[j]
            zn[slot, 1] = after


@compiled
def _weights(
    zn: NDArray[np.float64],
    out: NDArray[np.float64],
    alpha: float,
    beta: float,
    l1: float,
    l2: float,
) -> None:
    for slot in range(zn.shape[0]):
        out[slot] = _weight(zn[slot, 0], zn[slot, 1], alpha, beta, l1, l2)


@compiled
def _score(weights: NDArray[np.float64], ids: NDArray[np.int32], out: NDArray[np.float64]) -> None:
    for row in range(ids.shape[0]):
        total = 0.0
        for j in range(ids.shape[1]):
            total += weights[ids[row, j]]
        out[row] = _sigmoid(total)
