"""Models with a deep part: cuts, snapshots and versions change no bit."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from headrace.online_learning.encoding import Encoder
from headrace.online_learning.learner import registry
from headrace.online_learning.models import ftrl
from headrace.online_learning.models.batched import (
    Batched,
    DcnV2,
    DeepFm,
    Dlrm,
    Hybrid,
    WideAndDeep,
)
from headrace.online_learning.models.model import PREDICT, Inputs, Steps
from headrace.online_learning.scorer import Scorer
from headrace.online_learning.settings import Encoding, Ftrl, LearningError, Token
from headrace.online_learning.version import fault
from headrace.operators.errors import UnknownName
from headrace.operators.types import Type
from tests.online_learning.made_up import SETTINGS, log
from tests.online_learning.model_laws import crashes_lose_nothing, cuts_change_no_bit
from tests.online_learning.test_learner import feed, learning

torch = pytest.importorskip("torch", reason="no torch found: the extra `deep` has it")

ENCODING = Encoding(
    {"a": Type.INT64, "b": Type.INT64, "x": Type.FLOAT64},
    {},
    (Token(("a",)), Token(("b",))),
    slots=64,
    bias=True,
    numbers=("x",),
)
SMALL = Hybrid(batch=16, width=4, device="cpu", ftrl=Ftrl(alpha=0.2))
KINDS: list[Batched] = [
    SMALL,
    replace(SMALL, pairs="fm", hidden=(8,), cross_layers=1, cross_rank=3),
    replace(SMALL, pairs="ffm", deep_net="wide_and_deep"),
    DcnV2(batch=16, width=4, device="cpu"),
    DeepFm(batch=16, width=4, device="cpu"),
    Dlrm(batch=16, width=4, device="cpu"),
    WideAndDeep(batch=16, width=4, device="cpu"),
]


def named(kind: Batched) -> str:
    return f"{kind.name}-{kind.pairs}" if isinstance(kind, Hybrid) and kind.pairs else kind.name


def rows(count: int = 150, seed: int = 1) -> tuple[Inputs, Steps]:
    """Make rows of which about half are learned, and steps that take them in order."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 20, (count, 2))
    slots = np.concatenate([ids + np.array([0, 20]), np.full((count, 1), 63)], axis=1).astype(
        np.int32
    )
    inputs = Inputs(slots, ids, rng.normal(size=(count, 1)), rng.choice([0.5, 1.0, 3.0], count))
    labels = np.where(rng.random(count) < 0.5, PREDICT, (ids[:, 0] > ids[:, 1]).astype(float))
    return inputs, Steps(np.arange(count), labels, math.log(2.0), np.arange(count) * 1000)


@pytest.mark.parametrize("kind", KINDS, ids=named)
def test_a_cut_anywhere_with_a_snapshot_between_changes_no_bit(kind: Batched) -> None:
    cuts_change_no_bit(kind, ENCODING, *rows(), examples=12)


def test_a_thread_that_serves_leaves_the_process_its_number_of_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    kind = KINDS[0]
    weights = kind.blank(ENCODING).weights()
    called: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", called.append)
    with ThreadPoolExecutor(1) as one:
        one.submit(kind.serves, ENCODING, weights).result()
    assert (called, torch.get_num_threads()) == ([], kind.threads)


@pytest.mark.parametrize("kind", KINDS, ids=named)
def test_a_version_serves_the_trainers_bits(kind: Batched) -> None:
    from headrace.online_learning.models.deep_served import DeepServed

    inputs, steps = rows()
    model = kind.blank(ENCODING)
    model.advance(inputs, steps)
    served = kind.serves(ENCODING, model.weights())
    trainer = model.advance(inputs, replace(steps, labels=np.full(len(steps), PREDICT)))
    assert np.array_equal(served.score(inputs), trainer)
    one = Inputs(inputs.slots[:1], inputs.ids[:1], inputs.numbers[:1], inputs.weights[:1])
    assert np.array_equal(served.score(one), trainer[:1])
    assert served.contributions(one).shape == (len(ENCODING.names),)
    assert isinstance(served, DeepServed)
    net = served._deep.net  # it serves many threads: nothing of one question stays in it
    assert all(parameter.grad is None for parameter in net.parameters())


def test_the_joint_step_is_as_it_is_written() -> None:
    """Against the two parts, driven by hand: deep logits at the start, the wide row by row."""
    inputs, steps = rows()
    learned = np.flatnonzero(~np.isnan(steps.labels))[:32]
    some = Inputs(*(getattr(inputs, n)[learned] for n in ("slots", "ids", "numbers", "weights")))
    labels = steps.labels[learned]
    model = SMALL.blank(ENCODING)
    said = model.advance(some, Steps(np.arange(32), labels))
    by_hand = SMALL.blank(ENCODING)
    zr, expected = ftrl.blank(ENCODING.weights), []
    for start in (0, 16):
        batch = np.arange(start, start + 16)
        logits = by_hand.deep.score(some.ids[batch], some.numbers[batch])
        p, g = ftrl.advance(
            *(zr, some.slots, batch, labels[batch], SMALL.ftrl),
            numbers=some.numbers,
            weights=some.weights,
            offsets=logits,
        )
        by_hand.deep.logits(some.ids[batch], some.numbers[batch])
        by_hand.deep.learn(g)
        expected += p.tolist()
    assert said.tolist() == expected
    assert model.wide is not None
    assert np.array_equal(model.wide.zr, zr)


