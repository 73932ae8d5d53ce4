"""Nets that learn in two processes, beside one process with one thread and with two.

::

    one      ranks 1, threads 1
    threads  ranks 1, threads 2
    ranks    ranks 2, threads 1

Each predicts and learns the same made-up clicks, by batches of the same size; the three take turns,
and a model that has learned the first rows goes on, so that no start of a process is timed. The
wall time is told, for two processes are there to shorten it, and others on the machine lengthen it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import torch

from benchmarks.click_stream import FIELDS, NUMBERS, Clicks, clicks
from benchmarks.measure import Ratio, alternate, equal, say, seconds, store
from headrace.online_learning.models.batched import Batched, BatchedModel, DcnV2, Dlrm, Hybrid
from headrace.online_learning.models.model import Inputs, Steps
from headrace.online_learning.settings import Encoding, Ftrl, Token
from headrace.operators.types import Type

__all__ = ["run"]

_ROWS, _FIRST = 61_440, 8_192
_BATCHES = (1024, 4096)
_NETS = ("hybrid", "dcn_v2", "dlrm")
_FORMS = {"one": (1, 1), "threads": (1, 2), "ranks": (2, 1)}
_SLOTS = 1 << 20
_FIELDS = [f"f{i}" for i in range(FIELDS)]
_NUMBERS = [f"x{i}" for i in range(NUMBERS)]
_ENCODING = Encoding(
    {**dict.fromkeys(_FIELDS, Type.INT64), **dict.fromkeys(_NUMBERS, Type.FLOAT64)},
    {},
    tuple(Token((name,)) for name in _FIELDS),
    slots=_SLOTS,
    bias=True,
    numbers=tuple(_NUMBERS),
)


def _kind(net: str, batch: int, ranks: int, threads: int) -> Batched:
    kind: Batched = {
        "hybrid": Hybrid(ftrl=Ftrl(alpha=0.1, beta=1.0, l1=0.0, l2=1.0)),
        "dcn_v2": DcnV2(),
        "dlrm": Dlrm(),
    }[net]
    return replace(kind, batch=batch, ranks=ranks, threads=threads, device="cpu")


def _inputs(made: Clicks) -> Inputs:
    """Give each id of each field a slot by a hash; the ids as they are."""
    mixed = (made.values * FIELDS + np.arange(FIELDS)) * 0x9E3779B1 % (_SLOTS - 1)
    bias = np.full((len(mixed), 1), _SLOTS - 1)
    slots = np.hstack([mixed, bias]).astype(np.int32)
    return Inputs(slots, made.values, made.numbers, np.ones(len(mixed)))


def _timed(model: BatchedModel, inputs: Inputs, steps: Steps) -> Callable[[], float]:
    """Give what times the rest of the rows, from the same state each time."""
    model.advance(inputs, steps.part(0, _FIRST))
    kept = model.state()

    def once() -> float:
        model.restore(kept)
        if torch.get_num_threads() != model.kind.threads:
            torch.set_num_threads(model.kind.threads)
        return seconds(lambda: model.advance(inputs, steps.part(_FIRST, _ROWS)))

    return once


def run(rounds: int) -> list[str]:
    """Measure; give a line for each net and batch."""
    made = clicks(_ROWS)
    inputs, steps = _inputs(made), Steps(np.arange(_ROWS), made.labels)
    results: dict[str, dict[str, Any]] = {}
    lines = []
    for batch, net in product(_BATCHES, _NETS):
        models = {form: _kind(net, batch, *told).blank(_ENCODING) for form, told in _FORMS.items()}
        forms = {form: _timed(model, inputs, steps) for form, model in models.items()}
        took = alternate(forms, rounds)
        one, *others = (model.deep.score(inputs.ids, inputs.numbers) for model in models.values())
        near = all(np.allclose(one, other, rtol=0.05, atol=0.05) for other in others)
        equal(f"{net} {batch}, nearly", near)
        rates = {form: round((_ROWS - _FIRST) / min(took[form])) for form in took}
        faster = {
            "ranks_than_one": Ratio.of(took["one"], took["ranks"]),
            "threads_than_one": Ratio.of(took["one"], took["threads"]),
            "ranks_than_threads": Ratio.of(took["threads"], took["ranks"]),
        }
        results[f"{net} {batch}"] = {"examples_per_second": rates, "times_as_fast": faster}
        said = ", ".join(f"{name.replace('_', ' ')} {ratio}" for name, ratio in faster.items())
        lines.append(f"{net} at {batch}: {rates} examples/s; times as fast: {said}")
        say(f"   {lines[-1]}")
    store("ranks", rounds=rounds, rows=_ROWS - _FIRST, clock="wall", results=results)
    return lines
