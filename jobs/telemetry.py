"""OpenTelemetry, for whoever sets its variables: what `/metrics` tells, and spans, over OTLP.

::

    OTEL_EXPORTER_OTLP_ENDPOINT=… ─┬─► what is counted, once a minute ─┐ threads beside the
                                   └─► spans, in batches ──────────────┴─► process ──► collector
    no such variable ──► nothing is imported, and a span is nothing

What cannot be sent is dropped, and that is said once: no step waits for a collector. A span has
names and counts, never what an event or a request contains.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from headrace.operators.errors import HeadraceError

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import Metric
    from prometheus_client.core import Metric as Family

__all__ = ["VARIABLES", "request", "sending", "span", "wanted"]

VARIABLES = {
    signal: ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT")
    for signal in ("metrics", "traces")
}
"""Those of the environment that ask for a signal."""
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"))
_CARRIED = ("traceparent", "tracestate")
_EVERY_MS = "60000"
_END_SECONDS = 2.0
"""How much later a process ends for what is not sent yet."""
_log = logging.getLogger(__name__)
_tracer: Any = None


def wanted(environment: Mapping[str, str]) -> set[str]:
    """Say which signals the variables ask for.

    >>> sorted(wanted({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://there:4318"}))
    ['metrics', 'traces']
    >>> wanted({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://there:4318", "OTEL_TRACES_EXPORTER": "none"})
    {'metrics'}
    >>> wanted({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "true"}), wanted({})
    (set(), set())
    """
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return set()
    found = set()
    for signal, names in VARIABLES.items():
        asked = "otlp" if any(environment.get(name) for name in names) else "none"
        if environment.get(f"OTEL_{signal.upper()}_EXPORTER", asked).strip() == "otlp":
            found.add(signal)
    return found


@contextmanager
def sending(
    pipeline: str, process: str, collected: Callable[[], Iterable[Family]]
) -> Iterator[None]:
    """Send what is wanted for as long as the context lasts: spans, and what is `collected`."""
    global _tracer  # one for a process, as its log is
    signals = wanted(os.environ)
    sender = None
    try:
        sender = _Sender(pipeline, process, signals, collected) if signals else None
    except ModuleNotFoundError:
        _log.warning("OTEL_… asks for telemetry, and nothing is sent: install headrace[telemetry]")
    except ValueError as error:  # of a variable
        _log.warning("OTEL_… asks for telemetry, and nothing is sent: %s", error)
    if sender is None:
        yield
        return
    _tracer = sender.tracer
    try:
        yield
    finally:
        _tracer = None
        sender.end()


@contextmanager
def span(name: str) -> Iterator[dict[str, int]]:
    """Time what is done in the context; what is put into the dict is told of it.

    >>> with span("commit") as told:
    ...     told["messages"] = 3
    """
    told: dict[str, int] = {}
    if _tracer is None:
        yield told
        return
    from opentelemetry.trace import StatusCode

    # Not what an error says, but its name: what it says may be of an event.
    quiet = {"record_exception": False, "set_status_on_exception": False}
    with _tracer.start_as_current_span(name, **quiet) as made:
        try:
            yield told
        except BaseException as error:
            made.set_status(StatusCode.ERROR, type(error).__name__)
            raise
        finally:
            made.set_attributes({f"headrace.{each}": count for each, count in told.items()})


def request(
    method: str, route: str, code: int, seconds: float, headers: Iterable[tuple[bytes, bytes]]
) -> None:
    """Tell of a request that was answered just now, in the trace that its headers name."""
    if _tracer is None:
        return
    from opentelemetry.trace import SpanKind, StatusCode
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    known = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers)
    given = {name: value for name, value in known if name in _CARRIED}
    method = method if method in _METHODS else "_OTHER"
    ended = time.time_ns()
    made = _tracer.start_span(
        f"{method} {route}",
        context=TraceContextTextMapPropagator().extract(given),
        kind=SpanKind.SERVER,
        start_time=ended - int(seconds * 1e9),
        attributes={
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": code,
        },
    )
    if code >= 500:
        made.set_status(StatusCode.ERROR)
    made.end(ended)


class _Sender:
    """The threads that send, of one process."""

    def __init__(
        self,
        pipeline: str,
        process: str,
        signals: set[str],
        collected: Callable[[], Iterable[Family]],
    ) -> None:
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource

        own = {"service.name": f"headrace-{process}"}
        own |= {"headrace.pipeline": pipeline, "headrace.process": process}
        self._resource = Resource.create({**own, **OTELResourceDetector().detect().attributes})
        self._collected, self._said, self._stop = collected, False, threading.Event()
        self._every = int(os.environ.get("OTEL_METRIC_EXPORT_INTERVAL") or _EVERY_MS) / 1000
        self._provider: Any = self._spans() if "traces" in signals else None
        self._exporter = _metric_exporter() if "metrics" in signals else None
        # What fails from here on is said once, and not with each try.
        logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
        threading.Thread(target=self._run, name="telemetry", daemon=True).start()

    @property
    def tracer(self) -> Any:
        """Give what makes spans, where they are sent."""
        return self._provider.get_tracer("headrace") if self._provider is not None else None

    def _spans(self) -> Any:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        provider = TracerProvider(resource=self._resource, shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(_Heard(OTLPSpanExporter(), self._hear)))
        return provider

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            self._send()

    def _send(self) -> None:
        if self._exporter is None:
            return
        with contextlib.suppress(HeadraceError):  # of what does not answer now, nothing
            self._hear(self._exporter.export(_told(self._resource, self._collected())))

    def _hear(self, result: Any) -> None:
        """Say that nothing arrives, where that is so, once."""
        if result.name != "SUCCESS" and not self._said:
            self._said = True
            _log.warning(
                "telemetry does not arrive where OTEL_EXPORTER_OTLP_… says, and is dropped; "
                "it is tried again, and not said again"
            )

    def _last(self) -> None:
        self._send()
        if self._provider is not None:
            self._provider.shutdown()

    def end(self) -> None:
        """Send what is left, but do not wait long for that, nor for who did not answer before."""
        self._stop.set()
        last = threading.Thread(target=self._last, name="telemetry's end", daemon=True)
        last.start()
        last.join(0.0 if self._said else _END_SECONDS)


class _Heard:
    """An exporter of spans whose results are heard."""

    def __init__(self, exporter: Any, hear: Callable[[Any], None]) -> None:
        self._exporter, self._hear = exporter, hear
        self.shutdown, self.force_flush = exporter.shutdown, exporter.force_flush

    def export(self, spans: Any) -> Any:
        """Send spans."""
        result = self._exporter.export(spans)
        self._hear(result)
        return result


def _metric_exporter() -> Any:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

    return OTLPMetricExporter()


def _told(resource: Any, families: Iterable[Family]) -> Any:
    """Write what is counted as OpenTelemetry's: the same names, labels as attributes."""
    from opentelemetry.sdk.metrics.export import MetricsData, ResourceMetrics, ScopeMetrics
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    now = time.time_ns()
    metrics = [_metric(family, now) for family in families if family.samples]
    scope = ScopeMetrics(InstrumentationScope("headrace"), metrics, "")
    return MetricsData([ResourceMetrics(resource, [scope], "")])


def _metric(family: Family, now: int) -> Metric:
    from opentelemetry.sdk.metrics import export

    began = {  # of counters that begin with the process; others have counted since ever
        frozenset(each.labels.items()): int(each.value * 1e9)
        for each in family.samples
        if each.name.endswith("_created")
    }
    name = f"{family.name}_total" if family.type == "counter" else family.name
    added = export.AggregationTemporality.CUMULATIVE
    if family.type == "histogram":
        return export.Metric(
            name, family.documentation, "", export.Histogram(_histograms(family, began, now), added)
        )
    points = [
        export.NumberDataPoint(
            dict(each.labels), began.get(frozenset(each.labels.items()), 0), now, float(each.value)
        )
        for each in family.samples
        if each.name == name
    ]
    counted = family.type == "counter"
    data = export.Sum(points, added, is_monotonic=True) if counted else export.Gauge(points)
    return export.Metric(name, family.documentation, "", data)


def _histograms(family: Family, began: Mapping[frozenset[Any], int], now: int) -> list[Any]:
    from opentelemetry.sdk.metrics.export import HistogramDataPoint

    found: dict[frozenset[tuple[str, str]], dict[str, Any]] = {}
    for each in family.samples:
        labels = {name: value for name, value in each.labels.items() if name != "le"}
        part = found.setdefault(frozenset(labels.items()), {"buckets": []})
        if each.name.endswith("_bucket"):
            part["buckets"].append((float(each.labels["le"]), int(each.value)))
        else:
            part[each.name.removeprefix(f"{family.name}_")] = each.value
    points = []
    for labels_, part in found.items():
        bounds, upto = zip(*sorted(part["buckets"]), strict=True)
        counts = [n - before for n, before in zip(upto, (0, *upto), strict=False)]
        points.append(
            HistogramDataPoint(
                attributes=dict(labels_),
                start_time_unix_nano=began.get(labels_, 0),
                time_unix_nano=now,
                count=int(part["count"]),
                sum=part["sum"],
                bucket_counts=counts,
                explicit_bounds=bounds[:-1],
                min=None,
                max=None,
            )
        )
    return points
