"""`docs/deploy.md`, run as a new user would: an empty folder, its commands in their order.

The run is stopped in the middle of its work and goes on; what it ends with is what the log alone
says: no event lost or counted twice, and a learner that reads the topics anew has the same bytes.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from headrace.jobs import assembly
from headrace.jobs.lifecycle.status import status
from headrace.jobs.machine import broker
from headrace.jobs.machine.waiting import wait_until
from headrace.jobs.source_rows import read_log
from headrace.online_learning.learner import Learner
from headrace.pipelines.load import load

PAGE = (Path(__file__).parent.parent / "docs" / "deploy.md").read_text("utf-8")
SECONDS = 400
VISITS = 600


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, flags=re.M | re.S)


class Shell:
    """Runs commands of the page in a folder, with our programs before all others."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

    def run(self, text: str, *, fails: bool = False) -> str:
        """Run commands, each of which must end well, or badly where it `fails`."""
        done = subprocess.run(
            ["/bin/bash", "-euo", "pipefail", "-c", text],
            cwd=self.folder,
            env={**os.environ, "PATH": self._path, "COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert (done.returncode != 0) == fails, (
            f"{text}\n{done.stdout}\n{done.stderr}\n{self.logs()}"
        )
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    def logs(self) -> str:
        """Give the ends of the logs, for a failure."""
        found = sorted((self.folder / ".headrace" / "shop" / "logs").glob("*.log"))
        return "\n".join(f"{p.name}: {p.read_text('utf-8', 'replace')[-1500:]}" for p in found)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """An empty folder; what still runs there at the end is stopped."""
    one = Shell(tmp_path)
    yield one
    if (tmp_path / ".headrace" / "shop" / "running.json").exists():
        one.run("headrace down --state .headrace/shop")


def test_the_page_has_what_is_run() -> None:
    assert [text.split()[1] for text in blocks("sh")] == [
        "init",
        "up",
        "events.py",
        "status",
        "down",
    ]
    assert len(blocks("python")) == 2


@pytest.mark.e2e
@pytest.mark.kafka
@pytest.mark.flink
@pytest.mark.usefixtures("java_and_jars")
def test_the_page_is_true_letter_for_letter(shell: Shell) -> None:
    begin, start, send, look, stop = blocks("sh")
    state = shell.folder / ".headrace" / "shop"
    (shell.folder / "events.py").write_text(blocks("python")[1])
    shell.run(begin)
    told = shell.run(start)
    assert "shop is ready" in told
    assert "headrace down --state .headrace/shop" in told
    assert "running here as process" in shell.run(start, fails=True)
    _in_two_parts(shell, send)

    looked = shell.run(look)
    assert f"{VISITS} decisions  {VISITS} predictions  {VISITS} examples  0 waiting" in looked
    assert "0 late  0 dead_letters  0 repeated_decisions" in looked
    assert re.search(r"item_clicks +2026-01-01 02:10:00", looked), looked

    def all_read(found: Mapping[str, Any]) -> bool:
        # Flink tells how far it has read at each checkpoint; of the predictions' topic the store
        # says every other second how far it is, so that one is never read to its end.
        lags = [each for each in found["lags"] if each["topic"] in ("click", "visit", "left")]
        assert {each["reader"] for each in lags} >= {"views", "labels"}
        return {each["records"] for each in lags} == {0}

    what = "a checkpoint behind the last event"
    wait_until(lambda: all_read(status(state).plain()), SECONDS, what, every_seconds=0.5)
    found = json.loads(shell.run("headrace status --json"))
    assert all_read(found)
    assert found["version"] > 100
    assert found["scores"]["prequential"]["auc"] > 0.6

    assert "shop is stopped" in shell.run(stop)
    for job in ("views", "labels"):
        log = (state / "logs" / f"{job}.log").read_text("utf-8")
        assert "stopped with the savepoint" in log, log[-2000:]
    assert "it was stopped" in shell.run("headrace status", fails=True)
    assert "0 of " in shell.run("headrace verify shop.yaml --cells 2000")
    _learned_as_from_the_log(shell.folder / "shop.yaml", state, shell.folder)


def _in_two_parts(shell: Shell, send: str) -> None:
    """Send half of each file, stop at once, go on, send the rest."""
    first, *rest = send.splitlines()
    shell.run(first)
    names = ("click", "visit", "left")
    for name in names:
        path = shell.folder / f"{name}.jsonl"
        rows = path.read_text().splitlines(keepends=True)
        half = len(rows) // 2
        (shell.folder / f"half_{name}.jsonl").write_text("".join(rows[:half]))
        path.write_text("".join(rows[half:]))
        shell.run(f"headrace send shop.yaml {name} half_{name}.jsonl")
    assert "shop is stopped" in shell.run("headrace down")
    shell.run("headrace up shop.yaml --detach")
    shell.run("\n".join(rest))


def _learned_as_from_the_log(path: Path, state: Path, folder: Path) -> None:
    """Let a new learner read the topics from their beginning: the same versions, byte for byte."""
    pipeline = load(path)
    with broker.running(state / "broker") as kafka:
        topics = (pipeline.predictions_topic, pipeline.examples_topic)
        predictions, examples = (
            read_log(kafka.address, topic)["payload"].to_pylist() for topic in topics
        )
    said = [value for value in predictions if value is not None]  # without the writers' marks
    told = [orjson.loads(value) for value in said]
    assert [each["seq"] for each in told if "id" in each] == list(range(VISITS))
    learner = Learner(assembly.learning(pipeline), folder / "again")
    learner.predictions(said, len(predictions))
    learner.examples(examples, len(examples))
    learner.advance()
    learner.close()
    versions = [
        {p.parent.name: p.read_bytes() for p in each.glob("versions/v*/weights.safetensors")}
        for each in (state / "learner", folder / "again")
    ]
    assert versions[0]
    assert versions[0] == versions[1]
