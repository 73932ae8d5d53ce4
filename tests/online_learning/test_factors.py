"""Factorisation machines against pairs written out, and the laws of every model."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from headrace.online_learning.deep.entries import drawn
from headrace.online_learning.models.factorised import Ffm, Fm, FmModel
from headrace.online_learning.models.factors import BEGINS
from headrace.online_learning.models.linear import Logistic
from headrace.online_learning.models.model import PREDICT, Inputs, Steps
from headrace.online_learning.settings import Encoding, Ftrl, LearningError, Token
from headrace.operators.types import Type
from tests.online_learning.made_up import SETTINGS, log
from tests.online_learning.model_laws import crashes_lose_nothing, cuts_change_no_bit
from tests.online_learning.test_ftrl import plain_weight

ENCODING = Encoding(
    {"a": Type.INT64, "b": Type.INT64, "c": Type.INT64, "x": Type.FLOAT64},
    {},
    (Token(("a",)), Token(("b",)), Token(("c",))),
    slots=32,
    bias=True,
    numbers=("x",),
)
FTRL = Ftrl(alpha=0.2)
KINDS = [Fm(FTRL, width=5, rate=0.1), Ffm(FTRL, width=3, rate=0.1)]
kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


def rows(count: int = 300, seed: int = 1) -> tuple[Inputs, Steps]:
    """Make rows whose tokens sometimes share a slot; about two thirds are learned."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, 12, (count, 3))
    slots = np.hstack([tokens, np.full((count, 1), 31)]).astype(np.int32)
    labels = ((tokens[:, 0] + tokens[:, 1]) % 2).astype(float)
    labels[rng.random(count) < 1 / 3] = PREDICT
    none = np.empty((count, 0), np.int64)
    weights = rng.choice([0.0, 0.5, 1.0, 3.0], count)
    inputs = Inputs(slots, none, rng.normal(size=(count, 1)), weights)
    return inputs, Steps(np.arange(count), labels, math.log(2.0))


class Naive:
    """Pairs written out, in float64 and in dictionaries."""

    def __init__(self, kind: Fm) -> None:
        self.kind = kind
        self.z, self.r = [0.0] * ENCODING.weights, [0.0] * ENCODING.weights
        self.vectors: dict[int, NDArray[np.float64]] = {}
        self.squares: dict[int, NDArray[np.float64]] = {}

    def begin(self, slot: int) -> None:
        """Draw the vectors of a slot."""
        blocks = 4 if self.kind.aware else 1
        out = np.empty((1, blocks * self.kind.width), np.float32)
        drawn(np.array([slot]), np.array([0]), self.kind.seed, 0.01, out)
        # One weight of each vector after the other, as the table has them.
        self.vectors[slot] = out.astype(np.float64).reshape(self.kind.width, blocks).T.copy()
        self.squares[slot] = np.full((blocks, self.kind.width), 0.01)

    def vector(self, slot: int, other: int) -> NDArray[np.float64]:
        """Give a slot's vector for another member."""
        if slot not in self.vectors:
            return np.zeros(self.kind.width)
        own: NDArray[np.float64] = self.vectors[slot][other if self.kind.aware else 0]
        return own

    def sum(self, members: list[tuple[int, float]]) -> float:
        """Give the sum of a row."""
        one, two = (float(plain_weight(self.z[31], self.r[31], FTRL)), 0.0)
        for slot, x in members:
            one += plain_weight(self.z[slot], self.r[slot], FTRL) * x
        for (i, (a, x)), (j, (b, y)) in combinations(enumerate(members), 2):
            two += x * y * float(self.vector(a, j) @ self.vector(b, i))
        return one + two

    def learn(self, members: list[tuple[int, float]], gradient: float) -> None:
        """Learn the gradient of the sum."""
        pulls = []
        for i, (_, x) in enumerate(members):
            met = {j: y * self.vector(b, i) for j, (b, y) in enumerate(members) if j != i}
            whole = sum(met.values(), np.zeros(self.kind.width))
            told = [met.get(j, np.zeros(self.kind.width)) for j in range(4)]
            pulls.append([gradient * x * v for v in (told if self.kind.aware else [whole])])
        for slot, x in [*members, (31, 1.0)]:
            part, w = gradient * x, plain_weight(self.z[slot], self.r[slot], FTRL)
            after = math.sqrt(self.r[slot] ** 2 + part**2)
            self.z[slot] += part - (after - self.r[slot]) / FTRL.alpha * w
            self.r[slot] = after
        for (slot, _), pull in zip(members, pulls, strict=True):
            if slot not in self.vectors:
                self.begin(slot)
            for b, h in enumerate(pull):
                told = h + 1e-6 * self.vectors[slot][b]
                self.squares[slot][b] += told**2
                self.vectors[slot][b] -= self.kind.rate * told / np.sqrt(self.squares[slot][b])


