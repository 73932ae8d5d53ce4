"""``headrace models warm-start``: history first, then the log; and versions of it made again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.jobs.learner import LearnerProcess
from headrace.jobs.machine.state import locked
from headrace.online_learning.learner import registry
from headrace.pipelines.pipeline import Pipeline
from tests.chaos_learned import given, made
from tests.jobs.conftest import Say
from tests.jobs.in_memory import Log
from tests.online_learning.made_up import STARTS


def history(folder: Path) -> Path:
    rng = np.random.default_rng(3)
    at = STARTS - 100_000 + np.arange(500) * 100
    columns = {
        "at": at,
        "city": [f"c{each}" for each in rng.integers(0, 5, 500)],
        "hour": rng.integers(0, 24, 500),
        "delay": rng.normal(5, 10, 500),
        "wet": rng.random(500) < 0.3,
        "labelled": at + 50,
        "label": rng.random(500) < 0.3,
    }
    path = folder / "history.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def learn(pipeline: Pipeline, state: Path) -> None:
    process = LearnerProcess(pipeline, bootstrap="memory", folder=state / "learner")
    while process.step():
        pass
    process.close()


@pytest.mark.parametrize("kind", ["ftrl", "hybrid"])
def test_a_version_of_one_that_began_with_history_is_made_again(
    kind: str, tmp_path: Path, log: Log, say: Say
) -> None:
    pipeline, state = made(tmp_path, "warm", kind), tmp_path / "state"
    source = given(30, 7)
    log.put(pipeline.predictions_topic, *source.predictions)
    log.put(pipeline.examples_topic, *source.examples)
    words = ("models", "warm-start", pipeline.path, "--from", history(tmp_path), "--state", state)
    status, text = say(*words, "--json")
    assert status == 0, text
    told = json.loads(text)
    assert (told["labels"], told["examples"]["rows"]) == (500, 500)
    learn(pipeline, state)
    versions = registry(state / "learner")
    newest = versions.numbers()[-1]
    assert versions.version(newest).data["start"]["labels"] == 500
    again = ("replay", pipeline.path, "--model", newest, "--state", state)
    status, text = say(*again)
    assert (status, "as it was published, bit for bit" in text) == (0, True), text
    shutil.rmtree(state / "learner" / "start")
    status, text = say(*again)
    assert (status, "not as it was published" in text) == (1, True)
    status, text = say(*words)
    assert (status, "it has begun already" in text) == (1, True)


def test_history_is_a_file_or_a_store(tmp_path: Path, say: Say) -> None:
    pipeline = made(tmp_path, "warm", "ftrl")
    words = ("models", "warm-start", pipeline.path, "--state", tmp_path / "state")
    for more in ((), ("--from", history(tmp_path), "--store", tmp_path)):
        status, text = say(*words, *more)
        assert (status, "one of the two" in text) == (2, True)
    status, text = say(*words, "--from", history(tmp_path))
    assert (status, "500 labels are learned; the learner in" in text) == (0, True)
    with locked(tmp_path / "state", "up", resume=True) as folder:  # as `up` takes it
        assert (folder.path / "learner" / "start").is_dir()
