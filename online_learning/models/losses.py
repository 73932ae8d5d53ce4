"""Losses by their gradient: all that the row-wise kernels must know of a task.

    logistic   p = σ(s)     g = p − y
    squared    p = s        g = p − y
    poisson    p = exp(s)   g = p − y
    quantile   p = s        g = 1 − τ where p >= y, else −τ

s is the sum of the weights of a row; g is the derivative of the loss by s.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from headrace.online_learning.settings import LearningError
from headrace.operators.compiled import compiled

__all__ = [
    "LOGISTIC",
    "POISSON",
    "QUANTILE",
    "SQUARED",
    "check",
    "gradient",
    "linked",
    "probabilities",
    "sigmoid",
]

LOGISTIC, SQUARED, POISSON, QUANTILE = range(4)

_LOG_ODDS = 35.0  # beyond, p is 0 or 1 to the last digit, and an expected count as good as endless
_STEEPEST = 1e6  # squares of it add up without leaving float64


@compiled
def sigmoid(total: float) -> float:
    """Give the probability that log-odds stand for."""
    return 1.0 / (1.0 + math.exp(-max(min(total, _LOG_ODDS), -_LOG_ODDS)))


@compiled
def linked(loss: int, total: float) -> float:
    """Give the prediction that a sum of weights stands for."""
    if loss == LOGISTIC:
        return sigmoid(total)
    if loss == POISSON:
        return math.exp(max(min(total, _LOG_ODDS), -_LOG_ODDS))
    return total


def probabilities(totals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the probabilities that log-odds stand for, to the bit as the kernels do.

    >>> probabilities(np.array([0.0, 1e9])).round(3).tolist()
    [0.5, 1.0]
    """
    out = np.empty(len(totals))
    _sigmoids(totals, out)
    return out


@compiled
def _sigmoids(totals: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    for i in range(totals.shape[0]):
        out[i] = sigmoid(totals[i])


@compiled
def gradient(loss: int, tau: float, p: float, label: float) -> float:
    """Give the derivative of the loss by the sum, cut at a million so that it stays a number."""
    if loss == QUANTILE:
        return 1.0 - tau if p >= label else -tau
    return max(min(p - label, _STEEPEST), -_STEEPEST)


def check(loss: int, labels: NDArray[np.float64]) -> None:
    """Refuse labels that the loss is not made for; NaN, a step that only predicts, is none.

    >>> check(POISSON, np.array([3.0, np.nan]))
    >>> check(LOGISTIC, np.array([0.5]))
    Traceback (most recent call last):
    ...
    headrace.online_learning.settings.LearningError: asked to learn; a label is not 0, 1 or PRED...
    """
    right = np.isnan(labels)
    if loss == LOGISTIC:
        right |= (labels == 0.0) | (labels == 1.0)
        says = "a label is not 0, 1 or PREDICT"
    elif loss == POISSON:
        right |= (labels >= 0.0) & np.isfinite(labels)
        says = "a label is no count: it is below 0 or not finite"
    else:
        right |= np.isfinite(labels)
        says = "a label is not finite"
    if not right.all():
        asked = "asked to learn"
        raise LearningError(asked, says, "mend it")
