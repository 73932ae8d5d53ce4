"""FTRL-proximal against plain Python, to the bit."""

from __future__ import annotations

import math
from dataclasses import replace

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from headrace.online_learning.models.ftrl import advance, blank, score, seeded, weights
from headrace.online_learning.models.linear import Linear, Logistic, Poisson, Quantile, Squared
from headrace.online_learning.models.model import PREDICT, Inputs, Steps
from headrace.online_learning.sampling import kept
from headrace.online_learning.settings import Encoding, Ftrl, LearningError
from headrace.operators.types import Type

SLOTS = 12
X = {"x": Type.FLOAT64, "y": Type.FLOAT64}


def plain_weight(z: float, r: float, f: Ftrl) -> float:
    if abs(z) <= f.l1:
        return 0.0
    sign = 1.0 if z > 0 else -1.0
    return -(z - sign * f.l1) / ((f.beta + r) * (1 / f.alpha) + f.l2)


def plain(ids: list[list[int]], rows: list[int], labels: list[float], f: Ftrl) -> list[float]:
    """Learn as the docstring says, in plain Python; the probabilities and then the weights."""
    z, r = [0.0] * SLOTS, [0.0] * SLOTS
    given = []
    for row, label in zip(rows, labels, strict=True):
        used = [plain_weight(z[i], r[i], f) for i in ids[row]]
        total = 0.0
        for w in used:
            total += w
        p = 1 / (1 + math.exp(-total))
        given.append(p)
        if not math.isnan(label):
            g = p - label
            for i, w in zip(ids[row], used, strict=True):
                after = math.sqrt(r[i] * r[i] + g * g)
                z[i] += g - (after - r[i]) * (1 / f.alpha) * w
                r[i] = after
    return given + [plain_weight(z[i], r[i], f) for i in range(SLOTS)]


