"""What is sent to a collector: the metrics of `/metrics`, spans without what they are of."""

from __future__ import annotations

import importlib.util
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from headrace.jobs import telemetry
from headrace.jobs.learner import LearnerProcess
from headrace.jobs.machine.broker import free_ports
from headrace.jobs.machine.state import read_json
from headrace.jobs.machine.waiting import wait_until
from headrace.jobs.serving.metrics import Counts
from headrace.jobs.serving.store_facts import StoreFacts
from headrace.jobs.serving.telling import TARGETS, telling
from tests.feature_store.made_up import EVERY, clicks, decisions, pages, pipeline
from tests.jobs.in_memory import Log
from tests.jobs.receiver import Receiver, received
from tests.jobs.test_learner_process import filled, small

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("opentelemetry") is None,
    reason="no opentelemetry found: it comes with the extra 'telemetry'",
)
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture(autouse=True)
def nothing_of_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "50")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with received() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.address)
        yield receiver


def spans(collector: Receiver) -> list[Any]:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    told = map(ExportTraceServiceRequest.FromString, collector.bodies("/v1/traces"))
    groups = (scope for each in told for of in each.resource_spans for scope in of.scope_spans)
    return [span for group in groups for span in group.spans]


def metrics(body: bytes) -> tuple[dict[str, str], dict[tuple[str, ...], Any]]:
    """Give a request's resource, and its points by name and labels."""
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
        ExportMetricsServiceRequest,
    )

    (told,) = ExportMetricsServiceRequest.FromString(body).resource_metrics
    points = {
        (metric.name, *sorted(a.value.string_value for a in point.attributes)): (metric, point)
        for metric in told.scope_metrics[0].metrics
        for point in getattr(metric, metric.WhichOneof("data")).data_points
    }
    return attributes(told.resource), points


def attributes(of: Any) -> dict[str, Any]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in of.attributes}


def test_the_metrics_that_are_sent_are_those_that_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, collector: Receiver
) -> None:
    log, declared = Log(), pipeline(tmp_path)
    log.install(monkeypatch)
    log.put(declared.decisions_topic, decisions(2 * EVERY, (EVERY, 0, 0, "d0")))
    for view, pane in (("clicks", clicks(2 * EVERY, u=1)), ("pages", pages(2 * EVERY))):
        for shard in range(declared.views[view].shards):
            log.put(declared.view_topic(declared.views[view]), pane, partition=shard)
    process = log.process(declared, tmp_path / "store")
    while process.step():
        pass
    facts = StoreFacts(process)
    with telemetry.sending("small", "store", lambda: process.metrics.collected(facts)):
        wait_until(lambda: bool(collector.bodies("/v1/metrics")), 60, "the metrics")
    resource, points = metrics(collector.bodies("/v1/metrics")[-1])
    assert resource["service.name"] == "headrace-store"
    assert (resource["headrace.pipeline"], resource["headrace.process"]) == ("small", "store")
    text = process.metrics.told(facts).decode()
    families = [each for each in text_string_to_metric_families(text) if each.samples]
    names = {f"{f.name}_total" if f.type == "counter" else f.name for f in families}
    assert {name for name, *_ in points} == {n for n in names if not n.endswith("_created")}
    assert len(names) > 25
    compared = 0
    for family in families:
        for sample in family.samples:
            key = (sample.name, *sorted(sample.labels.values()))
            clock = family.name.startswith("process_") or "staleness" in family.name
            if key in points and not clock:
                assert points[key][1].as_double == sample.value, key
                compared += 1
    assert compared > 20
    metric, commits = points["headrace_commit_seconds",]
    assert (commits.count, sum(commits.bucket_counts)) == (1, 1)
    assert len(commits.bucket_counts) == len(commits.explicit_bounds) + 1
    assert commits.start_time_unix_nano > 0
    metric, rows = points["headrace_decisions_total",]
    assert metric.sum.is_monotonic
    assert rows.start_time_unix_nano == 0  # it counts what is in the file since ever
    process.close()


