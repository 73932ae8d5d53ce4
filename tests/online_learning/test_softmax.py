"""Softmax against plain Python, to the bit, and the laws of every model."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from headrace.online_learning.models.model import PREDICT, Inputs, Steps
from headrace.online_learning.models.softmax import Softmax
from headrace.online_learning.settings import Encoding, Ftrl, LearningError
from headrace.operators.types import Type
from tests.online_learning.model_laws import cuts_change_no_bit
from tests.online_learning.test_ftrl import plain_weight

ENCODING = Encoding({"x": Type.FLOAT64}, {}, (), slots=12, bias=True, numbers=("x",))
KIND = Softmax(Ftrl(alpha=0.2, l1=0.05), classes=3)


def rows(count: int = 300) -> tuple[Inputs, Steps]:
    rng = np.random.default_rng(4)
    slots = rng.integers(0, 12, (count, 2)).astype(np.int32)
    labels = np.where(rng.random(count) < 0.3, PREDICT, (slots[:, 0] % 3).astype(float))
    inputs = Inputs.of(slots, rng.normal(size=(count, 1)))
    return inputs, Steps(np.arange(count), labels)


def test_it_is_the_reference_to_the_bit() -> None:
    inputs, steps = rows()
    z, r = ([[0.0] * 13 for _ in range(3)] for _ in range(2))
    said = []
    for slots, (x,), label in zip(
        inputs.slots.tolist(), inputs.numbers.tolist(), steps.labels.tolist(), strict=True
    ):
        parts = [*((slot, 1.0) for slot in slots), (12, x)]
        used = [[plain_weight(z[c][i], r[c][i], KIND.ftrl) for i, _ in parts] for c in range(3)]
        sums = []
        for c in range(3):
            total = 0.0
            for w, (_, value) in zip(used[c], parts, strict=True):
                total += w * value
            sums.append(total)
        odds = [math.exp(total - max(sums)) for total in sums]
        whole = odds[0] + odds[1] + odds[2]
        p = [each / whole for each in odds]
        said.append(p)
        if math.isnan(label):
            continue
        for c in range(3):
            for w, (i, value) in zip(used[c], parts, strict=True):
                part = (p[c] - (c == label)) * value
                after = math.sqrt(r[c][i] * r[c][i] + part * part)
                z[c][i] += part - (after - r[c][i]) * (1 / KIND.ftrl.alpha) * w
                r[c][i] = after
    assert KIND.blank(ENCODING).advance(inputs, steps).tolist() == said


def test_a_cut_anywhere_with_a_snapshot_between_changes_no_bit() -> None:
    cuts_change_no_bit(KIND, ENCODING, *rows())


def test_a_version_serves_the_trainers_bits() -> None:
    inputs, steps = rows()
    model = KIND.blank(ENCODING)
    model.advance(inputs, steps)
    served = KIND.serves(ENCODING, model.weights())
    trainer = model.advance(inputs, replace(steps, labels=np.full(300, PREDICT)))
    assert np.array_equal(served.score(inputs), trainer)
    assert np.abs(trainer.sum(axis=1) - 1).max() < 1e-12
    assert (trainer.argmax(axis=1) == inputs.slots[:, 0] % 3).mean() > 0.7
    assert served.contributions(inputs).shape == (3,)
    assert set(KIND.serves(ENCODING, {}).score(inputs).ravel().tolist()) == {1 / 3}


def test_a_row_of_weight_three_is_the_row_three_times_and_odds_may_be_long() -> None:
    inputs, steps = rows()
    times = np.random.default_rng(2).integers(0, 4, 300)
    heavy, often = KIND.blank(ENCODING), KIND.blank(ENCODING)
    heavy.advance(replace(inputs, weights=times.astype(float)), steps)
    often.advance(inputs, Steps(np.repeat(np.arange(300), times), np.repeat(steps.labels, times)))
    assert np.array_equal(heavy.zr, often.zr)
    wild = replace(KIND, ftrl=Ftrl(alpha=1e6, beta=0.0, l2=0.0)).blank(ENCODING)
    assert np.isfinite(wild.advance(inputs, steps)).all()


def test_weights_that_learn_as_if_they_were_new_say_the_same_and_move_further() -> None:
    inputs, steps = rows()
    kind = replace(KIND, ftrl=Ftrl(alpha=0.2))  # with a penalty a weight of 0 does not say its z
    old, fresh = kind.blank(ENCODING), kind.blank(ENCODING)
    for model in (old, fresh):
        model.advance(inputs, steps)
    fresh.refresh(np.arange(13))
    some = replace(steps, labels=np.full(300, PREDICT))
    before = old.advance(inputs, some)
    assert np.abs(fresh.advance(inputs, some) - before).max() < 1e-12
    one = Steps(np.zeros(1, np.int64), np.array([1.0]))
    for model in (old, fresh):
        model.advance(inputs, one)
    moved = [np.abs(model.advance(inputs, some) - before).max() for model in (old, fresh)]
    assert moved[1] > 2 * moved[0] > 0


@pytest.mark.parametrize("label", [-1.0, 3.0, 0.5, math.inf])
def test_what_is_no_class_is_refused(label: float) -> None:
    inputs, _ = rows(1)
    with pytest.raises(LearningError, match="no class of 3"):
        KIND.blank(ENCODING).advance(inputs, Steps(np.array([0]), np.array([label])))


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ({"ids": np.array([1, 1])}, "do not increase within 13"),
        ({"ids": np.array([1, 13])}, "do not increase within 13"),
        ({"weights": np.zeros((2, 2))}, r"they are float64\[2, 2\]"),
    ],
)
def test_what_is_no_version_of_it_is_refused(
    broken: dict[str, NDArray[np.float64]], says: str
) -> None:
    whole = {"ids": np.array([1, 5]), "weights": np.zeros((3, 2))}
    KIND.serves(ENCODING, whole)
    with pytest.raises(LearningError, match=says):
        KIND.serves(ENCODING, {**whole, **broken})
    with pytest.raises(LearningError, match="it holds"):
        KIND.serves(ENCODING, {"ids": np.array([1])})


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"classes": 1}, "nothing to tell apart"),
        ({"classes": 3, "names": ("a", "b", "a")}, "2 different names"),
    ],
)
def test_classes_that_cannot_be_told_apart_are_refused(told: dict[str, Any], says: str) -> None:
    with pytest.raises(LearningError, match=says):
        Softmax(**told)
