"""Evidence may be looked at after every row: it is seldom wrong, and it finds what is there."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from headrace.online_learning.evidence import Evidence

SEED = 11
RATE = 0.3
PATHS, ROWS = 1_000, 1_500
ALPHA = 0.05

Floats = NDArray[np.float64]


def differences(says: float, other: float, rows: int, paths: int) -> tuple[Floats, Floats]:
    """Draw labels of rate `RATE`; give by how much the first one's log loss is above the other's.

    And how far it could have been.
    """
    positive = np.random.default_rng(SEED).random((rows, paths)) < RATE
    one, zero = math.log(other / says), math.log((1 - other) / (1 - says))
    x = np.where(positive, one, zero)
    return x, np.full_like(x, max(abs(one), abs(zero)))


def equally_bad(says: float) -> float:
    """Find who, on the other side of the rate, has the same expected log loss."""

    def loss(p: float) -> float:
        return -RATE * math.log(p) - (1 - RATE) * math.log(1 - p)

    low, high = 1e-6, RATE
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if loss(middle) > loss(says) else (low, middle)
    return low


def first_shown(x: Floats, reach: Floats, alpha: float) -> Floats:
    """Look after each row; give the row at which each path was shown, or infinity."""
    evidence = Evidence([False] * x.shape[1])
    at = np.full(x.shape[1], np.inf)
    for row in range(len(x)):
        evidence.add(x[row : row + 1], reach[row : row + 1])
        shown = evidence.logs >= math.log(1 / alpha)
        at[shown & np.isinf(at)] = row
    return at


@pytest.mark.parametrize("says", [0.35, 0.4, 0.6])
def test_who_is_not_worse_is_seldom_called_worse_though_one_looks_at_each_row(says: float) -> None:
    x, reach = differences(says, equally_bad(says), ROWS, PATHS)
    wrong = np.isfinite(first_shown(x, reach, ALPHA)).mean()
    assert wrong <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / PATHS)


def test_a_usual_test_that_one_looks_at_again_and_again_is_often_wrong() -> None:
    """What the evidence is for: the same labels, the same question, a z test at each row."""
    x, _ = differences(0.4, equally_bad(0.4), ROWS, PATHS)
    n = np.arange(1, ROWS + 1)[:, None]
    mean = np.cumsum(x, axis=0) / n
    deviation = np.sqrt(np.maximum(np.cumsum(x * x, axis=0) / n - mean * mean, 1e-12))
    z = mean * np.sqrt(n) / deviation
    assert (z[30:] > 1.645).any(axis=0).mean() > 4 * ALPHA


@pytest.mark.parametrize(("says", "within"), [(0.7, 100), (0.5, 300), (0.4, 1_450)])
def test_who_is_worse_is_found(says: float, within: int) -> None:
    x, reach = differences(says, RATE, ROWS, 200)
    assert np.median(first_shown(x, reach, ALPHA)) < within


def test_a_watch_finds_what_begins_late() -> None:
    good, _ = differences(RATE, 0.6, 3_000, 1)
    bad, _ = differences(0.6, RATE, 300, 1)
    x = np.concatenate([good, bad])
    evidence = Evidence([False, True])
    evidence.add(np.concatenate([x, x], axis=1), np.ones((len(x), 2)))
    assert not evidence.shown(0, alpha=ALPHA)
    assert evidence.shown(1, alpha=ALPHA)


def test_a_watch_rises_seldom() -> None:
    """No sooner than after 1 / alpha rows, on average."""
    x, reach = differences(0.4, equally_bad(0.4), ROWS, 400)
    evidence, alpha = Evidence([True] * 400), 1 / (10 * ROWS)
    evidence.add(x, reach)
    risen = [evidence.shown(path, alpha=alpha) for path in range(400)]
    assert np.mean(risen) < 0.1


def test_how_rows_are_cut_changes_no_bit() -> None:
    x, reach = differences(0.5, 0.4, 500, 2)
    x[::7, 0] = np.nan
    whole, parts = Evidence([False, True]), Evidence([False, True])
    whole.add(x, reach)
    cuts = [0, 1, 1, 30, 200, 499, 500]
    for start, stop in pairwise(cuts):
        parts.add(x[start:stop], reach[start:stop])
    assert np.array_equal(whole.wealth, parts.wealth)
    whole.forget([0])
    assert (whole.wealth[0] == 1).all()
    assert np.array_equal(whole.wealth[1], parts.wealth[1])


@pytest.mark.parametrize("x", [1.0, -1.0])
def test_wealth_has_ends(x: float) -> None:
    evidence = Evidence([False])
    evidence.add(np.full((10_000, 1), x), np.ones((10_000, 1)))
    assert np.isfinite(evidence.wealth).all()
    assert (evidence.wealth > 0).all()
