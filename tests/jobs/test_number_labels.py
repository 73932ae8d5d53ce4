"""A number that is declared as the label, through store and learner and back to who asks."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import orjson
import pyarrow as pa
import pytest

from headrace.jobs import assembly
from headrace.jobs.checks.why import why
from headrace.online_learning.learner import Learner
from headrace.pipelines.load import load
from headrace.pipelines.pipeline import Pipeline
from tests.feature_store.made_up import EVERY, TEXT, clicks, decisions, pages
from tests.jobs.in_memory import Log

STEPS = 30


def number(folder: Path, label: str, kind: str) -> Pipeline:
    """Give the small pipeline with another label, and a kind that learns it."""
    told = f"kind: {kind}\n  alpha: 2.0"
    text = TEXT.replace("label: x >= 5", f"label: {label}")
    path = folder / "small.yaml"
    path.write_text(text.replace("kind: ftrl\n  alpha: 0.05", told))
    return load(path)


def stream(log: Log, small: Pipeline, start: int, stop: int) -> None:
    """Write what the stream writes of some steps: clicks, and two decisions each."""
    click, page = (small.view_topic(small.views[name]) for name in ("clicks", "pages"))
    for step in range(start, stop):
        end = step * EVERY
        log.put(click, clicks(end, u=step))
        log.put(page, pages(end, a=step))
        log.put(page, pages(end), partition=1)
        rows = [(end, 0, 2 * step, f"d{2 * step}"), (end + 1, 0, 2 * step + 1, f"d{2 * step + 1}")]
        log.put(small.decisions_topic, decisions(end + EVERY, *rows))


def outcomes(log: Log, small: Pipeline, label: int | float) -> None:
    """Write what the labels job writes: an example for each prediction, in its time."""
    panes: dict[int, list[dict[str, object]]] = defaultdict(list)
    for said in log.messages[small.predictions_topic, 0]:
        prediction = orjson.loads(said.value or b"")
        if "id" in prediction:
            at = prediction["at"] + 10
            row = {"at": at, "partition": 0, "offset": prediction["seq"], "label": label}
            panes[(at // EVERY + 1) * EVERY].append({**row, "prediction": prediction})
    for end, rows in panes.items():
        pane = {"end": end, "rows": len(rows), "unkeyed": 0, "examples": rows}
        log.put(small.examples_topic, orjson.dumps(pane))


@pytest.mark.parametrize(
    ("label", "kind", "came", "type_"),
    [
        ("x * 3", "linear", 12, pa.int64()),
        ("x / 8", "quantile", 12.625, pa.float64()),
        ("x", "poisson", 12, pa.int64()),
    ],
)
def test_a_number_goes_the_whole_way(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    label: str,
    kind: str,
    came: int | float,
    type_: pa.DataType,
) -> None:
    small, log = number(tmp_path, label, kind), Log()
    log.install(monkeypatch)
    process = log.process(small, tmp_path / "store")
    stream(log, small, 1, STEPS)
    process.step()
    outcomes(log, small, came)
    process.step()
    examples = process.store.catalogue.read("SELECT seq, label FROM examples ORDER BY seq")
    assert examples.schema.field("label").type == type_
    assert examples["label"].to_pylist() == [came] * 2 * (STEPS - 1)
    learner = Learner(assembly.learning(small), tmp_path / "learner")
    topics = {small.predictions_topic: learner.predictions, small.examples_topic: learner.examples}
    for topic, take in topics.items():
        values = [said.value or b"" for said in log.messages[topic, 0]]
        take(values, len(values))
    learner.advance()
    status = learner.status()
    assert status["prequential_all"]["n"] == 2 * (STEPS - 1)
    assert status["prequential_all"]["rmse"] < status["served_all"]["rmse"]  # who serves knew none
    assert status["prequential_all"]["bias"] < 0
    learner.close()
    versions = tmp_path / "learner" / "versions"
    process.close()
    versions.rename(tmp_path / "store" / "models")
    process = log.process(small, tmp_path / "store")
    stream(log, small, STEPS, STEPS + 3)
    process.step()
    told = why(process, f"d{2 * STEPS}")
    assert told["version"] > 0
    assert told["p"] == pytest.approx(came, rel=0.5)
    assert (told["label"], why(process, "d2")["label"]) == (None, came)
    if kind != "poisson":
        assert sum(told["contributions"].values()) == pytest.approx(told["p"])
    process.close()
