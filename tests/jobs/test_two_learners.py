"""Two learners of one folder: the second ends, and names the first."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from headrace.jobs.learner import LearnerProcess
from headrace.jobs.machine.broker import Broker
from headrace.pipelines.pipeline import Pipeline
from tests.chaos_learned import drained, given, made, sent


def running(broker: Broker, folder: Path, name: str) -> Pipeline:
    """Give a pipeline whose topics hold a log."""
    pipeline = made(folder, name, "ftrl")
    sent(broker.address, pipeline, given(60, 1))
    return pipeline


@pytest.mark.kafka
def test_a_second_process_of_one_folder_ends_and_names_the_first(
    broker: Broker, tmp_path: Path
) -> None:
    pipeline = running(broker, tmp_path, "two_of_one_folder")
    argv = [sys.executable, "-m", "headrace.jobs.cli.main", "process", "learner"]
    argv += [str(pipeline.path), "--bootstrap", broker.address, "--state", str(tmp_path / "state")]
    folder = tmp_path / "state" / "learner"
    with closing(LearnerProcess(pipeline, bootstrap=broker.address, folder=folder)) as first:
        drained(first)
        digest = first.learner.digest()
        second = subprocess.run(argv, check=False, capture_output=True, text=True)
        assert second.returncode == 1
        said = " ".join(second.stderr.split())
        named = rf"{os.getpid()} on \S+, since \d{{4}}-\d\d-\d\dT\S+ writes there; stop it"
        assert re.search(f"the process {named}", said), second.stderr
        assert first.learner.digest() == digest


@pytest.mark.kafka
def test_a_learner_that_starts_again_is_no_second(broker: Broker, tmp_path: Path) -> None:
    pipeline = running(broker, tmp_path, "one_again")
    for _ in range(2):
        folder = tmp_path / "state"
        with closing(LearnerProcess(pipeline, bootstrap=broker.address, folder=folder)) as one:
            drained(one)
            assert one.learner.status()["versions"] > 5
