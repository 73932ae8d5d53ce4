"""What a process counts, and how it tells that at `/metrics`, in Prometheus' text format.

`docs/metrics.md` says what each is for. Labels are few: routes, views, topics as they are declared,
never what a request or an event contains.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

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

__all__ = [
    "CONTENT_TYPE",
    "REPEATED",
    "Counts",
    "Metrics",
    "counter",
    "gauge",
    "lag_messages",
    "read_messages",
    "written_messages",
]

CONTENT_TYPE = CONTENT_TYPE_LATEST
REPEATED = "SELECT COUNT(*) - COUNT(DISTINCT id) AS n FROM decisions"
"""Asks the store for `repeated_decisions`."""
_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


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
    return gauge("lag_messages", "Messages that are not committed yet.", *_of_places(lag))


def read_messages(done: Mapping[tuple[str, int], int]) -> Metric:
    """Say how many messages of each partition are done: the offset of the one that follows."""
    return counter("read_messages", "Messages that are done.", *_of_places(done))


def written_messages(ends: Mapping[tuple[str, int], int]) -> Metric:
    """Say how many messages each partition has of what a process writes."""
    return counter("written_messages", "Messages that are written.", *_of_places(ends))


def _of_places(
    counts: Mapping[tuple[str, int], int],
) -> tuple[Iterable[tuple[tuple[str, ...], float]], str, str]:
    values = (((topic, str(partition)), float(n)) for (topic, partition), n in counts.items())
    return values, "topic", "partition"


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

    def collected(self, *facts: Collector) -> Iterator[Metric]:
        """Give all that is counted, and these facts with it, as they are before they are text."""
        yield from self._registry.collect()
        for each in (*self._facts, *facts):
            yield from each.collect()

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
