"""How rows learn: loops against torch's own optimizers and the form for accelerators."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from headrace.online_learning.deep.row_optimizers import RowLearner, row_learner, summed
from headrace.online_learning.deep.settings import ROW_OPTIMIZERS, RowOptimizer
from headrace.online_learning.models.ftrl import advance, blank
from headrace.online_learning.models.ftrl import weights as ftrl_weights
from headrace.online_learning.settings import Ftrl

CPU = torch.device("cpu")
SETTINGS = [
    RowOptimizer("adagrad", rate=0.3),
    RowOptimizer("adam", rate=0.01),
    RowOptimizer("ftrl", rate=0.3, l1=0.01, l2=0.5),
]


def started(settings: RowOptimizer, rows: int, width: int) -> tuple[RowLearner, Tensor]:
    learner = row_learner(settings, width, CPU)
    learner.state = {name: torch.zeros(rows, n) for name, n in learner.columns.items()}
    weights = torch.randn(rows, width, generator=torch.Generator().manual_seed(1)) * 0.1
    learner.begin(torch.arange(rows), weights)
    return learner, weights


def test_there_is_one_of_each() -> None:
    assert tuple(one.kind for one in SETTINGS) == ROW_OPTIMIZERS


@pytest.mark.parametrize("settings", SETTINGS, ids=ROW_OPTIMIZERS)
def test_the_loop_is_the_form_for_accelerators(settings: RowOptimizer) -> None:
    loop, weights = started(settings, 20, 5)
    ops, others = started(settings, 20, 5)
    rng = np.random.default_rng(3)
    for _ in range(50):
        rows = torch.from_numpy(rng.permutation(20)[:7])
        sums = torch.from_numpy(rng.normal(size=(7, 5)).astype(np.float32))
        loop.learn(weights, rows, sums)
        lines = {name: tensor[rows] for name, tensor in ops.state.items()}
        others[rows] = ops._torch(others[rows], lines, sums)
        for name, line in lines.items():
            ops.state[name][rows] = line
    torch.testing.assert_close(weights, others, rtol=1e-5, atol=1e-6)


def test_adam_is_torchs_own_where_every_row_learns_each_time() -> None:
    learner, weights = started(SETTINGS[1], 6, 4)
    other = weights.clone().requires_grad_()
    adam = torch.optim.Adam([other], lr=0.01)
    rng = np.random.default_rng(3)
    for _ in range(40):
        sums = torch.from_numpy(rng.normal(size=(6, 4)).astype(np.float32))
        learner.learn(weights, torch.arange(6), sums)
        other.grad = sums
        adam.step()
    torch.testing.assert_close(weights, other.detach(), rtol=1e-5, atol=1e-6)


def test_ftrl_of_one_weight_a_row_is_the_linear_models() -> None:
    settings = RowOptimizer("ftrl", rate=0.3, beta=1.0, l1=0.05, l2=0.5)
    learner = row_learner(settings, 1, CPU)
    learner.state = {name: torch.zeros(4, n) for name, n in learner.columns.items()}
    weights = torch.zeros(4, 1)
    zn, ftrl = blank(4), Ftrl(alpha=0.3, beta=1.0, l1=0.05, l2=0.5)
    for i in range(60):
        slot, label = i % 4, float(i % 3 == 0)
        p, _ = advance(
            zn, np.array([[slot]], np.int32), np.zeros(1, np.int64), np.array([label]), ftrl
        )
        learner.learn(weights, torch.tensor([slot]), torch.tensor([[float(p[0] - label)]]))
    assert np.allclose(weights[:, 0].numpy(), ftrl_weights(zn, ftrl), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("settings", SETTINGS, ids=ROW_OPTIMIZERS)
def test_idle_rows_are_not_touched_and_others_begin_as_told(settings: RowOptimizer) -> None:
    learner, weights = started(settings, 10, 3)
    before = weights.clone()
    learner.learn(weights, torch.tensor([4]), torch.ones(1, 3))
    assert (weights[4] != before[4]).all()
    again = torch.full((1, 3), 0.25)
    weights[[4]] = again
    learner.begin(torch.tensor([4]), again)
    fresh, others = started(settings, 10, 3)
    others[[4]] = again
    fresh.begin(torch.tensor([4]), again)
    assert torch.equal(weights, others)
    for one, other in zip(learner.state.values(), fresh.state.values(), strict=True):
        assert torch.equal(one, other)


def test_sums_are_those_of_each_row_in_the_order_of_the_lookups() -> None:
    rng = np.random.default_rng(1)
    rows = torch.from_numpy(rng.integers(0, 50, 400))
    gradient = torch.from_numpy(rng.normal(size=(400, 3)).astype(np.float32))
    place = np.full(50, -1, np.int32)
    distinct, sums = summed(rows, gradient, place)
    assert (place == -1).all()
    assert sorted(distinct.tolist()) == sorted(set(rows.tolist()))
    for row, total in zip(distinct.tolist(), sums, strict=True):
        wanted = torch.zeros(3)
        for line in gradient[rows == row]:
            wanted = wanted + line
        assert torch.equal(total, wanted)


def test_a_step_stays_finite_when_gradients_are_huge() -> None:
    for settings in SETTINGS:
        learner, weights = started(settings, 2, 4)
        for scale in (1e15, 1e-30, 0.0):
            learner.learn(weights, torch.tensor([0, 1]), torch.full((2, 4), scale))
        assert torch.isfinite(weights).all(), settings.kind
