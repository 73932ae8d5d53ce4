"""The deep part on made-up clicks: alone and beside a wide part, admission, smaller forms.

::

    linear   row by row                       p = σ(wide after the rows before)
    hybrid   both, learned jointly            p = σ(wide after the rows before + deep at its start)
    pure     the deep part alone              p = σ(deep at the start of the batch)

All three are scored before they learn each row. The numbers come standardised. One thread each; the
rates are of the CPU time of this process, for others may use the machine, too.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.click_stream import FIELDS, NUMBERS, Clicks, clicks
from benchmarks.measure import say, store
from headrace.online_learning.deep.part import DeepPart
from headrace.online_learning.deep.price import HeldBack, Price
from headrace.online_learning.deep.pruning import packed, pruned
from headrace.online_learning.deep.serving import Serving
from headrace.online_learning.deep.settings import Deep, Field
from headrace.online_learning.models import ftrl
from headrace.online_learning.settings import Ftrl
from headrace.operators.evaluation import METRICS

__all__ = ["run"]

DEEP = Deep(tuple(Field(f"f{i}") for i in range(FIELDS)), NUMBERS, device="cpu")
WIDE = Ftrl(alpha=0.1, beta=1.0, l1=0.0, l2=1.0)
BATCHES = (64, 256, 1024, 4096)
HELD_BACK = 20_000

Floats = NDArray[np.float64]


def run(rounds: int) -> list[str]:
    """Measure; of the rates the best of the rounds is told."""
    torch.set_num_threads(1)
    made = clicks()
    stream = _Stream(made)
    results = {"bayes": _scored(made.truth, made.labels)}
    results["linear"] = _best(stream, None, 4096, rounds, wide=True)
    for size in BATCHES:
        for name, wide in (("hybrid", True), ("pure", False)):
            results[f"{name} {size}"] = _best(stream, DEEP, size, rounds, wide=wide)
    for name, result in results.items():
        say(f"   {_line(name, result)}")
    admitted = _admission(stream)
    prices = [str(price) for price in _prices(stream)]
    for line in [*admitted, *prices]:
        say(f"   {line}")
    store("deep", rounds=rounds, results=results, admission=admitted, prices=prices)
    return [_line(name, results[name]) for name in ("hybrid 1024", "pure 1024", "linear")]


class _Stream:
    """The clicks as both parts take them: each id of each field a slot of its own."""

    def __init__(self, made: Clicks) -> None:
        starts = np.concatenate([[0], np.cumsum(made.values.max(0) + 1)])
        bias = np.full((len(made.labels), 1), starts[-1])
        self.ids = made.values
        self.slots = np.hstack([made.values + starts[:-1], bias]).astype(np.int32)
        self.size = int(starts[-1]) + 1
        self.numbers = made.numbers
        self.labels = made.labels

    def cuts(self, size: int, end: int | None = None) -> Iterator[slice]:
        """Give the batches."""
        end = len(self.labels) if end is None else end
        return (slice(start, min(start + size, end)) for start in range(0, end, size))


def _learn(
    stream: _Stream, part: DeepPart | None, size: int, *, wide: bool, end: int | None = None
) -> Floats:
    """Go through the stream; the probability of each row before it was learned."""
    zn = ftrl.blank(stream.size + NUMBERS)
    told = []
    for cut in stream.cuts(size, end):
        labels, rows = stream.labels[cut], np.arange(cut.stop - cut.start)
        logits = np.zeros(len(rows))
        if part is not None:
            logits = part.logits(stream.ids[cut], stream.numbers[cut])
        if wide:
            slots, numbers = stream.slots[cut], stream.numbers[cut]
            p, gradient = ftrl.advance(
                *(zn, slots, rows, labels, WIDE), numbers=numbers, offsets=logits
            )
        else:
            p = 1 / (1 + np.exp(-logits))
            gradient = p - labels
        if part is not None:
            part.learn(gradient)
        told.append(p)
    return np.concatenate(told)


def _best(
    stream: _Stream, settings: Deep | None, size: int, rounds: int, *, wide: bool
) -> dict[str, float]:
    rates = []
    for _ in range(rounds):
        part = None if settings is None else DeepPart(settings)
        start = time.process_time()
        p = _learn(stream, part, size, wide=wide)
        rates.append(len(p) / (time.process_time() - start))
    return {**_scored(p, stream.labels), "examples_a_cpu_second": max(rates)}


def _scored(p: Floats, labels: Floats) -> dict[str, float]:
    found = {}
    for name in ("auc", "log_loss"):
        metric = METRICS[name]()
        metric.update(p, labels)
        found[name] = float(metric.value() or 0.0)
    return found


def _admission(stream: _Stream) -> list[str]:
    """Say what fewer rows cost, pure at 256: the table's size, lookups of the default row, AUC."""
    said = []
    forms = {
        "every id": DEEP,
        "ids seen 3 times": replace(DEEP, fields=tuple(replace(f, admit=3) for f in DEEP.fields)),
        "within 4 MB": replace(DEEP, memory_bytes=4_000_000),
        "within 2 MB": replace(DEEP, memory_bytes=2_000_000),
    }
    for name, settings in forms.items():
        part = DeepPart(settings)
        auc = _scored(_learn(stream, part, 256, wide=False), stream.labels)["auc"]
        lookups, default = part.table.lookups.sum(1)
        size = part.table.size_bytes / 1e6
        said.append(
            f"admission, {name}: {size:.1f} MB, {default / lookups:.1%} of lookups got the default "
            f"row, AUC {auc:.4f}"
        )
    return said


def _prices(stream: _Stream) -> Iterator[Price]:
    """Price the forms of a pure model on the last rows, which it has not learned."""
    end = len(stream.labels) - HELD_BACK
    part = DeepPart(DEEP)
    _learn(stream, part, 256, wide=False, end=end)
    held_back = HeldBack(stream.ids[end:], stream.numbers[end:], stream.labels[end:])
    arrays = part.weights()
    whole = Serving(DEEP, arrays)
    logits = whole.score(held_back.ids, held_back.numerics)

    def price(name: str, serving: Serving, size_bytes: int) -> Price:
        told = {"size_bytes": size_bytes}
        return Price.of(name, serving.score, **told, held_back=held_back, whole=logits)

    for form in ("fp32", "fp16", "int8"):
        serving = Serving(DEEP, arrays, form=form)
        yield price(f"rows in {form}", serving, serving.size_bytes)
    for share in (0.5, 0.8):
        dense = pruned(DEEP, arrays["dense"], share)
        serving = Serving(DEEP, {**arrays, "dense": dense})
        size = serving.rows.size_bytes + sum(one.nbytes for one in packed(dense).values())
        yield price(f"{share:.0%} pruned", serving, size)


def _line(name: str, result: dict[str, float]) -> str:
    said = f"{name}: AUC {result['auc']:.4f}, log loss {result['log_loss']:.4f}"
    rate = result.get("examples_a_cpu_second")
    return said if rate is None else f"{said}, {rate:,.0f} examples/s of CPU time"
