"""FTRL-proximal against plain Python, to the bit."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from headrace.online_learning.ftrl import PREDICT, advance, blank, score, weights
from headrace.online_learning.settings import Ftrl, LearningError

SLOTS = 12


def plain_weight(z: float, n: float, f: Ftrl) -> float:
    if abs(z) <= f.l1:
        return 0.0
    sign = 1.0 if z > 0 else -1.0
    return -(z - sign * f.l1) / ((f.beta + math.sqrt(n)) / f.alpha + f.l2)


def plain(ids: list[list[int]], rows: list[int], labels: list[float], f: Ftrl) -> list[float]:
    """Learn as the docstring says, in plain Python; the probabilities and then the weights."""
    z, n = [0.0] * SLOTS, [0.0] * SLOTS
    given = []
    for row, label in zip(rows, labels, strict=True):
        used = [plain_weight(z[i], n[i], f) for i in ids[row]]
        total = 0.0
        for w in used:
            total += w
        p = 1 / (1 + math.exp(-total))
        given.append(p)
        if label != PREDICT:
            g = p - label
            for i, w in zip(ids[row], used, strict=True):
                sigma = (math.sqrt(n[i] + g * g) - math.sqrt(n[i])) / f.alpha
                z[i] += g - sigma * w
                n[i] += g * g
    return given + [plain_weight(z[i], n[i], f) for i in range(SLOTS)]


def run(
    ids: list[list[int]], rows: list[int], labels: list[float], f: Ftrl
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    state = blank(SLOTS)
    p = advance(state, np.array(ids, np.int32), np.array(rows, np.int64), np.array(labels), f)
    return p, state


@given(
    ids=st.lists(
        st.lists(st.integers(0, SLOTS - 1), min_size=3, max_size=3), min_size=4, max_size=4
    ),
    steps=st.lists(st.tuples(st.integers(0, 3), st.sampled_from([PREDICT, 0.0, 1.0])), max_size=60),
    settings=st.builds(
        Ftrl,
        alpha=st.sampled_from([0.05, 0.7]),
        beta=st.sampled_from([0.0, 1.0]),
        l1=st.sampled_from([0.0, 0.3]),
        l2=st.sampled_from([0.0, 1.0]),
    ),
)
def test_it_is_the_reference_to_the_bit(
    ids: list[list[int]], steps: list[tuple[int, float]], settings: Ftrl
) -> None:
    rows, labels = [row for row, _ in steps], [label for _, label in steps]
    p, state = run(ids, rows, labels, settings)
    assert [*p.tolist(), *weights(state, settings).tolist()] == plain(ids, rows, labels, settings)


def test_l1_gives_exact_zeros_and_keeps_what_matters() -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 2_000).astype(float)
    # Slot 0 tells the label, 1 is always there, the others are noise.
    ids = [[0 if y else 1, 2 + int(rng.integers(0, 10))] for y in labels]
    rows = list(range(2_000))
    _, loose = run(ids, rows, labels.tolist(), Ftrl(alpha=0.1, l1=0.0))
    _, tight = run(ids, rows, labels.tolist(), Ftrl(alpha=0.1, l1=8.0))
    noise = weights(tight, Ftrl(alpha=0.1, l1=8.0))
    assert (weights(loose, Ftrl(alpha=0.1)) != 0).all()
    assert (noise[2:] == 0).all()
    assert (noise[:2] != 0).all()


def test_predicting_changes_nothing() -> None:
    _, state = run([[1, 2]], [0, 0], [PREDICT, PREDICT], Ftrl())
    assert not state.any()


def test_serving_gives_the_bits_of_the_trainer() -> None:
    ids = np.random.default_rng(1).integers(0, SLOTS, (300, 4)).astype(np.int32)
    state, f = blank(SLOTS), Ftrl(l1=0.1)
    order = np.arange(300)
    advance(state, ids, order, (ids[:, 0] > 5).astype(float), f)
    trainer = advance(state, ids, order, np.full(300, PREDICT), f)
    assert len(set(trainer.tolist())) > 50
    assert np.array_equal(score(weights(state, f), ids), trainer)


def test_it_stays_finite_when_the_odds_are_long() -> None:
    f = Ftrl(alpha=1e6, beta=0.0, l2=0.0)
    p, state = run([[0, 0]], [0] * 200, [1.0] * 100 + [0.0] * 100, f)
    assert np.isfinite(p).all()
    assert np.isfinite(weights(state, f)).all()


@pytest.mark.parametrize("slot", [-1, SLOTS])
def test_a_slot_outside_is_refused(slot: int) -> None:
    with pytest.raises(LearningError, match="its slot is none of 12"):
        run([[slot]], [0], [1.0], Ftrl())
    with pytest.raises(LearningError, match="its slot is none of 12"):
        score(np.zeros(SLOTS), np.array([[slot]], np.int32))


def test_a_step_of_no_row_and_a_label_of_no_class_are_refused() -> None:
    with pytest.raises(LearningError, match="none of 1 rows"):
        run([[0]], [1], [1.0], Ftrl())
    with pytest.raises(LearningError, match="not 0, 1 or PREDICT"):
        run([[0]], [0], [0.5], Ftrl())
