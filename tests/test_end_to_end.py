"""The whole way on ten days of flights: a real broker, a real Flink, every process killed once.

One run is left alone, one is disturbed; both must end with the same tables and the same weights,
equal to a recomputation by DuckDB and to a slow oracle that shares no code with either.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from headrace.jobs.checks.verify import Verdict, verify
from headrace.jobs.demo import flights
from headrace.jobs.demo.demonstration import PIPELINE, follow
from headrace.jobs.machine import local
from headrace.jobs.machine.local import Local
from headrace.jobs.machine.waiting import wait_until
from headrace.jobs.source_rows import read_log
from headrace.pipelines.load import load
from tests import ask_page
from tests.flights_oracle import features

pytestmark = [pytest.mark.kafka, pytest.mark.flink, pytest.mark.e2e]

DAYS = 10
KILLED = ("views", "store", "labels", "learner")
WINDOWS = """
    SELECT "at", name, slice_of, slice, value FROM metrics
    WHERE name IN ('window.n', 'window.positives') OR starts_with(name, 'window.prequential.')
    ORDER BY ALL
"""


@dataclass(frozen=True)
class Run:
    """What a run ended with."""

    verdict: Verdict
    predictions: pa.Table
    examples: pa.Table
    published: list[int]
    versions: dict[str, bytes]
    metrics: dict[str, float]
    windows: pa.Table
    restarts: dict[str, int]
    answers: dict[str, str]


@pytest.fixture(scope="module")
def undisturbed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run the slice through, and leave it alone."""
    request.getfixturevalue("java_and_jars")
    return _run(tmp_path_factory.mktemp("undisturbed"), kill=False)


def _run(state: Path, *, kill: bool) -> Run:
    pipeline = load(PIPELINE)
    with local.running(pipeline, state) as running:
        common = [str(pipeline.path), "--bootstrap", running.bootstrap, "--state", str(state)]
        running.start("replay", ["replay", *common, "--days", str(DAYS)])
        if kill:
            _kill_each_once(running)
        follow(running)
        ask = running.client.sql
        return Run(
            verify(pipeline, bootstrap=running.bootstrap, ask=ask),
            ask("SELECT * FROM predictions ORDER BY seq"),
            ask("SELECT * FROM examples ORDER BY seq"),
            _published(running),
            _versions(state / "learner" / "versions"),
            running.client.status()["metrics"],
            ask(WINDOWS),
            {name: status.restarts for name, status in running.supervisor.status().items()},
            {question: ask_page.printed(ask(question)) for question in ask_page.questions()},
        )


def _kill_each_once(running: Local) -> None:
    """Kill each process when it has begun its work and has not ended it."""
    progress = {
        "views": lambda status: status["decisions"] > 0,
        "store": lambda status: status["predictions"] > 0,
        "labels": lambda status: status["examples"] > 0,
        "learner": lambda status: status["model_version"] > 0,
    }
    for name in KILLED:

        def begun(name: str = name) -> bool:
            running.supervisor.check()
            return running.client.healthy() and progress[name](running.client.status())

        wait_until(begun, 120.0, f"work for {name}", every_seconds=0.005)
        running.supervisor.signal(name, signal.SIGKILL)

        def back(name: str = name) -> bool:
            running.supervisor.check()
            return running.supervisor.status()[name].restarts > 0

        wait_until(back, 30.0, f"{name} to be started again")


def _published(running: Local) -> list[int]:
    """Read the numbers of the predictions in their topic, in its order."""
    messages = read_log(running.bootstrap, running.pipeline.predictions_topic)
    rows = [orjson.loads(value) for value in messages["payload"].to_pylist() if value]
    return [row["seq"] for row in rows if "id" in row]


def _versions(folder: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in folder.glob("v*/weights.safetensors")}


def test_every_event_is_decided_predicted_and_labelled(undisturbed: Run) -> None:
    """Nothing is lost: as many decisions, predictions and labels as the data has."""
    streams = flights.streams(DAYS)
    assert undisturbed.predictions.num_rows == streams["schedule"].num_rows
    assert undisturbed.examples.num_rows == streams["arrival"].num_rows
    assert undisturbed.published == list(range(streams["schedule"].num_rows))


def test_the_stream_equals_history(undisturbed: Run) -> None:
    """No cell of the tiles and the features differs from DuckDB's recomputation."""
    assert undisturbed.verdict.cells > 400_000
    assert undisturbed.verdict.differences == []


def test_features_as_served_equal_the_oracle(undisturbed: Run) -> None:
    """The features of 200 random decisions equal a slow recomputation from the sorted events."""
    seed = 20130101
    rows = undisturbed.predictions.to_pylist()
    chosen = [rows[i] for i in np.random.default_rng(seed).choice(len(rows), 200, replace=False)]
    truth = features([row["id"] for row in chosen], load(PIPELINE).every_ms)
    names = list(next(iter(truth.values())))
    pipeline = load(PIPELINE)
    assert set(names) == {*pipeline.features, *pipeline.decision.computed}
    wrong = [
        (row["id"], name, row[name], truth[row["id"]][name])
        for row in chosen
        for name in names
        if row[name] != truth[row["id"]][name]
    ]
    assert wrong == [], f"seed {seed}"


def test_killed_processes_change_nothing(undisturbed: Run, tmp_path: Path) -> None:
    """Views, store, labels and learner are killed in the middle: the same rows, the same bits."""
    disturbed = _run(tmp_path, kill=True)
    assert {name: disturbed.restarts[name] for name in KILLED} == dict.fromkeys(KILLED, 1)
    assert disturbed.verdict.differences == []
    assert disturbed.verdict.cells == undisturbed.verdict.cells
    assert disturbed.published == undisturbed.published
    assert disturbed.examples.equals(undisturbed.examples)
    served = ["p", "version"]  # depend on which version was live, as they should
    kept = [name for name in undisturbed.predictions.column_names if name not in served]
    assert disturbed.predictions.select(kept).equals(undisturbed.predictions.select(kept))
    assert disturbed.versions == undisturbed.versions
    assert disturbed.windows.equals(undisturbed.windows)
    trainer = {name for name in undisturbed.metrics if name.startswith("prequential")}
    assert trainer
    assert {name: disturbed.metrics[name] for name in trainer} == {
        name: undisturbed.metrics[name] for name in trainer
    }


def test_each_week_is_scored_once_by_carrier_and_origin(undisturbed: Run) -> None:
    """All labels are in some week; the carriers' and the origins' are those of their week."""
    rows = undisturbed.windows.filter(pc.equal(undisturbed.windows["name"], "window.n"))
    weeks: dict[object, dict[str | None, float]] = {}
    for row in rows.to_pylist():
        week = weeks.setdefault(row["at"], {})
        week[row["slice_of"]] = week.get(row["slice_of"], 0.0) + row["value"]
    assert len(weeks) >= 2
    assert all(week["carrier"] == week["origin"] == week[None] for week in weeks.values())
    places = undisturbed.windows.select(["at", "name", "slice_of", "slice"]).to_pylist()
    assert len({tuple(place.values()) for place in places}) == len(places) > 200


def test_the_questions_of_the_page_have_their_answers(undisturbed: Run) -> None:
    """`docs/ask.md` prints what a real run answers."""
    assert undisturbed.answers == ask_page.questions()
