"""What `/metrics` tells is what the page says, and moves when something happens."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from headrace.jobs.store import StoreProcess
from tests.feature_store.made_up import EVERY
from tests.jobs.test_server import http as http
from tests.jobs.test_server import process as process

PAGE = Path(__file__).parent.parent.parent / "docs" / "metrics.md"


def told(http: httpx.Client) -> dict[tuple[str, str], float]:
    text = http.get("/metrics").text
    return {
        (sample.name, ",".join(v for _, v in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_page_names_every_metric(http: httpx.Client) -> None:
    http.get("/healthz")
    text = http.get("/metrics").text
    found = {family.name: family.type for family in text_string_to_metric_families(text)}
    counted = {f"{name}_total" if kind == "counter" else name for name, kind in found.items()}
    counted = {name for name in counted if not name.endswith("_created")}
    on_page = set(re.findall(r"`(headrace_\w+)`", PAGE.read_text("utf-8")))
    # Of a model that is not there yet there is no age; of a learner that told nothing, no number.
    assert on_page - counted == {"headrace_model_age_seconds"}
    assert counted - on_page == set()


def test_it_moves_with_what_happens(http: httpx.Client) -> None:
    before = told(http)
    assert before["headrace_decisions_total", ""] == 1
    assert before["headrace_predictions_total", ""] == 1
    assert before["headrace_view_tiles", "clicks"] == 3
    assert before["headrace_lag_messages", "0,small.decisions"] == 0
    assert before["headrace_commit_seconds_count", ""] == 1
    assert before["headrace_model_version", ""] == 0
    rows = [{"at": 2 * EVERY, "user": "u"}, {"user": "nobody"}]
    assert http.post("/v1/features", json={"rows": rows}).is_success
    assert http.post("/v1/features", json={"rows": []}).status_code == 400
    assert http.get("/v1/nothing/canary").status_code == 404
    after = told(http)

    def moved(name: str, labels: str = "") -> float:
        return after[name, labels] - before.get((name, labels), 0)

    assert moved("headrace_features_served_total") == 6
    assert moved("headrace_features_missing_total") == 2  # last_x, twice
    assert moved("headrace_requests_total", "200,/v1/features") == 1
    assert moved("headrace_requests_total", "400,/v1/features") == 1
    assert moved("headrace_requests_total", "404,unknown") == 1
    assert moved("headrace_request_seconds_count", "/v1/features") == 2
    assert not any("canary" in labels for _, labels in after)


def test_the_lag_is_what_is_not_committed(process: StoreProcess) -> None:
    topic = process.pipeline.decisions_topic
    assert process.lag()[topic, 0] == 0
    process._reader.log.put(topic, b"", b"")  # type: ignore[attr-defined]  # the log in memory
    assert process.lag()[topic, 0] == 2
