"""A label of several classes, and several labels, through store and learner and back."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from headrace.feature_store.upkeep import check
from headrace.jobs import assembly
from headrace.jobs import models as versions
from headrace.jobs.checks.why import why
from headrace.jobs.store import StoreProcess
from headrace.online_learning.learner import Learner
from headrace.pipelines.load import load
from headrace.pipelines.pipeline import Pipeline
from tests.feature_store.made_up import EVERY, TEXT
from tests.jobs.in_memory import Log
from tests.jobs.test_number_labels import STEPS, stream
from tests.jobs.test_server import serving

NAMES = ("fair", "it rains, a lot", "snow")
KINDS = {
    "names": ("page", "classes: [fair, 'it rains, a lot', snow]", NAMES),
    "numbers": ("x % 3", "classes: 3", ("0", "1", "2")),
}


def of_classes(folder: Path, label: str, classes: str) -> Pipeline:
    """Give the small pipeline with classes for its label."""
    text = TEXT.replace("label: x >= 5", f"label: {label}")
    path = folder / "small.yaml"
    path.write_text(text.replace("kind: ftrl\n", f"kind: softmax\n  {classes}\n"))
    return load(path)


def outcomes(log: Log, small: Pipeline, numbered: bool) -> None:
    """Write what the labels job writes: class 1 mostly, and now and then one that is none."""
    panes: dict[int, list[dict[str, object]]] = defaultdict(list)
    for said in log.messages[small.predictions_topic, 0]:
        prediction = orjson.loads(said.value or b"")
        if "id" in prediction:
            at, seq = prediction["at"] + 10, prediction["seq"]
            code = 3 if seq % 10 == 9 else 2 if seq % 10 == 4 else 1
            label = code if numbered else (*NAMES, "hail")[code]
            row = {"at": at, "partition": 0, "offset": seq, "label": label}
            panes[(at // EVERY + 1) * EVERY].append({**row, "prediction": prediction})
    for end, rows in panes.items():
        pane = {"end": end, "rows": len(rows), "unkeyed": 0, "examples": rows}
        log.put(small.examples_topic, orjson.dumps(pane))


def of_tasks(folder: Path) -> Pipeline:
    """Give the small pipeline with a click and a buy for its label."""
    labels = "{click: x >= 5, buy: CASE WHEN x > 2 THEN x > 8 END}"
    text = TEXT.replace("label: x >= 5", f"label: {labels}")
    for gone in ("  alpha: 0.05\n", "  beta: 1.0\n", "  l1: 0.0\n", "  l2: 1.0\n"):
        text = text.replace(gone, "")
    path = folder / "small.yaml"
    path.write_text(text.replace("kind: ftrl\n", "kind: mmoe\n  batch: 8\n  dense_rate: 0.1\n"))
    return load(path)


def task_outcomes(log: Log, small: Pipeline) -> None:
    """Write what the labels job writes: a click for each, and half a minute later some buys."""
    panes: dict[int, list[dict[str, object]]] = defaultdict(list)
    for said in log.messages[small.predictions_topic, 0]:
        prediction = orjson.loads(said.value or b"")
        if "id" in prediction:
            seq = prediction["seq"]
            told = [(10, "click", True), (30_000, "buy", False)][: 1 + (seq % 2 == 0)]
            for after, task, label in told:
                at = prediction["at"] + after
                row = {"at": at, "partition": 0, "offset": seq, "task": task, "label": label}
                panes[(at // EVERY + 1) * EVERY].append({**row, "prediction": prediction})
    for end, rows in panes.items():
        pane = {"end": end, "rows": len(rows), "unkeyed": 0, "examples": rows}
        log.put(small.examples_topic, orjson.dumps(pane))


def learned(log: Log, small: Pipeline, folder: Path) -> dict[str, Any]:
    """Let a learner learn all there is, and say its status."""
    learner = Learner(assembly.learning(small), folder)
    topics = {small.predictions_topic: learner.predictions, small.examples_topic: learner.examples}
    for topic, take in topics.items():
        values = [said.value or b"" for said in log.messages[topic, 0]]
        take(values, len(values))
    learner.advance()
    status = learner.status()
    learner.close()
    return status


@pytest.mark.parametrize("how", KINDS)
def test_classes_go_the_whole_way(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    label, classes, names = KINDS[how]
    small, log = of_classes(tmp_path, label, classes), Log()
    log.install(monkeypatch)
    process = log.process(small, tmp_path / "store")
    stream(log, small, 1, STEPS)
    process.step()
    outcomes(log, small, numbered=how == "numbers")
    process.step()
    ask = process.store.catalogue.read
    kept = ask("SELECT p, label FROM predictions JOIN examples USING (seq) ORDER BY seq")
    assert len(kept) == 2 * (STEPS - 1)
    assert kept["p"].to_pylist() == [[1 / 3] * 3] * len(kept)
    unfit = sum(each in (3, "hail") for each in kept["label"].to_pylist())
    status = learned(log, small, tmp_path / "learner")
    assert status["unfit_labels"] == unfit > 3
    whole = status["prequential_all"]
    assert whole["n"] == len(kept) - unfit
    assert whole["log_loss"] < status["served_all"]["log_loss"]  # who serves knew none
    process.close()
    (tmp_path / "learner" / "versions").rename(tmp_path / "store" / "models")
    process = log.process(small, tmp_path / "store")
    stream(log, small, STEPS, STEPS + 3)
    process.step()
    _check_answers(process, names, f"d{2 * STEPS}")
    process.close()
    # A store that lost its file takes what was served from the topic.
    (tmp_path / "store" / "store.duckdb").unlink()
    again = log.process(small, tmp_path / "store")
    again.step()
    served = "SELECT seq, p, version FROM predictions ORDER BY seq"
    rows = [orjson.loads(said.value or b"") for said in log.messages[small.predictions_topic, 0]]
    told = {row["seq"]: (row["p"], row["version"]) for row in rows if "id" in row}
    found = again.store.catalogue.read(served).to_pylist()
    assert {row["seq"]: (row["p"], row["version"]) for row in found} == told
    assert len(told) == 2 * (STEPS + 2)
    again.close()


def _check_answers(process: StoreProcess, names: tuple[str, ...], decision: str) -> None:
    """Check all ways in which a prediction is asked for."""
    told = why(process, decision)
    assert told["version"] > 0
    assert (told["of"], told["label"]) == (list(names), None)
    assert np.argmax(told["p"]) == 1
    assert sum(told["p"]) == pytest.approx(1)
    assert sum(told["contributions"].values()) > 0
    assert why(process, "d2")["label"] in (1, names[1])
    row = {"at": 100 * EVERY, "name": "d", "user": "u", "page": "a", "hour": 7}
    with serving(process) as http:
        answer = http.post("/v1/predict", json={"rows": [row, row]}).json()
        assert answer["of"] == list(names)
        one, two = answer["predictions"]
        assert one == two
        assert max(one) == one[1] > 0.5
        sql = "SELECT p[2] > 0.5 AS right FROM predictions WHERE version > 0 ORDER BY seq"
        assert {each["right"] for each in http.post("/v1/sql", json={"query": sql}).json()} == {
            True
        }
        [p, _] = http.get("/v2/models/small").json()["outputs"]
        assert (p["shape"], orjson.loads(p["parameters"]["of"])) == ([-1, 3], list(names))
        inputs = [
            {"name": name, "datatype": kind, "shape": [1], "data": [value]}
            for name, kind, value in (
                ("at", "INT64", 100 * EVERY),
                ("user", "BYTES", "u"),
                ("hour", "INT64", 7),
            )
        ]
        [p, _] = http.post("/v2/models/small/infer", json={"inputs": inputs}).json()["outputs"]
        assert (p["shape"], p["data"]) == ([1, 3], one)
        http.get("/v1/status").raise_for_status()
        http.get("/metrics").raise_for_status()


def test_versions_are_listed_with_their_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, log = of_classes(tmp_path, *KINDS["names"][:2]), Log()
    log.install(monkeypatch)
    process = log.process(small, tmp_path / "store")
    stream(log, small, 1, STEPS)
    process.step()
    process.close()
    outcomes(log, small, numbered=False)
    learned(log, small, tmp_path / "learner")
    newest = versions.listed(versions.registry(tmp_path))[0]
    assert newest.scores["accuracy"] is not None
    assert newest.scores["log_loss"] is not None
    assert newest.scores["auc"] is None


def test_tasks_go_the_whole_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small, log = of_tasks(tmp_path), Log()
    log.install(monkeypatch)
    process = log.process(small, tmp_path / "store")
    stream(log, small, 1, STEPS)
    process.step()
    task_outcomes(log, small)
    process.step()
    kept = process.store.catalogue.read("SELECT seq, task, label FROM examples ORDER BY ALL")
    assert kept["task"].to_pylist().count("click") == 2 * (STEPS - 1)
    assert kept["task"].to_pylist().count("buy") == STEPS - 1
    status = learned(log, small, tmp_path / "learner")
    both = [status["prequential_all"][f"{task}.n"] for task in ("click", "buy")]
    assert both == [2 * (STEPS - 1), STEPS - 1]
    assert status["unlabelled"] + status["pending"] == 0
    newest = versions.listed(versions.registry(tmp_path))[0]
    assert newest.scores["buy.log_loss"] is not None
    process.close()
    assert check(tmp_path / "store" / "store.duckdb") == []
    (tmp_path / "learner" / "versions").rename(tmp_path / "store" / "models")
    process = log.process(small, tmp_path / "store")
    stream(log, small, STEPS, STEPS + 3)
    process.step()
    told = why(process, f"d{2 * STEPS}")
    assert told["of"] == ["click", "buy"]
    click, buy = told["p"]
    assert click > 0.505 > 0.495 > buy
    assert (told["label"], why(process, "d2")["label"]) == (None, {"click": True, "buy": False})
    assert why(process, "d3")["label"] == {"click": True, "buy": None}
    row = {"at": 100 * EVERY, "name": "d", "user": "u", "page": "a", "hour": 7}
    with serving(process) as http:
        answer = http.post("/v1/predict", json={"rows": [row]}).json()
        assert answer["of"] == ["click", "buy"]
        assert answer["predictions"][0][0] > answer["predictions"][0][1]
    process.close()
