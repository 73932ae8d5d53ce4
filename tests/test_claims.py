"""One writer of a kind: a process that was stopped and goes on is refused by a real broker."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from headrace.jobs import claims, transport
from headrace.jobs.claims import Claim, Claimed, claimed
from headrace.jobs.learner import LearnerProcess
from headrace.jobs.machine.broker import Broker
from headrace.jobs.machine.waiting import wait_until
from headrace.jobs.transport import Place, Superseded, Topic, create_topics
from headrace.operators.errors import EnvironmentProblem
from headrace.pipelines.pipeline import Pipeline
from tests.chaos_kills import Target
from tests.chaos_learned import drained, given, made, sent
from tests.chaos_log import drain, messages, named
from tests.views_job import read_all

pytestmark = pytest.mark.kafka

HERE = rf"the process {os.getpid()} on \S+, since \S+, with the folder"


@pytest.fixture
def short_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a beat or two, and no longer."""
    monkeypatch.setattr(claims, "LEASE_SECONDS", 2 * claims.BEAT_SECONDS)


@contextmanager
def another(
    role: str, pipeline: Pipeline, bootstrap: str, state: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a role in a process of its own, as the supervisor does."""
    argv = [sys.executable, "-m", "headrace.jobs.cli.main", "process", role, str(pipeline.path)]
    argv += ["--bootstrap", bootstrap, "--state", str(state)]
    with state.with_suffix(".log").open("wb") as log:
        popen = subprocess.Popen(argv, stdout=log, stderr=log)
    try:
        yield popen
    finally:
        popen.kill()
        popen.wait()


def stop_when(popen: subprocess.Popen[bytes], done: Callable[[], bool]) -> None:
    """Stop a process as soon as it has done something."""
    wait_until(lambda: done() or popen.poll() is not None, 60.0, "work", every_seconds=0.1)
    popen.send_signal(signal.SIGSTOP)


def let_go_on(popen: subprocess.Popen[bytes], state: Path, folder: Path) -> None:
    """Let a process go on: it ends, and names this one, which took its place."""
    popen.send_signal(signal.SIGCONT)
    assert popen.wait(60) == 1
    said = " ".join(state.with_suffix(".log").read_text().split())
    assert re.search(f"is refused: {HERE} '{folder}' has taken over; leave one of them", said), said


def claim(broker: Broker, folder: Path, places: Sequence[Place] = ()) -> Claim:
    """Take over as the store of one folder, wherever that is."""
    by = "the one store"
    return Claim(broker.address, "claims", "store", folder=folder, places=places, by=by)


def test_who_wrote_before_is_refused_in_every_partition(broker: Broker, tmp_path: Path) -> None:
    create_topics(broker.address, [Topic("claimed", 2), Topic("claims", 1)])
    places = [("claimed", 0), ("claimed", 1)]
    one, two = (claim(broker, tmp_path / name, places) for name in ("one", "two"))
    for place in places:
        one.send(place[0], b"one", partition=place[1])
        with pytest.raises(Superseded, match=f"{HERE} '{tmp_path}/two' has taken over"):
            one.flush()
        one._failures.clear()
        two.send(place[0], b"two", partition=place[1])
    two.close()
    one._beaten -= claims.BEAT_SECONDS
    with pytest.raises(Superseded):
        one.beat()
    one._abandon()
    said = read_all(broker.address, "claimed")
    values = {partition: [each.value for each in part] for partition, part in said.items()}
    assert values == {0: [None, None, b"two"], 1: [None, None, b"two"]}
    newest = transport.last(broker.address, "claimed", 0)
    assert newest is not None
    assert newest.value == b"two"


def test_of_two_that_begin_at_the_same_instant_one_writes(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_topics(broker.address, [Topic("instant", 1), Topic("claims", 1)])
    claim(broker, tmp_path / "before").close()
    seen = [claimed(broker.address, "claims")]
    with closing(claim(broker, tmp_path / "one", [("instant", 0)])) as one:

        def as_one_saw_it(*given: Any) -> Mapping[str, Claimed]:
            return seen.pop() if seen else claimed(*given)

        monkeypatch.setattr(claims, "claimed", as_one_saw_it)
        with pytest.raises(Superseded, match=f"{tmp_path}/one"):
            claim(broker, tmp_path / "two", [("instant", 0)])
        one.send("instant", b"one", partition=0)
        one.flush()


@pytest.mark.usefixtures("short_lease")
def test_a_store_that_was_stopped_past_its_lease_writes_no_more(
    broker: Broker, tmp_path: Path
) -> None:
    pipeline = named(tmp_path, "zombie1")
    target = Target(pipeline, broker.address, tmp_path / "target")
    log = list(messages(40, 1))
    half = len(log) // 2
    target.write(log[:half])
    zombie = tmp_path / "zombie"
    with another("store", pipeline, broker.address, zombie) as popen:
        stop_when(popen, lambda: len(target.published()) > 20)
        target.write(log[half:])
        with closing(target.process()) as process:
            drain(process)
            let_go_on(popen, zombie, target.folder)
            drain(process)
            count = process.store.counts["predictions"]
    assert [row["seq"] for row in target.published()] == list(range(count))
    assert count == 3 * 40
    with another("store", pipeline, broker.address, zombie) as popen:
        assert popen.wait(60) == 1
    said = " ".join(zombie.with_suffix(".log").read_text().split())
    assert re.search(f"{HERE} '{target.folder}' has written to the stream since", said), said


@pytest.mark.usefixtures("short_lease")
def test_a_learner_that_was_stopped_past_its_lease_tells_no_more(
    broker: Broker, tmp_path: Path
) -> None:
    pipeline = made(tmp_path, "zombie_learner", "ftrl")
    sent(broker.address, pipeline, given(60, 1))
    zombie = tmp_path / "zombie"

    def told() -> list[bytes]:
        said = read_all(broker.address, pipeline.metrics_topic)[0]
        return [each.value for each in said if each.value is not None]

    with another("learner", pipeline, broker.address, zombie) as popen:
        stop_when(popen, lambda: bool(told()))
        folder = tmp_path / "learner"
        with closing(LearnerProcess(pipeline, bootstrap=broker.address, folder=folder)) as process:
            drained(process)
            before = told()
            let_go_on(popen, zombie, folder)
    assert told() == before


@pytest.mark.usefixtures("short_lease")
def test_a_second_learner_ends_while_the_first_is_heard(broker: Broker, tmp_path: Path) -> None:
    pipeline = made(tmp_path, "two_learners", "ftrl")
    sent(broker.address, pipeline, given(60, 1))
    first = tmp_path / "first"
    with another("learner", pipeline, broker.address, first) as popen:
        wait_until(lambda: bool(claimed(broker.address, pipeline.claims_topic)), 60.0, "the first")
        found = f"the process {popen.pid} on .* with the folder '{first}/learner' writes there"
        with pytest.raises(EnvironmentProblem, match=found):
            LearnerProcess(pipeline, bootstrap=broker.address, folder=tmp_path / "second")
        assert popen.poll() is None