def test_a_request_is_in_the_trace_of_who_asks_and_says_nothing_of_what_is_asked(
    tmp_path: Path, collector: Receiver
) -> None:
    with telling(pipeline(tmp_path), tmp_path, "learner"):
        address = read_json(tmp_path / "learner" / TARGETS)[0]["targets"][0]
        headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "cookie": "canary"}
        with httpx.Client(base_url=f"http://{address}", trust_env=False) as http:
            assert http.get("/metrics?canary=1", headers=headers).is_success
            assert http.get("/canary", headers={"traceparent": "canary"}).status_code == 404
            http.request("CANARY", "/metrics")
        wait_until(
            lambda: len(spans(collector)) == 3, 60, "the spans"
        )  # each comes after its answer
    first, unknown, other = spans(collector)
    assert (first.trace_id.hex(), first.parent_span_id.hex()) == (TRACE, PARENT)
    assert first.name == "GET /metrics"
    assert attributes(first) == {
        "http.request.method": "GET",
        "http.route": "/metrics",
        "http.response.status_code": 200,
    }
    assert first.end_time_unix_nano > first.start_time_unix_nano
    assert (unknown.parent_span_id, attributes(unknown)["http.route"]) == (b"", "unknown")
    assert attributes(other)["http.request.method"] == "_OTHER"
    assert b"canary" not in b"".join(collector.bodies("/v1/traces")).lower()


def test_a_commit_and_a_step_of_the_learner_are_spans(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, collector: Receiver
) -> None:
    declared = small(tmp_path)
    log = filled(declared)
    log.install(monkeypatch)
    with telemetry.sending("small", "learner", Counts().collected):
        learner = LearnerProcess(declared, bootstrap="memory", folder=tmp_path / "learner")
        while learner.step():
            pass
        versions = learner.learner.status()["versions"]
        learner.close()
        process = log.process(declared, tmp_path / "store")
        while process.step():
            pass
        process.close()
        with pytest.raises(ValueError, match="canary"), telemetry.span("wrong"):
            raise ValueError("canary of an event")  # noqa: EM101  # as an error has it
    found = spans(collector)
    learned = [attributes(span) for span in found if span.name == "learn"]
    assert sum(each["headrace.messages"] for each in learned) > 0
    assert sum(each["headrace.versions"] for each in learned) == versions > 0
    assert [span for span in found if span.name == "commit"]
    (wrong,) = (span for span in found if span.name == "wrong")
    assert (wrong.status.code, wrong.status.message, len(wrong.events)) == (2, "ValueError", 0)
    assert b"canary" not in b"".join(collector.bodies("/v1/traces"))


def test_nobody_waits_for_a_collector_that_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "600")
    with received(holds=True) as slow:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", slow.address)
        with telling(pipeline(tmp_path), tmp_path, "learner"):
            for _ in range(3):
                with telemetry.span("commit"):
                    pass
            wait_until(lambda: bool(slow.bodies("/v1/metrics")), 60, "the first request")
            address = read_json(tmp_path / "learner" / TARGETS)[0]["targets"][0]
            assert httpx.get(f"http://{address}/metrics", trust_env=False).is_success
        assert slow.answered == 0  # and the process has ended


def test_a_collector_that_is_away_is_told_of_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (port,) = free_ports(1)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://canary:canary@127.0.0.1:{port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.2")
    asked = []

    def collected() -> Iterator[Any]:
        asked.append(1)
        yield from Counts().collected()

    with telemetry.sending("small", "store", collected):
        wait_until(lambda: len(asked) > 3, 60, "more tries")
        with telemetry.span("commit"):
            pass
    said = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
    assert [each[:27] for each in said] == ["telemetry does not arrive w"], said
    assert "canary" not in caplog.text


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "install headrace[telemetry]"),
        ({"OTEL_METRIC_EXPORT_INTERVAL": "often"}, "'often'"),
    ],
)
def test_what_cannot_begin_is_said_and_nothing_ends(
    variables: dict[str, str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if not variables:
        monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    with telemetry.sending("small", "store", Counts().collected), telemetry.span("commit") as told:
        told["messages"] = 1
    (line,) = (each.getMessage() for each in caplog.records)
    assert line.startswith("OTEL_… asks for telemetry, and nothing is sent: ")
    assert said in line


def test_without_the_variables_nothing_is_imported() -> None:
    code = (
        "import sys; from headrace.jobs import telemetry; "
        "from headrace.jobs.serving.metrics import Counts\n"
        "with telemetry.sending('p', 's', Counts().collected), telemetry.span('commit'): pass\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    environment = {n: v for n, v in os.environ.items() if not n.startswith("OTEL_")}
    told = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, check=True, text=True
    )
    assert told.stdout == "[]\n"
