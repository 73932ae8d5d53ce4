"""`headrace status`: what runs, how far it is, what it scored; and what does not run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from rich.console import Console

from headrace.feature_store.catalogue import TABLES
from headrace.jobs.lifecycle.shown import shown
from headrace.jobs.lifecycle.status import Standing, View, status
from headrace.jobs.machine.local import PROCESSES
from headrace.jobs.machine.processes import Process, Status, Supervisor
from headrace.jobs.machine.state import locked, read_json, write_json
from headrace.jobs.machine.waiting import wait_until
from headrace.jobs.serving.server import Server
from tests.feature_store.made_up import EVERY
from tests.jobs.conftest import Say
from tests.jobs.test_server import processing

TOLD = {
    "prequential.auc": 0.75,
    "prequential.n": 7.0,
    "served.auc": 0.5,
    "staleness.auc": -0.25,
    "no_change.auc": 0.625,
    "learner.versions": 3.0,
    "window.n": 5.0,
    "window.served.auc": 0.5,
}
RUNNING = {"state": "running", "pid": 7, "restarts": 2, "exit_status": 1, "peak_rss_bytes": 1 << 20}


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Run a store, and a learner that told something, in a state folder."""
    folder = tmp_path_factory.mktemp("status")
    with locked(folder / "state", "demo") as held, processing(folder) as process:
        rows = [{"at": 60_000, "name": name, "value": value} for name, value in TOLD.items()]
        of_slice = {"at": 60_000, "name": "window.n", "value": 2.0, "slice_of": "x", "slice": "y"}
        with process.store.catalogue.transaction():
            process.store.add_metrics(pa.Table.from_pylist([*rows, of_slice], TABLES["metrics"]))
        server = Server(process)
        server.start()
        (held.path / "store").mkdir()
        write_json(held.path / "store" / "address.json", {"address": f"127.0.0.1:{server.port}"})
        write_json(held.path / PROCESSES, {"store": RUNNING})
        yield held.path
        server.stop()


def test_it_says_what_runs_how_far_it_is_and_what_it_scored(state: Path) -> None:
    told = status(state, now=5 * EVERY / 1000)
    assert (told.runs, told.problems) == ("demo", ())
    assert told.processes == {"store": Status(**RUNNING)}  # type: ignore[arg-type]  # its own facts
    counts = ("decisions", "predictions", "waiting", "repeated_decisions")
    assert [told.counts[name] for name in counts] == [1, 1, 0, 0]
    assert told.views["clicks"] == View(2 * EVERY, 3 * EVERY / 1000, 3, 2)
    assert {lag.records for lag in told.lags} <= {0}
    assert (told.version, told.version_through, told.version_age_seconds) == (0, None, None)
    assert told.scores == {
        "prequential": {"auc": 0.75, "n": 7.0},
        "served": {"auc": 0.5},
        "staleness": {"auc": -0.25},
        "rival no_change": {"auc": 0.625},
        "window.served": {"auc": 0.5},
    }


def test_the_command_shows_it_as_tables_and_as_json(state: Path, say: Say) -> None:
    status, text = say("status", "--state", state)
    assert status == 0
    for said in ("demo runs", "running", "clicks", "rival no_change", "0.6250", "served"):
        assert said in text
    status, text = say("status", "--state", state, "--json")
    assert status == 0
    assert json.loads(text)["scores"]["rival no_change"] == {"auc": 0.625}


def test_a_store_that_does_not_answer_is_said_and_the_processes_are_shown(tmp_path: Path) -> None:
    with locked(tmp_path / "state", "demo") as held:
        write_json(held.path / PROCESSES, {"store": RUNNING})
        told = status(held.path)
    assert (told.views, told.processes["store"].restarts) == ({}, 2)
    assert ["no such file" in problem for problem in told.problems] == [True]


def test_the_supervisor_says_what_became_of_each_process(tmp_path: Path) -> None:
    path = tmp_path / PROCESSES
    with Supervisor(path) as supervisor:
        log = tmp_path / "log"
        supervisor.start(Process("once", ["true"], log, finishes=True))
        supervisor.start(Process("on", ["sleep", "60"], log))
        wait_until(
            lambda: path.exists() and read_json(path)["once"]["state"] == "finished",
            20,
            "the file to say that a process has finished",
        )
        said = read_json(path)
        assert said["on"]["state"] == "running"
        assert said["on"]["pid"] == supervisor.status()["on"].pid
    assert read_json(path)["on"]["state"] == "stopped"


def test_the_scores_of_classes_are_shown_by_accuracy() -> None:
    of_classes = {"log_loss": 0.25, "accuracy": 0.875}
    for scores, has in ((of_classes, True), ({**of_classes, "auc": 0.75}, False)):
        console = Console(record=True, width=120)
        console.print(
            shown(Standing("w", "up", None, "k", "s", (), {}, {}, scores={"served": scores}))
        )
        assert ("0.8750" in console.export_text()) is has