def test_with_pairs_the_joint_step_is_that_of_both_parts() -> None:
    """The vectors learn with the deep logits beside them, as the weights do."""
    inputs, steps = rows()
    learned = np.flatnonzero(~np.isnan(steps.labels))[:32]
    told = replace(SMALL, pairs="ffm")
    some = replace(steps, rows=steps.rows[learned], labels=steps.labels[learned], at=None)
    model, by_hand = told.blank(ENCODING), told.blank(ENCODING)
    assert by_hand.wide is not None
    expected: list[float] = []
    for batch in (some.part(0, 16), some.part(16, 32)):
        logits = by_hand.deep.score(inputs.ids[batch.rows], inputs.numbers[batch.rows])
        p, g = by_hand.wide.joint(inputs, batch, logits)
        by_hand.deep.logits(inputs.ids[batch.rows], inputs.numbers[batch.rows])
        by_hand.deep.learn(g)
        expected += p.tolist()
    assert model.advance(inputs, some).tolist() == expected
    alone = SMALL.blank(ENCODING).advance(inputs, some)
    assert alone[:16].tolist() != expected[:16]


def test_it_learns_what_a_sum_cannot_say() -> None:
    rng = np.random.default_rng(3)
    ids = rng.integers(0, 8, (12_000, 2))
    labels = ((ids[:, 0] + ids[:, 1]) % 2).astype(float)
    slots = np.concatenate([ids + np.array([0, 20]), np.full((12_000, 1), 63)], axis=1).astype(
        np.int32
    )
    inputs = Inputs(slots, ids, np.zeros((12_000, 1)), np.ones(12_000))
    steps = Steps(np.arange(12_000), labels)
    told = replace(SMALL, batch=64, width=8)
    said = told.blank(ENCODING).advance(inputs, steps)[-2_000:]
    alone = told.row_wise.blank(ENCODING).advance(inputs, steps)[-2_000:]
    assert ((said > 0.5) == labels[-2_000:]).mean() > 0.95
    assert ((alone > 0.5) == labels[-2_000:]).mean() < 0.6


def test_what_is_no_version_of_it_is_refused() -> None:
    model = SMALL.blank(ENCODING)
    arrays = dict(model.weights())
    del arrays["deep/dense"]
    with pytest.raises(LearningError, match="it lacks 'dense'"):
        SMALL.serves(ENCODING, arrays)
    assert SMALL.serves(ENCODING, {}).score(rows()[0]).tolist() == [0.5] * 150
    with pytest.raises(LearningError, match="batch = 0"):
        Hybrid(batch=0)
    with pytest.raises(UnknownName, match="kind of pairs 'ftm'"):
        Hybrid(pairs="ftm")


TOLD = replace(
    SETTINGS,
    model=SMALL,
    encoding=replace(SETTINGS.encoding, numbers=("delay",), weight=None),
    negatives=0.8,
)


def test_a_learner_of_it_loses_nothing_by_a_crash(tmp_path: Path) -> None:
    crashes_lose_nothing(tmp_path, TOLD, log(), (3, 9, 14))


def test_what_the_store_serves_is_what_the_learner_published(tmp_path: Path) -> None:
    with learning(tmp_path, TOLD) as learner:
        feed(learner, [(50, 10)])
        learner._version += 1
        learner._publish(written=True)
        state = learner._model
    rows = pa.table({"city": ["Oslo"], "hour": [1], "delay": [4.5], "wet": [True]})
    published = registry(tmp_path).version(learner._version)
    scorer = Scorer(TOLD.encoding, TOLD.model, published)
    read = Encoder(TOLD.encoding).inputs(rows, deep=True)
    inputs = replace(read, numbers=learner._moments.scaled(read.numbers))
    trainer = state.advance(inputs, Steps(np.array([0]), np.array([PREDICT])))
    assert scorer.score(rows).tolist() == trainer.tolist()
    added = scorer.contributions(rows)
    assert list(added) == TOLD.encoding.names


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_net_that_ran_away_predicts_numbers_and_is_seen(kind: Batched) -> None:
    """Its wide part stays whole, and the learner finds the fault when it makes a version."""
    model = kind.blank(ENCODING)
    inputs, steps = rows()
    model.advance(inputs, steps)
    with torch.no_grad():
        for weights in model.deep.net.parameters():
            weights.fill_(math.nan)
    assert np.isfinite(model.advance(inputs, steps)).all()
    arrays = model.weights()
    assert fault(arrays) is not None
    assert fault({name: a for name, a in arrays.items() if name.startswith("wide/")}) is None
