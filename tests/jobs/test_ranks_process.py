"""A learner process with ranks on a real broker: what is killed is started again, and learns on."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import orjson
import pytest

from headrace.jobs.evolve.relearn import relearn
from headrace.jobs.learner import LearnerProcess
from headrace.jobs.machine.broker import Broker
from headrace.jobs.machine.processes import Process, Supervisor
from headrace.jobs.machine.waiting import wait_until
from headrace.online_learning.learner import registry
from tests.chaos_learned import drained, given, learned, made, published, sent
from tests.online_learning.made_up import Log
from tests.online_learning.test_ranks import alive

pytest.importorskip("torch", reason="no torch found: the extra `deep` has it")


def part(source: Log, start: float, end: float) -> Log:
    """Give a share of the messages of both topics."""
    told, came = source.predictions, source.examples
    some = told[int(start * len(told)) : int(end * len(told))]
    return Log(some, came[int(start * len(came)) : int(end * len(came))], [], [])


def saved(folder: Path) -> int:
    """Give how many predictions are learned, as the newest snapshot says."""
    with suppress(FileNotFoundError):
        facts = orjson.loads((folder / "snapshots" / "LATEST").read_bytes())["facts"]
        return int(facts["offsets"]["predictions"])
    return 0


def ranks(learner: int | None) -> list[int]:
    """Give the ranks of a learner: its processes."""
    with suppress(OSError):
        said = Path(f"/proc/{learner}/task/{learner}/children").read_text()
        return [int(pid) for pid in said.split()]
    return []


@pytest.mark.kafka
def test_a_rank_and_a_learner_are_killed_and_the_weights_are_as_undisturbed(
    broker: Broker, tmp_path: Path
) -> None:
    pipeline, source = made(tmp_path, "ranks_killed", "ranks"), given(160, 1)
    folder = tmp_path / "state" / "learner"
    started, enough = list[int](), list[int]()
    argv = [sys.executable, "-m", "headrace.jobs.cli.main", "process", "learner"]
    argv += [str(pipeline.path), "--bootstrap", broker.address, "--state", str(folder.parent)]
    with Supervisor() as supervisor:
        supervisor.start(Process("learner", argv, tmp_path / "learner.log"))
        for turn, (start, end) in enumerate(pairwise((0.0, 0.4, 0.7, 1.0))):
            sent(broker.address, pipeline, part(source, start, end))
            enough.append(int((end - 0.25) * len(source.predictions)))
            wait_until(lambda: saved(folder) >= enough[-1], 120.0, f"turn {turn}")
            supervisor.check()
            pid = supervisor.status()["learner"].pid
            (rank,) = ranks(pid)
            started += [pid or 0, rank]
            os.kill((rank, pid or 0, rank)[turn], signal.SIGKILL)
        log = (tmp_path / "learner.log").read_text()
        restarts = supervisor.status()["learner"].restarts
    assert restarts >= 2
    assert "asked rank 1 of 2 (process" in log
    assert len(set(started)) == 6
    assert not [pid for pid in started if alive(pid)]
    process = LearnerProcess(pipeline, bootstrap=broker.address, folder=folder)
    drained(process)
    process.close()
    undisturbed = learned(pipeline, source, tmp_path / "calm")
    assert process.learner.digest() == undisturbed.digest
    assert published(folder) == undisturbed.files
    versions = registry(folder)
    last = versions.numbers()[-1]
    again = relearn(pipeline, bootstrap=broker.address, versions=versions, number=last)
    assert (again.same, again.arrays, again.manifest) == (True, {}, {})
