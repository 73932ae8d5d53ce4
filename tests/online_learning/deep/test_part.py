"""The deep part: every net with every optimizer across restarts, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from headrace.online_learning.deep.part import DeepPart
from headrace.online_learning.deep.settings import (
    NETS,
    ROW_OPTIMIZERS,
    Deep,
    Field,
    RowOptimizer,
    Shape,
)
from headrace.online_learning.models.model import State
from headrace.online_learning.settings import LearningError
from headrace.operators.errors import EnvironmentProblem

FIELDS = (Field("a", admit=2), Field("b", expire_ms=300), Field("c"))


def settings(net: str, optimizer: str = "adagrad", tasks: int = 1) -> Deep:
    shape = Shape(hidden=(16, 8), cross_rank=4, bottom=(8,), experts=2, tasks=tasks)
    rows = RowOptimizer(optimizer, rate=0.05)
    return Deep(FIELDS, 2, net=net, shape=shape, width=4, rows=rows, device="cpu")


class Log:
    """Clicks whose log-odds are a product of what two ids stand for, and a number added.

    No sum of a function of each comes below a log loss of 0.525, the odds themselves have 0.424.
    """

    def __init__(self, batches: int, rows: int, seed: int = 1) -> None:
        rng = np.random.default_rng(seed)
        count = batches * rows
        self.ids = rng.integers(0, 12, (count, 3))
        self.numerics = rng.normal(size=(count, 2))
        self.at = np.sort(rng.integers(0, 40 * batches, count))
        odds = self.ids[:, 0] % 3 * 1.5 * (self.ids[:, 1] % 2 * 2 - 1) + self.numerics[:, 0]
        self.labels = (rng.random(count) < 1 / (1 + np.exp(-odds))).astype(float)
        self.cuts = [slice(i, i + rows) for i in range(0, count, rows)]

    def learn(self, part: DeepPart, cut: slice) -> NDArray[np.float64]:
        """One step; the probabilities before it."""
        logits = part.logits(self.ids[cut], self.numerics[cut], at=self.at[cut])
        p = 1 / (1 + np.exp(-np.clip(logits, -35, 35)))
        labels = (
            self.labels[cut] if p.ndim == 1 else np.repeat(self.labels[cut, None], p.shape[1], 1)
        )
        part.learn(p - labels)
        return p


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


def bits(state: State) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in state.arrays.items()}


@pytest.mark.parametrize(("net", "optimizer"), [*product(NETS, ROW_OPTIMIZERS)])
def test_restarts_at_any_batch_change_no_bit(net: str, optimizer: str) -> None:
    log, rng = Log(24, 33), np.random.default_rng(7)
    whole = DeepPart(settings(net, optimizer))
    given = [log.learn(whole, cut) for cut in log.cuts]
    for _ in range(3):
        stops = rng.random(len(log.cuts)) < 0.2
        part = DeepPart(settings(net, optimizer))
        for cut, stop, wanted in zip(log.cuts, stops, given, strict=True):
            if stop:
                state, part = part.state(), DeepPart(settings(net, optimizer))
                part.restore(state)
            assert log.learn(part, cut).tolist() == wanted.tolist()
        assert bits(part.state()) == bits(whole.state())
        assert part.state().facts == whole.state().facts


@pytest.mark.parametrize("net", NETS)
def test_it_learns_what_no_sum_tells(net: str) -> None:
    quick = replace(settings(net), dense_rate=0.01, rows=RowOptimizer(rate=0.2))
    part, log = DeepPart(quick), Log(250, 64)
    losses = []
    for cut in log.cuts:
        p, y = log.learn(part, cut), log.labels[cut]
        losses.append(-np.log(np.where(y == 1, p, 1 - p)).mean())
    assert np.mean(losses[-30:]) < 0.46


@pytest.mark.parametrize("net", NETS)
def test_a_score_is_the_same_bits_with_whatever_rows_it_is_asked_for(net: str) -> None:
    part, log = DeepPart(settings(net)), Log(6, 33)
    for cut in log.cuts:
        log.learn(part, cut)
    before = bits(part.state())
    whole = part.score(log.ids, log.numerics)
    rng = np.random.default_rng(3)
    for size in (1, 2, 15, 16, 31, 32, 33, 100):
        some = rng.choice(len(log.ids), size, replace=False)
        assert part.score(log.ids[some], log.numerics[some]).tolist() == whole[some].tolist()
    assert part.score(log.ids[:0], log.numerics[:0]).tolist() == []
    assert bits(part.state()) == before


def test_several_tasks_are_columns() -> None:
    for net in NETS:
        part, log = DeepPart(settings(net, tasks=3)), Log(2, 16)
        assert log.learn(part, log.cuts[0]).shape == (16, 3)
        assert part.score(log.ids, log.numerics).shape == (32, 3)


def test_equal_seeds_begin_alike_and_torchs_generator_is_left_alone() -> None:
    torch.manual_seed(5)
    wanted = torch.rand(1)
    torch.manual_seed(5)
    one, two = DeepPart(settings("dcn_v2")), DeepPart(settings("dcn_v2"))
    assert torch.equal(torch.rand(1), wanted)
    assert bits(one.state()) == bits(two.state())


def test_numbers_without_measure_leave_it_finite() -> None:
    part, log = DeepPart(settings("dcn_v2")), Log(4, 16)
    log.numerics[::3] = [[np.nan, 1e308]]
    log.numerics[1::3] = [[np.inf, -np.inf]]
    for cut in log.cuts:
        assert np.isfinite(log.learn(part, cut)).all()
    assert all(np.isfinite(array).all() for array in part.state().arrays.values())


def test_what_is_out_of_turn_or_of_another_shape_is_refused() -> None:
    part, log = DeepPart(settings("dcn_v2")), Log(1, 4)
    with pytest.raises(LearningError, match="no batch is pending; ask for its logits first"):
        part.learn(np.zeros(4))
    with pytest.raises(LearningError, match="the ids have 4 rows, the model 2 numerics"):
        part.logits(log.ids, log.numerics[:, :1], at=log.at)
    part.logits(log.ids, log.numerics, at=log.at)
    with pytest.raises(LearningError, match="its logits were given and not learned"):
        part.state()
    with pytest.raises(LearningError, match="the one before was not learned"):
        part.logits(log.ids, log.numerics, at=log.at)
    with pytest.raises(LearningError, match=r"the logits were \[4, 1\]"):
        part.learn(np.zeros(3))
    with pytest.raises(LearningError, match="one is not finite"):
        part.learn(np.array([0, 0, 0, np.nan]))
    part.learn(np.zeros(4))
    with pytest.raises(LearningError, match="its settings are others"):
        DeepPart(settings("dlrm")).restore(part.state())


def test_a_device_that_is_not_there_is_refused() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is an accelerator")
    with pytest.raises(EnvironmentProblem, match="torch finds no accelerator; use 'auto'"):
        DeepPart(Deep(FIELDS, device="cuda"))
