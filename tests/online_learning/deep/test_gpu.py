"""The deep part on an accelerator beside the CPU; and the forms for accelerators, on the CPU."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

from headrace.online_learning.deep.part import DeepPart
from headrace.online_learning.deep.row_optimizers import summed, summed_by_sort
from headrace.online_learning.deep.settings import NETS, ROW_OPTIMIZERS
from tests.online_learning.deep.test_part import Log, settings

TOLERANCE = 2e-3  # of a logit after 30 batches: products of matrices are added in another order


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no accelerator")
@pytest.mark.parametrize(("net", "optimizer"), [*product(NETS, ROW_OPTIMIZERS)])
def test_the_device_learns_what_the_cpu_does(net: str, optimizer: str) -> None:
    log = Log(30, 64)
    parts = [
        DeepPart(replace(settings(net, optimizer), device=device)) for device in ("cpu", "cuda")
    ]
    for cut in log.cuts:
        one, other = (log.learn(part, cut) for part in parts)
        assert np.allclose(one, other, rtol=0, atol=TOLERANCE)
    cpu, device = parts
    state = device.state()
    assert state.arrays["table.entries"].tolist() == cpu.state().arrays["table.entries"].tolist()
    again = DeepPart(replace(settings(net, optimizer), device="cuda"))
    again.restore(state)
    one, other = (part.score(log.ids, log.numerics) for part in (device, again))
    assert np.array_equal(one, other)
    cpu.restore(state)  # what one device has learned, another goes on with
    assert np.allclose(cpu.score(log.ids, log.numerics), other, rtol=0, atol=TOLERANCE)


def test_sums_by_a_sort_are_those_of_the_loop() -> None:
    rng = np.random.default_rng(1)
    rows = torch.from_numpy(rng.integers(0, 50, 400))
    gradient = torch.from_numpy(rng.normal(size=(400, 3)).astype(np.float32))
    distinct, sums = summed(rows, gradient, np.full(50, -1, np.int32))
    order = torch.argsort(distinct)
    by_sort = summed_by_sort(rows, gradient)
    assert torch.equal(by_sort[0], distinct[order])
    torch.testing.assert_close(by_sort[1], sums[order], rtol=1e-5, atol=1e-6)
