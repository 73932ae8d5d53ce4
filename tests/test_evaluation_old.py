"""Metrics against exact ones; sums that do not depend on the order."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from headrace.online_learning.metrics import CLIP, Metrics
from headrace.online_learning.settings import LearningError


def exact_auc(p: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Count every pair: a positive above a negative wins, a tie is half a win."""
    positives, negatives = p[y == 1], np.sort(p[y == 0])
    below = np.searchsorted(negatives, positives, "left")
    upto = np.searchsorted(negatives, positives, "right")
    return float((below + upto).sum() / 2 / len(positives) / len(negatives))


def drawn(share: float, n: int = 200_000) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw log-odds of which the labels follow, with about `share` positives."""
    rng = np.random.default_rng(5)
    log_odds = rng.normal(math.log(share / (1 - share)), 1.2, n)
    p = 1 / (1 + np.exp(-log_odds))
    return p, (rng.random(n) < p).astype(np.float64)


def scored(p: NDArray[np.float64], y: NDArray[np.float64]) -> Metrics:
    metrics = Metrics()
    metrics.add(p, y)
    return metrics


@pytest.mark.parametrize("share", [0.25, 0.02, 0.002])
def test_the_auc_is_near_the_exact_one(share: float) -> None:
    p, y = drawn(share)
    assert y.sum() > 200
    assert scored(p, y).result()["auc"] == pytest.approx(exact_auc(p, y), abs=5e-5)


def test_the_other_scores_are_those_of_the_textbook() -> None:
    p, y = drawn(0.25, 5_000)
    result = scored(p, y).result()
    loss = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
    share = y.mean()
    base = -(share * math.log(share) + (1 - share) * math.log(1 - share))
    assert result["n"] == 5_000
    assert result["positives"] == y.sum()
    assert result["log_loss"] == pytest.approx(loss, abs=1e-7)
    assert result["base_rate_log_loss"] == pytest.approx(base, abs=1e-12)
    assert result["ne"] == pytest.approx(loss / base, abs=1e-6)
    assert result["calibration"] == pytest.approx(p.sum() / y.sum(), abs=1e-6)
    assert result["accuracy"] == ((p >= 0.5) == (y == 1)).mean()


@given(cuts=st.lists(st.integers(0, 300), max_size=6), reverse=st.booleans())
def test_neither_cuts_nor_order_nor_merging_matter(cuts: list[int], reverse: bool) -> None:
    p, y = drawn(0.25, 300)
    whole = scored(p, y)
    parts = [
        scored(some_p, some_y)
        for some_p, some_y in zip(np.split(p, sorted(cuts)), np.split(y, sorted(cuts)), strict=True)
    ]
    merged = Metrics()
    for part in reversed(parts) if reverse else parts:
        merged.merge(part)
    assert merged.result() == whole.result()
    for name, array in merged.state().items():
        assert np.array_equal(array, whole.state()[name])


def test_state_comes_back() -> None:
    metrics = scored(*drawn(0.25, 300))
    again = Metrics.from_state(metrics.state())
    again.add(*drawn(0.1, 100))
    metrics.add(*drawn(0.1, 100))
    assert again.result() == metrics.result()


def test_certainty_costs_what_the_clip_says() -> None:
    wrong = scored(np.array([0.0, 1.0]), np.array([1.0, 0.0])).result()
    assert wrong["log_loss"] == pytest.approx(-math.log(CLIP), abs=1e-6)
    assert wrong["auc"] == 0.0
    right = scored(np.array([1.0, 0.0]), np.array([1.0, 0.0])).result()
    assert right["auc"] == 1.0
    assert right["log_loss"] == pytest.approx(CLIP, abs=1e-7)


def test_ties_win_half() -> None:
    assert scored(np.full(4, 0.3), np.array([1.0, 0.0, 0.0, 1.0])).result()["auc"] == 0.5


def test_what_does_not_exist_is_none() -> None:
    nothing = Metrics().result()
    assert (nothing["n"], nothing["auc"], nothing["log_loss"]) == (0, None, None)
    one_class = scored(np.array([0.5]), np.array([0.0])).result()
    assert (one_class["auc"], one_class["ne"], one_class["calibration"]) == (None, None, None)


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan])
def test_what_is_no_probability_is_refused(p: float) -> None:
    with pytest.raises(LearningError, match="not in"):
        scored(np.array([p]), np.array([1.0]))


def test_what_is_no_label_is_refused() -> None:
    with pytest.raises(LearningError, match="neither 0 nor 1"):
        scored(np.array([0.5]), np.array([0.5]))
