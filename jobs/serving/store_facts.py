"""What the store process tells at `/metrics` when it is asked."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from headrace.jobs.serving.metrics import counter, gauge, lag_messages, read_messages

if TYPE_CHECKING:
    from headrace.jobs.store import StoreProcess

__all__ = ["StoreFacts"]

_COUNTS = {
    "decisions": "Decisions committed.",
    "predictions": "Predictions committed.",
    "examples": "Predictions whose label came.",
    "late": "Rows that came late.",
    "dead_letters": "Rows that could not be read.",
}
_AUDIT = {
    "missing": "Events of the decision's source that are in the log, and no decision.",
    "repeated_decisions": "Decisions of an id that another had before them.",
    "raw_events": "Events in the log, as far as the store has read it.",
}


class StoreFacts(Collector):
    """What a store process has, and how far it is: its status, lag, audit."""

    def __init__(self, process: StoreProcess) -> None:
        self._process = process

    def collect(self) -> Iterator[Metric]:
        """Give them."""
        process, audit = self._process, self._process.audit()
        status: Mapping[str, Any] = process.status()
        for name, about in _COUNTS.items():
            yield counter(name, about, [((), status[name])])
        for name, about in _AUDIT.items():
            if name in audit:
                yield gauge(name, about, [((), audit[name])])
        about = "Panes that came again, and were passed over."
        yield counter("repeated_panes", about, [((), process.store.repeated_panes)])
        about = "Decisions that wait for their views."
        yield gauge("waiting", about, [((), status["waiting"])])
        yield from _model(status)
        yield from _views(status["views"])
        about = "Before this event time, in seconds since 1970, a row of the partition is late."
        highs = (
            ((topic, str(partition)), at / 1000)
            for (topic, partition), at in process.store.events.watermarks().items()
        )
        yield gauge("source_watermark_seconds", about, highs, "topic", "partition")
        yield read_messages(process.read)
        yield lag_messages(process.lag())
        told = (((name,), value) for name, value in status["metrics"].items())
        yield gauge("learner", "What the learner told last, by its name.", told, "name")


def _model(status: Mapping[str, Any]) -> Iterator[Metric]:
    about = "Inputs of the model that were no finite numbers, or weights out of range."
    yield counter("inputs_replaced", about, [((), status["inputs_replaced"])])
    about = "The version of the model that is served; 0 is none."
    yield gauge("model_version", about, [((), status["model_version"])])
    if status["model_through"] is not None:
        age = time.time() - status["model_through"] / 1000
        about = "How far behind the clock, in event time, what the model learned is."
        yield gauge("model_age_seconds", about, [((), age)])


def _views(views: Mapping[str, Mapping[str, int]]) -> Iterator[Metric]:
    now = time.time()

    def told(name: str, about: str, values: Mapping[str, float]) -> Metric:
        return gauge(name, about, (((view,), value) for view, value in values.items()), "view")

    yield told("view_tiles", "Tiles of a view.", {n: each["tiles"] for n, each in views.items()})
    yield told("view_keys", "Keys of a view.", {n: each["keys"] for n, each in views.items()})
    complete = {name: each["complete"] / 1000 for name, each in views.items()}
    about = "To which event time, in seconds since 1970, a view is complete and read."
    yield told("view_watermark_seconds", about, complete)
    about = "How far behind the clock, in event time, a view is complete."
    yield told("view_staleness_seconds", about, {n: now - at for n, at in complete.items()})
