"""A pipeline on a standalone Flink: its views job runs 4-fold, 2-fold and 4-fold again.

Events come all the while. The process that looks after the job is killed once, too: the job goes
on, and is found again. At the end nothing is lost, doubled or other than a recomputation says.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest

from headrace.jobs.checks.verify import verify
from headrace.jobs.lifecycle.sending import through
from headrace.jobs.machine import local
from headrace.jobs.machine.flink import FLINK_JOBS
from headrace.jobs.machine.local import Local
from headrace.jobs.machine.session import OVER, Session
from headrace.jobs.machine.session_job import noted_job
from headrace.jobs.machine.waiting import wait_until
from headrace.jobs.transport import Writer
from headrace.operators.errors import EnvironmentProblem
from headrace.pipelines.load import load
from tests import flink_cluster

BEGIN = 1_700_000_000_000
BATCH, STEP_MS, LATENESS_MS, PARTITIONS = 16, 20, 2_000, 8
TEXT = """\
pipeline: rescaled
every: 1s
sources:
  click: {columns: {user: string, price: int64}, partitions: 8, lateness: 2s}
  ask: {columns: {name: string required, user: string}, partitions: 8, lateness: 2s}
  done: {columns: {name: string required, x: int64}, lateness: 2s}
views:
  spent:
    source: click
    key: user
    shards: 2
    features: {clicks: count() over 10s, spent: sum(price) over 1m, price: latest(price)}
