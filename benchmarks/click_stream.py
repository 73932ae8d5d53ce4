"""A made-up stream of clicks, of which the true probability of each is known.

Twenty categorical fields of 2 to 100,000 values, drawn by Zipf's law with exponent 1.05, and five
numbers. The log-odds of a click are a sum: an effect of each value, one of each number, and six
pairs of fields whose values meet as vectors of length 4. Half-way the effects and the vectors of
six fields are drawn anew. Nothing of it depends on anything but the seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["FIELDS", "NUMBERS", "PAIRS", "Clicks", "clicks"]

FIELDS, NUMBERS, ROWS = 20, 5, 200_000
PAIRS = ((0, 9), (3, 12), (5, 7), (8, 15), (11, 4), (14, 2))
_SIZES = np.unique(np.geomspace(2, 100_000, FIELDS).astype(np.int64))
_DRIFTS = (1, 4, 7, 10, 13, 16)
_ZIPF, _RANK = 1.05, 4
_EFFECT, _PAIR, _NUMBER = 0.4, 0.25, 0.15
_POSITIVE = 0.169


@dataclass(frozen=True)
class Clicks:
    """The stream: `values` of shape (rows, fields), `numbers` of (rows, numbers), labels, truth.

    >>> made = clicks(2_000)
    >>> made.values.shape, made.numbers.shape, bool(0.1 < made.labels.mean() < 0.25)
    ((2000, 20), (2000, 5), True)
    """

    values: NDArray[np.int64]
    numbers: NDArray[np.float64]
    labels: NDArray[np.float64]
    truth: NDArray[np.float64]


def clicks(rows: int = ROWS, seed: int = 1) -> Clicks:
    """Make the stream."""
    rng = np.random.default_rng(seed)
    values = np.stack([_zipf(rng, int(size), rows) for size in _SIZES], axis=1)
    numbers = rng.normal(size=(rows, NUMBERS))
    weights = rng.normal(scale=_NUMBER, size=NUMBERS)
    before, after = _effects(rng), _effects(rng)
    half = rows // 2
    odds = np.empty(rows)
    for part, drawn in ((slice(0, half), False), (slice(half, rows), True)):
        effects = [
            (after if drawn and field in _DRIFTS else before)[field] for field in range(FIELDS)
        ]
        odds[part] = _odds(values[part], effects) + numbers[part] @ weights
    odds += _level(odds)
    truth = 1.0 / (1.0 + np.exp(-odds))
    labels = (rng.random(rows) < truth).astype(np.float64)
    return Clicks(values, numbers, labels, truth)


Effects = list[tuple[NDArray[np.float64], NDArray[np.float64]]]


def _zipf(rng: np.random.Generator, size: int, rows: int) -> NDArray[np.int64]:
    shares = np.arange(1, size + 1) ** -_ZIPF
    cumulative = np.cumsum(shares / shares.sum())
    return np.searchsorted(cumulative, rng.random(rows)).clip(max=size - 1)


def _effects(rng: np.random.Generator) -> Effects:
    """Draw of each field an effect and a vector for each value."""
    scale = _PAIR / _RANK**0.25
    return [
        (
            rng.normal(scale=_EFFECT, size=size),
            rng.normal(scale=scale**0.5, size=(size, _RANK)),
        )
        for size in _SIZES
    ]


def _odds(values: NDArray[np.int64], effects: Effects) -> NDArray[np.float64]:
    odds = np.zeros(len(values))
    for field, (effect, _) in enumerate(effects):
        odds += effect[values[:, field]]
    for one, two in PAIRS:
        odds += (effects[one][1][values[:, one]] * effects[two][1][values[:, two]]).sum(axis=1)
    return odds


def _level(odds: NDArray[np.float64]) -> float:
    """Find what must be added for the share of clicks that is wanted."""
    low, high = -20.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        share = float((1.0 / (1.0 + np.exp(-odds - middle))).mean())
        low, high = (middle, high) if share < _POSITIVE else (low, middle)
    return middle