@kinds
def test_it_is_the_sum_of_pairs_that_is_written(kind: Fm) -> None:
    inputs, steps = rows()
    # A weight that two tokens of one row share moves twice by what it was before both.
    apart = inputs.slots.copy()
    apart[:, :3] = apart[:, :3] % 10 + np.array([0, 10, 20])
    inputs = replace(inputs, slots=apart)
    naive, expected = Naive(kind), []
    for i, label in enumerate(steps.labels.tolist()):
        members = [(int(slot), 1.0) for slot in inputs.slots[i, :3]]
        members.append((32, float(inputs.numbers[i, 0])))
        expected.append(1 / (1 + math.exp(-naive.sum(members))))
        left = 0.0 if math.isnan(label) else inputs.weights[i]
        while left > 0:
            p = 1 / (1 + math.exp(-naive.sum(members) - math.log(2.0)))
            naive.learn(members, (p - label) * min(left, 1.0))
            left -= 1
    said = kind.blank(ENCODING).advance(inputs, steps)
    assert said == pytest.approx(np.array(expected), abs=2e-5)
    linear = Logistic(FTRL).blank(ENCODING).advance(inputs, steps)
    assert np.abs(said - linear).max() > 0.2  # the pairs are no small part of it


@kinds
def test_a_cut_anywhere_with_a_snapshot_between_changes_no_bit(kind: Fm) -> None:
    cuts_change_no_bit(kind, ENCODING, *rows())


@kinds
def test_a_version_serves_the_trainers_bits_and_says_what_made_them(kind: Fm) -> None:
    inputs, steps = rows()
    model = kind.blank(ENCODING)
    model.advance(inputs, steps)
    served = kind.serves(ENCODING, model.weights())
    trainer = model.advance(inputs, replace(steps, labels=np.full(len(steps), PREDICT)))
    assert np.array_equal(served.score(inputs), trainer)
    one = Inputs(inputs.slots[:1], inputs.ids[:1], inputs.numbers[:1], inputs.weights[:1])
    assert np.array_equal(served.score(one), trainer[:1])
    added = served.contributions(one)
    assert added.shape == (len(ENCODING.names),)
    assert added.sum() == pytest.approx(math.log(trainer[0] / (1 - trainer[0])), abs=1e-5)


@kinds
def test_it_learns_what_a_sum_cannot_say(kind: Fm) -> None:
    rng = np.random.default_rng(3)
    tokens = rng.integers(0, 2, (6_000, 3)) + np.array([0, 2, 4])
    labels = (tokens[:, :2].sum(axis=1) % 2).astype(float)
    slots = np.hstack([tokens, np.full((6_000, 1), 31)]).astype(np.int32)
    inputs, steps = Inputs.of(slots, np.zeros((6_000, 1))), Steps(np.arange(6_000), labels)
    said = kind.blank(ENCODING).advance(inputs, steps)[-1_000:]
    alone = Logistic(FTRL).blank(ENCODING).advance(inputs, steps)[-1_000:]
    assert ((said > 0.5) == labels[-1_000:]).mean() > 0.99
    assert ((alone > 0.5) == labels[-1_000:]).mean() < 0.6


