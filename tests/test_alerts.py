"""The alerts and the dashboard: each alert fires where it should, and every metric is there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import promql_parser
import pytest
from ruamel.yaml import YAML

from tests.promql import Series, evaluate, names

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "metrics.md").read_text("utf-8")
RULES: list[dict[str, Any]] = YAML(typ="safe").load(
    (ROOT / "jobs" / "deploy" / "alerts.yaml").read_text("utf-8")
)["groups"][0]["rules"]
BOARD = json.loads((ROOT / "jobs" / "deploy" / "dashboard.json").read_text("utf-8"))
KNOWN = {*re.findall(r"`((?:headrace|process)_\w+)`", PAGE), "up"}
_PARTS = ("_bucket", "_sum", "_count")

Said = dict[str, float | tuple[float, float]]
CASES: dict[str, tuple[Said, Said]] = {
    "HeadraceMissing": ({"headrace_missing": 1}, {"headrace_missing": 0}),
    "HeadraceDown": ({"up": 0}, {"up": 1}),
    "HeadraceRestarts": (
        {'headrace_process_restarts_total{name="store"}': (4, 7)},
        {'headrace_process_restarts_total{name="store"}': (4, 6)},
    ),
    "HeadraceLag": (
        {
            'headrace_lag_messages{topic="a",partition="0"}': (6000, 6000),
            'headrace_lag_messages{topic="a",partition="1"}': (4000, 4001),
        },
        {
            'headrace_lag_messages{topic="a",partition="0"}': (90_000, 80_000),
            'headrace_lag_messages{topic="b",partition="0"}': (0, 9_000),
        },
    ),
    "HeadraceStale": (
        {'headrace_view_staleness_seconds{view="a"}': 601},
        {'headrace_view_staleness_seconds{view="a"}': 599},
    ),
    "HeadraceWatermark": (
        {"headrace_job_watermark_lag_seconds": 601},
        {"headrace_job_watermark_lag_seconds": 599},
    ),
    "HeadraceNoCheckpoint": (
        {"headrace_checkpoint_age_seconds": 121},
        {"headrace_checkpoint_age_seconds": 5},
    ),
    "HeadraceDeadLetters": (
        {"headrace_dead_letters_total": (5, 7), "headrace_raw_events": (0, 1000)},
        {"headrace_dead_letters_total": (5, 6), "headrace_raw_events": (0, 1000)},
    ),
    "HeadraceSnapshot": (
        {"headrace_snapshot_age_seconds": 3601, "headrace_examples_total": (3, 4)},
        {"headrace_snapshot_age_seconds": 3601, "headrace_examples_total": (3, 3)},
    ),
    "HeadraceDrift": (
        {'headrace_drift_psi{feature="a"}': 0.21},
        {'headrace_drift_psi{feature="a"}': 0.2},
    ),
    "HeadraceScore": (
        {
            'headrace_score{of="prequential",name="log_loss"}': 0.7,
            'headrace_score{of="prequential",name="base_rate_log_loss"}': 0.69,
        },
        {
            'headrace_score{of="prequential",name="log_loss"}': 0.6,
            'headrace_score{of="served",name="log_loss"}': 0.8,
            'headrace_score{of="prequential",name="base_rate_log_loss"}': 0.69,
        },
    ),
    "HeadraceSwap": (
        {"headrace_model_refused_total": (1, 2)},
        {"headrace_model_refused_total": (2, 2)},
    ),
    "HeadraceErrors": (
        {
            'headrace_requests_total{route="/a",code="200"}': (0, 98),
            'headrace_requests_total{route="/b",code="500"}': (0, 2),
        },
        {
            'headrace_requests_total{route="/a",code="200"}': (0, 99),
            'headrace_requests_total{route="/a",code="400"}': (0, 50),
            'headrace_requests_total{route="/b",code="500"}': (7, 8),
        },
    ),
    "HeadraceDisk": (
        {
            "headrace_disk_free_bytes": 19e9,
            'headrace_disk_bytes{part="broker"}': 60e9,
            'headrace_disk_bytes{part="store"}': 40e9,
        },
        {"headrace_disk_free_bytes": 3e9, 'headrace_disk_bytes{part="store"}': 10e9},
    ),
}
"""What each fires for, and what is near it and is none."""
TARGET = {"job": "headrace", "pipeline": "shop", "process": "store"}


def series(said: Said, **more: str) -> Series:
    """Read series, with the labels that Prometheus gives of the target."""
    found = {}
    for text, value in said.items():
        name, _, labels = text.partition("{")
        own = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        both = value if isinstance(value, tuple) else (value, value)
        found[name, frozenset({**TARGET, **more, **own}.items())] = both
    return found


def test_every_alert_has_its_case_and_its_line_on_the_page() -> None:
    alerts = [rule["alert"] for rule in RULES]
    assert alerts == list(CASES)
    assert alerts == re.findall(r"^\| `(Headrace\w+)` \|", PAGE, re.MULTILINE)
    for rule in RULES:
        assert rule["labels"]["severity"] in ("page", "warn")
        assert "$labels.pipeline" in rule["annotations"]["summary"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_fires_where_it_should_and_nowhere_else(rule: dict[str, Any]) -> None:
    fires, quiet = CASES[rule["alert"]]
    expression = rule["expr"]
    assert names(expression) <= KNOWN
    assert len(evaluate(expression, series(fires))) == 1
    assert evaluate(expression, series(quiet)) == {}
    # Beside a pipeline that is well it still fires, and for its own alone.
    both = {**series(fires), **series(quiet, pipeline="other")}
    (found,) = evaluate(expression, both)
    assert ("pipeline", "shop") in found


def test_a_disk_that_is_small_is_told_too() -> None:
    (rule,) = (rule for rule in RULES if rule["alert"] == "HeadraceDisk")
    said: Said = {"headrace_disk_free_bytes": 1.9e9, 'headrace_disk_bytes{part="store"}': 1e9}
    assert len(evaluate(rule["expr"], series(said))) == 1


def test_every_query_of_the_dashboard_is_of_metrics_that_there_are() -> None:
    queries = [target["expr"] for panel in BOARD["panels"] for target in panel["targets"]]
    assert len(queries) > 30
    asked: set[str] = set()
    for query in queries:
        promql_parser.parse(query)
        assert 'pipeline="$pipeline"' in query
        for name in names(query):
            part = next((each for each in _PARTS if name.endswith(each)), "")
            asked.add(name.removesuffix(part))
    assert asked - KNOWN == set()
    # What nobody looks at there is of one process, or said by another.
    assert {name for name in KNOWN - asked if name.startswith("headrace")} == {
        "headrace_checkpoint_bytes",
        "headrace_inputs_replaced_total",
        "headrace_job_watermark_seconds",
        "headrace_learner",
        "headrace_learner_counted_total",
        "headrace_learner_pending",
        "headrace_snapshot_bytes",
        "headrace_view_keys",
        "headrace_view_tiles",
    }


def test_the_dashboard_has_one_panel_to_a_place() -> None:
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in BOARD["panels"]]
    assert len(set(places)) == len(places)
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(places)
