"""The learner process: what it notes is in the metrics topic once, whenever it is killed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pyarrow.compute as pc
import pytest

from headrace.feature_store.catalogue import TABLES
from headrace.jobs import learner
from headrace.jobs.claims import MARK
from headrace.jobs.learner import LearnerProcess
from headrace.jobs.lifecycle.status import _scores
from headrace.jobs.store import _metrics
from headrace.online_learning.learner import Learner
from headrace.online_learning.observer import Note
from headrace.pipelines.load import load
from headrace.pipelines.pipeline import Pipeline
from tests.chaos_learned import noted
from tests.jobs.in_memory import Killed, Log
from tests.online_learning.made_up import log

NEVER = 1 << 62

TEXT = """\
pipeline: small
every: 1s
sources:
  ask: {columns: {name: string required, city: string, hour: int64, delay: float64, wet: bool}}
views:
  asks: {source: ask, key: city, features: {n: count()}}
decision: {source: ask, id: name}
outcome: {source: ask, id: name, label: hour > 1, within: 20s}
model:
  kind: ftrl
  slots: 1024
  tokens: [city, hour, wet]
  publish_every: 7s
  score_every: 9s
  score_by: wet
"""


def small(folder: Path, more: str = "") -> Pipeline:
    path = folder / "small.yaml"
    path.write_text(TEXT + more)
    return load(path)


def filled(pipeline: Pipeline) -> Log:
    messages, made = Log(), log()
    messages.put(pipeline.predictions_topic, *made.predictions)
    messages.put(pipeline.examples_topic, *made.examples)
    return messages


def run(pipeline: Pipeline, folder: Path) -> None:
    process = LearnerProcess(pipeline, bootstrap="memory", folder=folder)
    try:
        while process.step():
            pass
    finally:
        process.learner.close()


def killed_again_and_again(pipeline: Pipeline, messages: Log, folder: Path) -> None:
    """Kill it after so many messages that it wrote each time; from then on it may write."""
    for left in (0, 1, 2, 0, 3, 1):
        messages.left = left
        with pytest.raises(Killed):
            run(pipeline, folder)
    messages.left = None


def die(_: Learner) -> None:
    raise Killed


def told(pipeline: Pipeline, messages: Log) -> list[dict[str, Any]]:
    said = messages.messages[pipeline.metrics_topic, 0]
    return [row for one in said for row in orjson.loads(one.value or b"")]


def of_windows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["name"].startswith("window.")]


def test_a_killed_process_tells_each_note_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learner, "_POLL_MESSAGES", 15)
    pipeline = small(tmp_path)
    undisturbed = filled(pipeline)
    undisturbed.install(monkeypatch)
    run(pipeline, tmp_path / "whole")
    expected = of_windows(told(pipeline, undisturbed))
    assert len(expected) > 100
    assert {row.get("slice_of") for row in expected} == {None, "wet"}
    assert len({(r["at"], r["name"], r.get("slice")) for r in expected}) == len(expected)

    killed = filled(pipeline)
    killed.install(monkeypatch)
    killed_again_and_again(pipeline, killed, tmp_path / "killed")
    for _ in range(3):
        with monkeypatch.context() as patch:
            patch.setattr(Learner, "snapshot_now", die)  # all is told by then, and not saved
            with pytest.raises(Killed):
                run(pipeline, tmp_path / "killed")
    run(pipeline, tmp_path / "killed")
    assert noted(of_windows(told(pipeline, killed))) == noted(expected)


def test_the_store_keeps_what_the_rows_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = small(tmp_path)
    messages = filled(pipeline)
    messages.install(monkeypatch)
    run(pipeline, tmp_path / "learner")
    rows = _metrics(messages.messages[pipeline.metrics_topic, 0])
    assert rows.schema == TABLES["metrics"]
    names = set(rows["name"].to_pylist())
    assert {"prequential.ece", "staleness.log_loss", "window.staleness.auc"} <= names
    process = messages.process(pipeline, tmp_path / "store")
    with process.store.catalogue.transaction():
        process.store.add_metrics(rows)
    status = process.status()["metrics"]
    asked = "SELECT DISTINCT slice FROM metrics WHERE slice_of = 'wet' ORDER BY 1"
    assert process.store.catalogue.read(asked)["slice"].to_pylist() == ["false", "null", "true"]
    process.close()
    assert isinstance(status, dict)
    assert "prequential.ece" in status
    assert not [name for name in status if name.startswith("window.")]
    again = messages.process(pipeline, tmp_path / "store")
    assert again.status()["metrics"] == status
    again.close()


def test_how_challengers_stand_is_told_by_the_store_and_the_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = "  alpha: 1.0e-5\n  gate: {least: 20, alpha: 0.2}\n"
    pipeline = small(tmp_path, f"{more}  challengers: {{settings: [{{alpha: 0.3}}]}}\n")
    messages = filled(pipeline)
    messages.install(monkeypatch)
    run(pipeline, tmp_path / "learner")
    rows = _metrics(messages.messages[pipeline.metrics_topic, 0])
    (leads,) = rows.filter(pc.equal(rows["name"], "challenger.leads")).to_pylist()
    assert leads["value"] == 1
    process = messages.process(pipeline, tmp_path / "store")
    with process.store.catalogue.transaction():
        process.store.add_metrics(rows)
    metrics: Any = process.status()["metrics"]
    found = _scores(metrics, [])
    process.close()
    assert found["challenger.1"]["log_loss"] < found["challenger.0"]["log_loss"]
    assert found["challenger.1"]["labels"] > 20
    assert "challenger" not in found


def test_an_alert_is_a_line_of_the_log_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = small(tmp_path)
    messages = filled(pipeline)
    messages.install(monkeypatch)
    notes = [
        Note(60_000, 60_000, "drift.loss", 0.5, cause="the loss rose", alert=True),
        Note(70_000, 70_000, "drift.raise_rate", 3.0, cause="the loss rose"),
    ]
    for _ in range(2):  # the second time as after a crash
        process = LearnerProcess(pipeline, bootstrap="memory", folder=tmp_path / "learner")
        process._tell_notes(notes, 0)
        process.learner.close()
    assert caplog.messages == ["drift.loss at 1970-01-01T00:01:00+00:00: the loss rose"]
    rows = told(pipeline, messages)
    assert [(row["name"], row["cause"]) for row in rows] == [
        ("drift.loss", "the loss rose"),
        ("drift.raise_rate", "the loss rose"),
    ]


def marked(pipeline: Pipeline) -> Log:
    """Give what a store writes that began again and again: each time a mark without a value."""
    messages, made = Log(), log()
    for number, value in enumerate(made.predictions):
        if number % 10 == 3:
            messages.send(pipeline.predictions_topic, None, key=MARK)
        messages.put(pipeline.predictions_topic, value)
    messages.put(pipeline.examples_topic, *made.examples)
    return messages


@pytest.mark.parametrize("cut", [1, 3, 15, 1000])
def test_what_a_version_is_made_from_does_not_depend_on_the_polls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    """Where a store began anew, too: offsets and checksums are those of the topic."""
    pipeline = small(tmp_path)
    manifests = []
    for name, most in (("whole", 100_000), ("cut", cut)):
        monkeypatch.setattr(learner, "_POLL_MESSAGES", most)
        with monkeypatch.context() as patch:
            marked(pipeline).install(patch)
            run(pipeline, tmp_path / name)
        found = sorted((tmp_path / name / "versions").glob("v*/manifest.json"))
        manifests.append([path.read_bytes() for path in found])
    assert len(manifests[0]) > 3
    assert manifests[0] == manifests[1]
    predictions = marked(pipeline).messages[pipeline.predictions_topic, 0]
    for each in map(orjson.loads, manifests[0]):
        until = each["offsets"]["predictions"]
        told = [orjson.loads(said.value or b"{}") for said in predictions[:until]]
        assert all(one.get("at", 0) < each["through_ms"] for one in told)
        following = (orjson.loads(said.value or b"{}") for said in predictions[until:])
        assert next((one["at"] for one in following if "at" in one), NEVER) >= each["through_ms"]


def test_a_learner_that_is_killed_reads_on_where_a_store_began_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learner, "_POLL_MESSAGES", 15)
    pipeline = small(tmp_path)
    undisturbed = marked(pipeline)
    undisturbed.install(monkeypatch)
    run(pipeline, tmp_path / "whole")
    killed = marked(pipeline)
    killed.install(monkeypatch)
    killed_again_and_again(pipeline, killed, tmp_path / "killed")
    run(pipeline, tmp_path / "killed")
    versions = sorted(path.name for path in (tmp_path / "whole" / "versions").glob("v*"))
    assert len(versions) > 3
    for name in versions:
        whole, again = (
            (tmp_path / run_of / "versions" / name / "manifest.json").read_bytes()
            for run_of in ("whole", "killed")
        )
        assert whole == again