@kinds
def test_many_slots_and_rows_of_weights_beyond_measure_leave_it_finite(kind: Fm) -> None:
    encoding = replace(ENCODING, slots=1 << 14)
    rng = np.random.default_rng(5)
    slots = rng.integers(0, 1 << 14, (3_000, 4)).astype(np.int32)  # the table grows thrice
    told = replace(kind, rate=10.0, ftrl=Ftrl(alpha=1e3, l2=0.0))
    inputs = Inputs.of(slots, rng.choice([-10.0, 10.0], (3_000, 1)))
    model = told.blank(encoding)
    said = model.advance(inputs, Steps(np.arange(3_000), rng.integers(0, 2, 3_000).astype(float)))
    assert np.isfinite(said).all()
    assert all(np.isfinite(array).all() for array in model.weights().values())
    owners = model.state().arrays["owners"]
    assert len(owners) == len(np.unique(owners)) == len(np.unique(slots[:, :3])) + 1


@kinds
def test_refreshed_it_says_the_same_and_learns_as_if_new(kind: Fm) -> None:
    inputs, steps = rows()
    old, new = kind.blank(ENCODING), kind.blank(ENCODING)
    for model in (old, new):
        model.advance(inputs, steps)
    new.refresh(np.arange(ENCODING.weights))
    predict = replace(steps, labels=np.full(len(steps), PREDICT))
    before = old.advance(inputs, predict)
    assert new.advance(inputs, predict) == pytest.approx(before, abs=1e-6)
    one, two = (model.state().arrays for model in (old, new))
    assert np.array_equal(one["vectors"], two["vectors"])
    assert (two["squares"] == np.float32(BEGINS)).all()
    assert (one["squares"] > np.float32(BEGINS)).any()


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ({"owners": None}, "it holds"),
        ({"vectors": np.zeros((2, 5))}, r"they are float64\[2, 5\]"),
        ({"vectors": np.zeros((2, 4), np.float32)}, r"they are float32\[2, 4\]"),
        ({"owners": np.array([3, 3])}, "not 2 of 33"),
        ({"owners": np.array([3, 33])}, "not 2 of 33"),
    ],
)
def test_what_is_no_version_of_it_is_refused(
    broken: dict[str, NDArray[np.float64] | None], says: str
) -> None:
    kind = KINDS[0]
    right = {"ids": np.array([1]), "weights": np.array([0.5]), "owners": np.array([1, 32])}
    whole = {**right, "vectors": np.ones((2, 5), np.float32)}
    assert len(kind.serves(ENCODING, whole).score(rows(3)[0])) == 3
    arrays = {name: array for name, array in {**whole, **broken}.items() if array is not None}
    with pytest.raises(LearningError, match=says):
        kind.serves(ENCODING, arrays)
    assert set(kind.serves(ENCODING, {}).score(rows(3)[0]).tolist()) == {0.5}


def test_a_slot_outside_and_a_label_of_no_class_are_refused() -> None:
    model: FmModel = KINDS[0].blank(ENCODING)
    inputs = Inputs.of(np.array([[0, 1, 32, 3]], np.int32), np.zeros((1, 1)))
    with pytest.raises(LearningError, match="its slot is none of 32"):
        model.advance(inputs, Steps(np.array([0]), np.array([1.0])))
    with pytest.raises(LearningError, match="its slot is none of 32"):
        KINDS[0].serves(ENCODING, {}).score(inputs)
    right = Inputs.of(np.zeros((1, 4), np.int32), np.zeros((1, 1)))
    with pytest.raises(LearningError, match="not 0, 1 or PREDICT"):
        model.advance(right, Steps(np.array([0]), np.array([0.5])))


@kinds
def test_a_learner_of_it_loses_nothing_by_a_crash(kind: Fm, tmp_path: Path) -> None:
    told = replace(SETTINGS, model=kind, negatives=0.8)
    crashes_lose_nothing(tmp_path, told, log(), (3, 14))