def run(
    ids: list[list[int]], rows: list[int], labels: list[float], f: Ftrl
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    state = blank(SLOTS)
    p, _ = advance(state, np.array(ids, np.int32), np.array(rows, np.int64), np.array(labels), f)
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
@hypothesis.settings(deadline=None)  # the first of them compiles
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
    trainer, _ = advance(state, ids, order, np.full(300, PREDICT), f)
    assert len(set(trainer.tolist())) > 50
    assert np.array_equal(score(weights(state, f), ids), trainer)


@pytest.mark.parametrize("kind", [Logistic(), Squared(), Poisson(), Quantile(tau=0.8)])
def test_a_row_of_weight_three_is_the_row_three_times(kind: Linear) -> None:
    rng = np.random.default_rng(2)
    slots = rng.integers(0, SLOTS, (200, 3)).astype(np.int32)
    numbers, labels = rng.normal(size=(200, 2)), rng.integers(0, 2, 200).astype(float)
    times = rng.integers(0, 4, 200)
    encoding = Encoding(X, {}, (), slots=SLOTS, bias=True, numbers=("x", "y"))
    heavy, often = kind.blank(encoding), kind.blank(encoding)
    inputs = Inputs.of(slots, numbers)
    steps = Steps(np.arange(200), labels)
    given = heavy.advance(replace(inputs, weights=times.astype(float)), steps)
    often.advance(inputs, Steps(np.repeat(np.arange(200), times), np.repeat(labels, times)))
    assert np.array_equal(heavy.zr, often.zr)
    assert len(set(given.tolist())) > 150


def plain_step(kind: Linear, total: float, label: float) -> tuple[float, float]:
    """Say the prediction and the gradient of a sum, from the loss as it is written."""
    if isinstance(kind, Quantile):
        return total, (1 - kind.tau if total >= label else -kind.tau)
    if isinstance(kind, Poisson):
        return math.exp(total), math.exp(total) - label
    return total, total - label


@pytest.mark.parametrize("kind", [Squared(), Poisson(), Quantile(tau=0.8)])
def test_other_losses_are_the_reference_to_the_bit(kind: Linear) -> None:
    rng = np.random.default_rng(4)
    slots = rng.integers(0, SLOTS, (300, 2)).astype(np.int32)
    labels, x = rng.poisson(2.0, 300).astype(float), rng.normal(size=300)
    encoding = Encoding(X, {}, (), slots=SLOTS, bias=True, numbers=("x",))
    model = kind.blank(encoding)
    given = model.advance(Inputs.of(slots, x[:, None]), Steps(np.arange(300), labels))
    z, r, said = [0.0] * (SLOTS + 1), [0.0] * (SLOTS + 1), []
    for row, label, number in zip(slots.tolist(), labels.tolist(), x.tolist(), strict=True):
        parts = [*((slot, 1.0) for slot in row), (SLOTS, number)]
        used = [plain_weight(z[i], r[i], kind.ftrl) for i, _ in parts]
        total = 0.0
        for w, (_, value) in zip(used, parts, strict=True):
            total += w * value
        p, g = plain_step(kind, total, label)
        said.append(p)
        for w, (i, value) in zip(used, parts, strict=True):
            part = g * value
            after = math.sqrt(r[i] * r[i] + part * part)
            z[i] += part - (after - r[i]) * (1 / kind.ftrl.alpha) * w
            r[i] = after
    assert given.tolist() == said
    served = kind.serves(encoding, model.weights())
    row = Inputs.of(slots[:5], x[:5, None])
    again = model.advance(row, Steps(np.arange(5), np.full(5, PREDICT)))
    assert served.score(row).tolist() == again.tolist()


def test_a_quantile_is_reached_and_a_mean_is_the_mean() -> None:
    rng = np.random.default_rng(9)
    labels = rng.exponential(size=20_000)
    slots = np.zeros((20_000, 1), np.int32)
    encoding = Encoding({}, {}, (), slots=2, bias=True)
    last = {}
    for kind in (Quantile(tau=0.9), Quantile(tau=0.5), Squared()):
        told = replace(kind, ftrl=Ftrl(alpha=0.5, l2=0.0))
        steps = Steps(np.arange(20_000), labels)
        last[told.name, told.level] = told.blank(encoding).advance(Inputs.of(slots), steps)[-5_000:]
    assert float((labels[-5_000:] < last["quantile", 0.9]).mean()) == pytest.approx(0.9, abs=0.02)
    assert float((labels[-5_000:] < last["quantile", 0.5]).mean()) == pytest.approx(0.5, abs=0.02)
    assert float(last["linear", 0.5].mean()) == pytest.approx(1.0, abs=0.05)


def test_negatives_left_out_change_no_calibration() -> None:
    rng = np.random.default_rng(6)
    ids = rng.integers(0, 10, 60_000)
    labels = (rng.random(60_000) < 0.02 + 0.03 * ids / 10).astype(float)
    slots = np.stack([ids, np.full(60_000, 11)], axis=1).astype(np.int32)
    encoding, rows = Encoding({}, {}, (), slots=SLOTS, bias=True), np.arange(60_000)
    some = np.where((labels == 0) & ~kept(rows, 0.2), PREDICT, labels)
    told = Logistic(Ftrl(alpha=0.5))
    whole = told.blank(encoding).advance(Inputs.of(slots), Steps(rows, labels))[30_000:]
    part = told.blank(encoding).advance(Inputs.of(slots), Steps(rows, some, offset=-math.log(0.2)))[
        30_000:
    ]
    wrong = told.blank(encoding).advance(Inputs.of(slots), Steps(rows, some))[30_000:]
    came = labels[30_000:].sum()
    assert whole.sum() / came == pytest.approx(1.0, abs=0.05)
    assert part.sum() / came == pytest.approx(1.0, abs=0.05)
    assert wrong.sum() / came > 3


def test_a_warm_start_predicts_as_the_batch_did_and_does_not_forget() -> None:
    rng = np.random.default_rng(8)
    truth = rng.normal(size=SLOTS)
    slots = rng.integers(0, SLOTS, (40_000, 3)).astype(np.int32)
    labels = (rng.random(40_000) < 1 / (1 + np.exp(-truth[slots].sum(axis=1)))).astype(float)
    f, order = Ftrl(alpha=0.1, l1=0.3), np.arange(20_000)
    batch = blank(SLOTS)
    advance(batch, slots[:20_000], order, labels[:20_000], f)
    fitted = weights(batch, f)
    warm = seeded(fitted, batch[:, 1] ** 2, f)
    assert weights(warm, f) == pytest.approx(fitted, abs=1e-12)
    copied = np.stack([np.zeros(SLOTS), batch[:, 1]], axis=1)  # what forgets: the weights alone
    loss = {}
    for name, state in (("warm", warm), ("copied", copied), ("cold", blank(SLOTS))):
        p, _ = advance(state, slots[20_000:], order[:500], labels[20_000:], f)
        y = labels[20_000:20_500]
        loss[name] = float(-np.mean(y * np.log(p) + (1 - y) * np.log(1 - p)))
    assert loss["warm"] < loss["cold"] - 0.01
    assert loss["warm"] < loss["copied"] - 0.01


def test_it_stays_finite_when_the_odds_are_long() -> None:
    f = Ftrl(alpha=1e6, beta=0.0, l2=0.0)
    p, state = run([[0, 0]], [0] * 200, [1.0] * 100 + [0.0] * 100, f)
    assert np.isfinite(p).all()
    assert np.isfinite(weights(state, f)).all()


def take(slots: list[list[int]], rows: list[int], labels: list[float]) -> None:
    model = Logistic().blank(Encoding({}, {}, (), slots=SLOTS, bias=True))
    model.advance(Inputs.of(np.array(slots, np.int32)), Steps(np.array(rows), np.array(labels)))


@pytest.mark.parametrize("slot", [-1, SLOTS])
def test_a_slot_outside_is_refused(slot: int) -> None:
    with pytest.raises(LearningError, match="its slot is none of 12"):
        take([[slot]], [0], [1.0])


def test_a_step_of_no_row_and_a_label_of_no_class_are_refused() -> None:
    with pytest.raises(LearningError, match="none of 1 rows"):
        take([[0]], [1], [1.0])
    with pytest.raises(LearningError, match="not 0, 1 or PREDICT"):
        take([[0]], [0], [0.5])
