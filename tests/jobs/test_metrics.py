"""What `/metrics` tells is what the page says, and moves when something happens."""

from __future__ import annotations

import re
import time
from pathlib import Path

import httpx
import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from headrace.jobs import store
from headrace.jobs.serving.store_facts import StoreFacts
from headrace.jobs.store import StoreProcess
from headrace.pipelines.load import load
from tests.feature_store.made_up import EVERY, TEXT, clicks, decisions, pages, pipeline
from tests.jobs.in_memory import Log
from tests.jobs.test_server import http as http
from tests.jobs.test_server import process as process

PAGE = Path(__file__).parent.parent.parent / "docs" / "metrics.md"


def told(http: httpx.Client) -> dict[tuple[str, str], float]:
    return told_by(http.get("/metrics").text)


def told_by(text: str) -> dict[tuple[str, str], float]:
    return {
        (sample.name, ",".join(v for _, v in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def families(text: str | bytes) -> set[str]:
    """Name the metrics, as the page does."""
    text = text if isinstance(text, str) else text.decode()
    names = {
        f"{each.name}_total" if each.type == "counter" else each.name
        for each in text_string_to_metric_families(text)
    }
    return {name for name in names if not name.endswith("_created")}


def on_page(*titles: str) -> set[str]:
    """Name the metrics of sections of the page."""
    sections = dict(
        re.findall(r"^## ([\w ]+)\n(.*?)(?=^## |\Z)", PAGE.read_text("utf-8"), re.M | re.S)
    )
    found = [re.findall(r"`((?:headrace|process)_\w+)`", sections[title]) for title in titles]
    assert all(found)
    return {name for names in found for name in names}


def test_the_page_names_every_metric(http: httpx.Client) -> None:
    http.get("/healthz")
    counted, page = families(http.get("/metrics").text), on_page("Every process", "Store")
    # Of a model that is not there yet there is no age.
    assert page - counted == {"headrace_model_age_seconds"}
    assert counted - page == set()


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


def test_an_event_that_is_no_decision_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in the log, on time and whole, and the stream gave a pane without it."""
    log, small = Log(), pipeline(tmp_path)
    log.install(monkeypatch)
    pane = decisions(2 * EVERY, (EVERY, 0, 0, "d0"), (EVERY + 1, 0, 1, "d0"))
    log.put(small.decisions_topic, pane)
    asks = [{"at": EVERY + n, "name": f"d{n}"} for n in range(2)]
    late, later, progress = {"at": 1, "name": "x"}, {"at": 3 * EVERY, "name": "y"}, {"at": EVERY}
    log.put("ask", *map(orjson.dumps, (*asks, later, late, progress)), b"no JSON")
    for view in ("clicks", "pages"):
        for shard in range(small.views[view].shards):
            empty = clicks(2 * EVERY) if view == "clicks" else pages(2 * EVERY)
            log.put(small.view_topic(small.views[view]), empty, partition=shard)
    process = log.process(small, tmp_path / "store")
    while process.step():
        pass
    assert process.audit() == {"missing": 0, "raw_events": 4, "repeated_decisions": 1}
    log.put("ask", orjson.dumps({"at": 2 * EVERY - 1, "name": "lost"}), partition=1)
    process.close()
    again = log.process(small, tmp_path / "store")
    while again.step():
        pass
    assert again.audit() == {"missing": 1, "raw_events": 5, "repeated_decisions": 1}
    assert again.audit() is again.audit()  # is not counted anew for each who asks
    found = told_by(again.metrics.told(StoreFacts(again)).decode())
    assert found["headrace_missing", ""] == 1
    monkeypatch.setattr(store, "_MOST_REPEATED", 1)
    again._audit_again = 0.0
    assert "repeated_decisions" not in again.audit()
    again.close()


def test_watermarks_are_told_in_seconds_and_a_pane_that_came_again_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path := tmp_path / "small.yaml").write_text(TEXT.replace("ask: {", "ask: {lateness: 90s, "))
    log, small = Log(), load(path)
    log.install(monkeypatch)
    rows = [{"at": at, "name": "n"} for at in (9 * EVERY, 7 * EVERY)]
    log.put("ask", *map(orjson.dumps, rows), partition=1)
    for view, pane in (("clicks", clicks(4 * EVERY)), ("pages", pages(3 * EVERY))):
        for shard in range(small.views[view].shards):
            log.put(small.view_topic(small.views[view]), pane, partition=shard)
    process = log.process(small, tmp_path / "store")
    while process.step():
        pass
    found = told_by(process.metrics.told(StoreFacts(process)).decode())
    assert found["headrace_view_watermark_seconds", "clicks"] == 4 * EVERY / 1000
    assert found["headrace_view_watermark_seconds", "pages"] == 3 * EVERY / 1000
    behind = time.time() - 4 * EVERY / 1000
    assert abs(found["headrace_view_staleness_seconds", "clicks"] - behind) < 3600
    # The greatest `at` of its partition, not the last, less how late a row may be.
    assert found["headrace_source_watermark_seconds", "1,ask"] == 9 * EVERY / 1000 - 90
    assert ("headrace_source_watermark_seconds", "0,ask") not in found
    assert found["headrace_read_messages_total", "1,ask"] == 2
    assert found["headrace_repeated_panes_total", ""] == 0
    log.put(small.view_topic(small.views["clicks"]), clicks(4 * EVERY), partition=0)
    while process.step():
        pass
    found = told_by(process.metrics.told(StoreFacts(process)).decode())
    assert found["headrace_repeated_panes_total", ""] == 1
    process.close()


def test_the_lag_is_what_is_not_committed(process: StoreProcess) -> None:
    topic = process.pipeline.decisions_topic
    assert process.lag()[topic, 0] == 0
    process._reader.log.put(topic, b"", b"")  # type: ignore[attr-defined]  # the log in memory
    assert process.lag()[topic, 0] == 2
