"""What a process counts and tells at `/metrics`, in Prometheus' text format; the store's share.

`docs/metrics.md` says what each is for. Labels are few: routes, views, topics as they are declared,
never what a request or an event contains.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

__all__ = ["CONTENT_TYPE", "REPEATED", "Counts", "Metrics", "counter", "gauge", "lag_messages"]

CONTENT_TYPE = CONTENT_TYPE_LATEST
REPEATED = "SELECT COUNT(*) - COUNT(DISTINCT id) AS n FROM decisions"
"""Asks the store for `repeated_decisions`."""
_AUDIT = {
    "missing": "Events of the decision's source that are in the log, and no decision.",
    "repeated_decisions": "Decisions of an id that another had before them.",
    "raw_events": "Events in the log, as far as the store has read it.",
}
_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_COUNTS = {
    "decisions": "Decisions committed.",
    "predictions": "Predictions committed.",
    "examples": "Predictions whose label came.",
    "late": "Rows that came late.",
    "dead_letters": "Rows that could not be read.",
}


def gauge(
    name: str, about: str, values: Iterable[tuple[tuple[str, ...], float]], *labels: str
) -> Metric:
    """Make a gauge of values, each with those of its labels.

    >>> [sample.labels for sample in gauge("n", "About it.", [(("a",), 1.0)], "view").samples]
    [{'view': 'a'}]
    """
    return _filled(GaugeMetricFamily(f"headrace_{name}", about, labels=labels), values)


def counter(
    name: str, about: str, values: Iterable[tuple[tuple[str, ...], float]], *labels: str
) -> Metric:
    """Make a counter, as `gauge` does.

    >>> [sample.name for sample in counter("n", "About it.", [((), 1.0)]).samples]
    ['headrace_n_total']
    """
    return _filled(CounterMetricFamily(f"headrace_{name}", about, labels=labels), values)


def lag_messages(lag: Mapping[tuple[str, int], int]) -> Metric:
    """Say how many messages of each partition are to be done yet."""
    values = (((topic, str(partition)), n) for (topic, partition), n in lag.items())
    about = "Messages that are not committed yet."
    return gauge("lag_messages", about, values, "topic", "partition")


def _filled(
    family: CounterMetricFamily | GaugeMetricFamily,
    values: Iterable[tuple[tuple[str, ...], float]],
) -> Metric:
    for each, value in values:
        family.add_metric(each, value)
    return family


class Counts:
    """What a process tells of itself and of the requests to it, and `facts` when it is asked.

    >>> b"process_resident_memory_bytes" in Counts().told()
    True
    """

    def __init__(self, *facts: Collector) -> None:
        self._registry = registry = CollectorRegistry()
        self._facts = facts
        ProcessCollector(registry=registry)
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

    def requested(self, route: str, code: int, seconds: float) -> None:
        """Count a request: `route` as it is declared, never as it was written."""
        self._requests.labels(route, str(code)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def told(self, *facts: Collector) -> bytes:
        """Give all that is counted, and these facts with it."""
        moment = CollectorRegistry()
        for each in (*self._facts, *facts):
            moment.register(each)
        return bytes(generate_latest(self._registry)) + bytes(generate_latest(moment))


class Metrics(Counts):
    """The counters of one store process, and what is read of it when it is asked."""

    def __init__(self) -> None:
        super().__init__()
        registry = self._registry
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
        self.drift = Gauge(
            "headrace_drift_psi",
            "How far a feature has moved from its baseline.",
            ["feature"],
            registry=registry,
        )
        self._served = Counter(
            "headrace_features_served", "Values of features in answers.", registry=registry
        )
        self._missing = Counter(
            "headrace_features_missing", "Those of them that were null.", registry=registry
        )

    def count_missing(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Count the values of an answer, and the nulls among them."""
        self._served.inc(sum(map(len, rows)))
        self._missing.inc(sum(value is None for row in rows for value in row.values()))

    def text(
        self,
        status: Mapping[str, Any],
        lag: Mapping[tuple[str, int], int],
        audit: Mapping[str, int],
    ) -> bytes:
        """Give everything, and what the process has at this moment: its status, lag and audit."""
        return self.told(_State(status, lag, audit, time.time()))


class _State(Collector):
    """What a store process has, as metrics."""

    def __init__(
        self,
        status: Mapping[str, Any],
        lag: Mapping[tuple[str, int], int],
        audit: Mapping[str, int],
        now: float,
    ) -> None:
        self._status, self._lag, self._audit, self._now = status, lag, audit, now

    def collect(self) -> Iterator[Metric]:
        """Give them."""
        status = self._status
        for name, about in _COUNTS.items():
            yield CounterMetricFamily(f"headrace_{name}", about, value=status[name])
        for name, about in _AUDIT.items():
            if name in self._audit:
                yield GaugeMetricFamily(f"headrace_{name}", about, value=self._audit[name])
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
        yield lag_messages(self._lag)
        told = (((name,), value) for name, value in status["metrics"].items())
        yield gauge("learner", "What the learner told last, by its name.", told, "name")

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
