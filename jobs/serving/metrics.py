"""What the store process counts and tells at `/metrics`, in Prometheus' text format.

`docs/metrics.md` says what each is for. Labels are few: routes, views, topics as they are declared,
never what a request contains.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_COUNTS = {
    "decisions": "Decisions committed.",
    "predictions": "Predictions committed.",
    "examples": "Predictions whose label came.",
    "late": "Rows that came late.",
    "dead_letters": "Rows that could not be read.",
}


class Metrics:
    """The counters of one store process, and what is read of it when it is asked."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.commits = Histogram(
            "headrace_commit_seconds",
            "How long a transaction of rows and offsets took.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.swaps = Counter(
            "headrace_model_swaps", "Versions that began to be served.", registry=registry
        )
        self.refused_versions = Counter(
            "headrace_model_refused", "Versions that did not load.", registry=registry
        )
        self._requests = Counter(
            "headrace_requests", "Requests answered.", ["route", "code"], registry=registry
        )
        self._request_seconds = Histogram(
            "headrace_request_seconds",
            "How long an answer took.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._served = Counter(
            "headrace_features_served", "Values of features in answers.", registry=registry
        )
        self._missing = Counter(
            "headrace_features_missing", "Those of them that were null.", registry=registry
        )

    def requested(self, route: str, code: int, seconds: float) -> None:
        """Count a request: `route` as it is declared, never as it was written."""
        self._requests.labels(route, str(code)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def count_missing(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Count the values of an answer, and the nulls among them."""
        self._served.inc(sum(map(len, rows)))
        self._missing.inc(sum(value is None for row in rows for value in row.values()))

    def text(self, status: Mapping[str, Any], lag: Mapping[tuple[str, int], int]) -> bytes:
        """Give everything, and what the process has at this moment: its status and its lag."""
        moment = CollectorRegistry()
        moment.register(_State(status, lag, time.time()))
        return bytes(generate_latest(self._registry)) + bytes(generate_latest(moment))


class _State(Collector):
    """What a store process has, as metrics."""

    def __init__(
        self, status: Mapping[str, Any], lag: Mapping[tuple[str, int], int], now: float
    ) -> None:
        self._status, self._lag, self._now = status, lag, now

    def collect(self) -> Iterator[Metric]:
        """Give them."""
        status = self._status
        for name, about in _COUNTS.items():
            yield CounterMetricFamily(f"headrace_{name}", about, value=status[name])
        waiting = "Decisions that wait for their views."
        yield GaugeMetricFamily("headrace_waiting", waiting, value=status["waiting"])
        replaced = "Inputs of the model that were no finite numbers, or weights out of range."
        yield CounterMetricFamily(
            "headrace_inputs_replaced", replaced, value=status["inputs_replaced"]
        )
        version = "The version of the model that is served; 0 is none."
        yield GaugeMetricFamily("headrace_model_version", version, value=status["model_version"])
        if status["model_through"] is not None:
            age = self._now - status["model_through"] / 1000
            about = "How far behind the clock, in event time, what the model learned is."
            yield GaugeMetricFamily("headrace_model_age_seconds", about, value=age)
        yield from self._views()
        lag = GaugeMetricFamily(
            *("headrace_lag_messages", "Messages that are not committed yet."),
            labels=["topic", "partition"],
        )
        for (topic, partition), messages in self._lag.items():
            lag.add_metric([topic, str(partition)], messages)
        yield lag
        told = GaugeMetricFamily(
            "headrace_learner", "What the learner told last, by its name.", labels=["name"]
        )
        for name, value in status["metrics"].items():
            told.add_metric([name], value)
        yield told

    def _views(self) -> Iterator[Metric]:
        kinds = {
            "tiles": ("headrace_view_tiles", "Tiles of a view."),
            "keys": ("headrace_view_keys", "Keys of a view."),
            "complete": (
                *("headrace_view_staleness_seconds",),
                "How far behind the clock, in event time, a view is complete.",
            ),
        }
        for fact, (name, about) in kinds.items():
            family = GaugeMetricFamily(name, about, labels=["view"])
            for view, facts in self._status["views"].items():
                value = facts[fact]
                if fact == "complete":
                    value = self._now - value / 1000
                family.add_metric([view], value)
            yield family