decision: {source: ask, id: name}
outcome: {source: done, id: name, label: x > 0, within: 1h}
model: {kind: ftrl, slots: 1024, tokens: [user], publish_every: 1m}
flink: {rest: "REST", parallelism: 4}
"""


class Sender:
    """Sends events until it is told to stop: clicks, some of them late, and asks with their end."""

    def __init__(self, bootstrap: str) -> None:
        self.sent = 0
        self.asks = 0
        self._bootstrap = bootstrap
        self._told = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Send for as long as the context lasts."""
        self._thread.start()
        try:
            yield
        finally:
            self._told.set()
            self._thread.join()

    @property
    def at(self) -> int:
        """The time of the next event."""
        return BEGIN + self.sent * STEP_MS

    def _run(self) -> None:
        with Writer(self._bootstrap) as writer:
            while not self._told.wait(0.05):
                for _ in range(BATCH):
                    self._one(writer)
                writer.flush()

    def _one(self, writer: Writer) -> None:
        n, at, partition = self.sent, self.at, self.sent % PARTITIONS
        late = LATENESS_MS + 3_000 if n % 97 == 96 else 0
        click = {"at": at - late, "user": f"u{n % 23}", "price": n % 11}
        writer.send("click", orjson.dumps(click), partition=partition)
        if n % 4 == 0:
            ask = {"at": at, "name": f"d{n}", "user": f"u{n % 23}"}
            writer.send("ask", orjson.dumps(ask), partition=n // 4 % PARTITIONS)
            end = {"at": at + 500, "name": f"d{n}", "x": n % 3}
            writer.send("done", orjson.dumps(end), partition=0)
            self.asks += 1
        self.sent += 1


def _predicted(running: Local) -> int:
    running.supervisor.check()
    return int(running.client.status()["predictions"]) if running.client.healthy() else 0


def _wait_predicted(running: Local, count: int) -> None:
    wait_until(lambda: _predicted(running) >= count, 240, f"{count} predictions", every_seconds=0.2)


def _job(running: Local, session: Session, other: str | None = None) -> str:
    """Give the views job that runs, once it is another than `other`; there is never a second."""
    name = f"{running.pipeline.name} views "

    def ours() -> list[str]:
        running.supervisor.check()
        known = [job for job in session.jobs() if job.name.startswith(name)]
        found = [job.id for job in known if job.state not in OVER]
        assert len(found) <= 1
        return [job for job in found if job != other]

    wait_until(ours, 180, "the views job", every_seconds=0.2)
    return ours()[0]


def _rescaled(running: Local, session: Session, parallelism: int) -> None:
    """Write another parallelism, and have the job stopped with a savepoint and started anew."""
    before = _job(running, session)
    path = running.pipeline.path
    was = f"parallelism: {session.parallelism(before)}"
    path.write_text(path.read_text("utf-8").replace(was, f"parallelism: {parallelism}"), "utf-8")
    running.supervisor.signal("views", signal.SIGTERM)
    job = _job(running, session, before)
    _wait_predicted(running, _predicted(running) + 100)
    assert session.parallelism(job) == parallelism
    assert session.state(before) == "FINISHED"


def _found_again(running: Local, session: Session) -> None:
    """Kill what looks after the job: the job that it finds again is the same."""
    before, restarts = _job(running, session), running.supervisor.status()["views"].restarts
    running.supervisor.signal("views", signal.SIGKILL)
    log = running.state / "logs" / "views.log"
    told = log.read_text("utf-8").count(f"it is the job {before}")

    def found() -> bool:
        again = running.supervisor.status()["views"].restarts > restarts
        return again and log.read_text("utf-8").count(f"it is the job {before}") > told

    wait_until(found, 60, "the job to be found again", every_seconds=0.1)
    assert _job(running, session) == before


@pytest.mark.e2e
@pytest.mark.kafka
@pytest.mark.flink
@pytest.mark.usefixtures("java_and_jars")
def test_a_job_on_a_cluster_is_rescaled_while_events_come(tmp_path: Path) -> None:
    with flink_cluster.running(tmp_path / "flink", task_managers=2, slots=3) as cluster:
        path = tmp_path / "rescaled.yaml"
        path.write_text(TEXT.replace("REST", cluster.rest), "utf-8")
        session = Session(cluster.rest)
        with pytest.raises(EnvironmentProblem, match=r"for 7 slots; it has 6; start TaskManagers"):
            session.check(7)
        with local.begun(load(path), tmp_path / "state") as running:
            for role in ("store", "views", "labels"):
                running.start(role, running.arguments(role))
            running.supervisor.wait_ready("store")
            sender = Sender(running.bootstrap)
            with sender.sending():
                _wait_predicted(running, 100)
                assert session.parallelism(_job(running, session)) == 4
                _rescaled(running, session, 2)
                _found_again(running, session)
                _rescaled(running, session, 4)
            _ended(running, sender)
            running.supervisor.stop(*FLINK_JOBS)
            assert {job.state for job in session.jobs()} == {"FINISHED"}
            assert [noted_job(running.state / job) for job in FLINK_JOBS] == [None, None]


def _ended(running: Local, sender: Sender) -> None:
    until = sender.at // 1000 * 1000 + 60_000
    through(running.bootstrap, running.pipeline, until)

    def complete() -> bool:
        running.supervisor.check()
        told = running.client.status()
        ends = [view["complete"] for view in told["views"].values()]
        ends += [told["through"], told["examples_complete"]]
        return int(min(ends)) >= until

    wait_until(complete, 120, "the last panes", every_seconds=0.2)
    ask = running.client.sql
    verdict = verify(running.pipeline, bootstrap=running.bootstrap, ask=ask)
    assert verdict.differences == []
    told = ask(
        "SELECT (SELECT COUNT(*) FROM predictions) AS n, "
        "(SELECT COUNT(DISTINCT id) FROM predictions) AS ids, "
        "(SELECT COUNT(DISTINCT id) FROM examples) AS labelled, "
        "(SELECT COUNT(*) FROM late_rows) AS late, (SELECT COUNT(*) FROM dead_letters) AS dead"
    ).to_pylist()[0]
    late = sender.sent // 97
    assert told == {
        "n": sender.asks,
        "ids": sender.asks,
        "labelled": sender.asks,
        "late": late,
        "dead": 0,
    }
