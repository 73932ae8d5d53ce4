"""What a smaller model costs: bytes, time for a request, and AUC on examples that it never saw."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.online_learning.settings import LearningError
from headrace.operators.evaluation import METRICS

__all__ = ["HeldBack", "Price", "within"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Scores = Callable[[Ints, Floats], Floats]

_WARM = 20


@dataclass(frozen=True, slots=True, eq=False)
class HeldBack:
    """Examples that no model here has learned.

    Parameters
    ----------
    ids, numerics
        As a deep part takes them.
    labels
        0 or 1.
    offsets
        What is added to each logit: the sum of a wide part beside it, or nothing.
    """

    ids: Ints
    numerics: Floats
    labels: Floats
    offsets: Floats | None = None

    def auc(self, logits: Floats) -> float:
        """Give the area under the ROC curve of logits."""
        total = logits if self.offsets is None else logits + self.offsets
        metric = METRICS["auc"]()
        metric.update(1 / (1 + np.exp(-np.clip(total, -35, 35))), self.labels)
        value = metric.value()
        if value is None:
            asked = "asked for the AUC of held-back examples"
            raise LearningError(asked, "their labels are all alike", "hold back more of them")
        return value


@dataclass(frozen=True, slots=True)
class Price:
    """What a form of a model takes, and what it loses.

    Parameters
    ----------
    size_bytes
        Of all that it needs to predict.
    p50_us, p99_us
        Of a request for one row, measured here and now, one after the other in one thread.
    auc, auc_lost
        On the held-back examples, and how much less that is than the whole model's.
    off
        By how much a logit differs from the whole model's, at most.

    Examples
    --------
    >>> str(Price("int8", 2048, 101.0, 150.0, 0.7501, 0.0002, 0.01))
    'int8: 2.0 KiB, p50 101 µs, p99 150 µs, AUC 0.7501 (0.0002 lost), logits off by 0.01 at most'
    """

    name: str
    size_bytes: int
    p50_us: float
    p99_us: float
    auc: float
    auc_lost: float
    off: float

    @classmethod
    def of(
        cls,
        name: str,
        score: Scores,
        *,
        size_bytes: int,
        held_back: HeldBack,
        whole: Floats,
        requests: int = 500,
    ) -> Price:
        """Measure a form.

        Parameters
        ----------
        score
            Gives logits of ids and numerics.
        whole
            The logits of the whole model for the held-back examples.
        requests
            How many rows are asked for alone, to measure the time.
        """
        logits = score(held_back.ids, held_back.numerics)
        auc = held_back.auc(logits)
        micros = _latencies(score, held_back, requests)
        return cls(
            name,
            size_bytes,
            p50_us=round(float(np.quantile(micros, 0.5)), 1),
            p99_us=round(float(np.quantile(micros, 0.99)), 1),
            auc=auc,
            auc_lost=round(held_back.auc(whole) - auc, 6),
            off=float(np.abs(logits - whole).max(initial=0.0)),
        )

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.size_bytes / 1024:.1f} KiB, p50 {self.p50_us:.0f} µs, "
            f"p99 {self.p99_us:.0f} µs, AUC {self.auc:.4f} ({self.auc_lost:.4f} lost), "
            f"logits off by {self.off:.2g} at most"
        )


def within(price: Price, *, p99_us: float) -> Price:
    """Give a price that keeps to the latency budget, and refuse another.

    >>> within(Price("int8", 2048, 101.0, 150.0, 0.75, 0.0, 0.0), p99_us=100)
    Traceback (most recent call last):
    ...
    headrace.online_learning.settings.LearningError: asked for a version with p99 within 100 µs; ...
    """
    if price.p99_us > p99_us:
        asked = f"asked for a version with p99 within {p99_us:.0f} µs"
        found = f"it takes {price.p99_us:.0f} µs as {price.name}"
        raise LearningError(asked, found, "choose a smaller form, or raise the budget")
    return price


def _latencies(score: Scores, held_back: HeldBack, requests: int) -> NDArray[np.float64]:
    micros = np.empty(requests)
    for i in range(-_WARM, requests):
        row = i % len(held_back.ids)
        ids, numerics = held_back.ids[row : row + 1], held_back.numerics[row : row + 1]
        start = time.perf_counter_ns()
        score(ids, numerics)
        if i >= 0:
            micros[i] = (time.perf_counter_ns() - start) / 1000
    return micros
