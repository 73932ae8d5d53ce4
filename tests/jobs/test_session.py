"""A session cluster asked over REST: what it answers, and what is said where it does not."""

from __future__ import annotations

import io
import json
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console

from headrace.jobs.demo.demonstration import PIPELINE
from headrace.jobs.lifecycle import detached, run_check, status
from headrace.jobs.lifecycle.board import Posted
from headrace.jobs.lifecycle.shown import how_to_reach, shown
from headrace.jobs.lifecycle.up import Asked
from headrace.jobs.machine import checkpoints, flink, session_job
from headrace.jobs.machine.job import Job
from headrace.jobs.machine.local import Local
from headrace.jobs.machine.processes import Supervisor
from headrace.jobs.machine.session import JobStatus, Session
from headrace.jobs.machine.state import read_json, write_json
from headrace.jobs.serving.client import Client
from headrace.operators.engines.flink import Kafka
from headrace.operators.errors import EnvironmentProblem
from headrace.pipelines.load import load
from headrace.pipelines.pipeline import Flink

OVERVIEW = {"flink-version": "2.3.0", "slots-total": 8, "slots-available": 3, "taskmanagers": 2}
JOB = "0123456789abcdef0123456789abcdef"
STACK = """java.lang.RuntimeException: it could not go on
\tat a.b.c(D.java:1)
Caused by: java.io.IOException: one
\tat a.b.c(D.java:2)
Caused by: org.apache.kafka.common.errors.TimeoutException: no broker answers
\tat a.b.c(D.java:3)
"""
JOBS = {
    f"/jobs/{JOB}/status": {"status": "RUNNING"},
    f"/jobs/{JOB}": {"state": "RUNNING", "duration": 65_000, "now": 1_000_000},
    f"/jobs/{JOB}/config": {"execution-config": {"job-parallelism": 4}},
    f"/jobs/{JOB}/checkpoints": {"latest": {"completed": {"latest_ack_timestamp": 997_000}}},
    f"/jobs/{JOB}/exceptions?maxExceptions=1": {
        "exceptionHistory": {"entries": [{"stacktrace": STACK}]}
    },
}


class Answers(dict[str, Any]):
    """What is answered to each path, and what was asked."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        super().__init__(told)
        self.asked: list[tuple[str, str, Any]] = []


@contextmanager
def answering(told: Mapping[str, Any]) -> Iterator[tuple[Session, Answers]]:
    """Answer as a Flink would; a path that is not told of is not found."""
    answers = Answers(told)

    class One(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answers.asked.append((self.command, self.path, json.loads(body or b"null")))
            found = answers.get(self.path)
            found = found() if callable(found) else found
            self.send_response(404 if found is None else found.get("code", 200))
            self.end_headers()
            self.wfile.write(json.dumps(found).encode())

        do_POST = do_PATCH = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), One)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Session(f"127.0.0.1:{server.server_port}"), answers
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_cluster_that_can_run_it() -> None:
    with answering({"/overview": OVERVIEW}) as (session, _):
        said = f"Flink 2.3.0 answers at {session.rest}, with 3 of 8 slots free on 2 TaskManagers"
        assert session.check(8) == said


def test_a_cluster_that_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.jobs.machine.session._SLOT_SECONDS", 0.0)
    with answering({"/overview": OVERVIEW}) as (session, answers):
        with pytest.raises(EnvironmentProblem, match=r"for 9 slots; it has 8; start TaskManagers"):
            session.check(9)
        with pytest.raises(EnvironmentProblem, match="for 4 slots; 3 of its 8 are free; start Tas"):
            session.wait_slots(4)
        session.wait_slots(3)
        answers["/overview"] = {**OVERVIEW, "flink-version": "2.2.1"}
        with pytest.raises(
            EnvironmentProblem, match=r"for Flink 2\.3\.0 at .*; it is Flink 2\.2\.1"
        ):
            session.check(1)
        answers["/overview"] = {"code": 500, "errors": ["\nIt is starting.\n\tat a.b"]}
        with pytest.raises(EnvironmentProblem, match=r"it answers 500: It is starting\.; start it"):
            session.check(1)
    with pytest.raises(EnvironmentProblem, match=r"asked Flink at .*refused; start it, or give"):
        session.check(1)


def test_how_a_job_is() -> None:
    with answering(JOBS) as (session, answers):
        assert session.status(JOB) == JobStatus("RUNNING", 65.0, 4, 3.0)
        answers[f"/jobs/{JOB}"] = {"state": "FAILED", "duration": 1_000, "now": 1_000_000}
        found = session.status(JOB)
        assert found.cause.endswith("TimeoutException: no broker answers")
        assert session.status("other").state == "LOST"
        assert session.state("other") is None


def test_a_job_is_stopped_with_a_savepoint_or_cancelled() -> None:
    states = iter(["RUNNING", "FINISHED", "RUNNING", "CANCELED"])
    done = {"status": {"id": "COMPLETED"}, "operation": {"location": "file:/s/savepoint-1"}}
    told = {
        f"/jobs/{JOB}/stop": {"request-id": "r"},
        f"/jobs/{JOB}/savepoints/r": done,
        f"/jobs/{JOB}/status": lambda: {"status": next(states)},
        f"/jobs/{JOB}?mode=cancel": {},
    }
    with answering(told) as (session, answers):
        assert session.stop(JOB, "file:///s") == "file:/s/savepoint-1"
        body = {"targetDirectory": "file:///s", "drain": False, "formatType": "NATIVE"}
        assert answers.asked[0] == ("POST", f"/jobs/{JOB}/stop", body)
        failed = {"failure-cause": {"class": "CheckpointException"}}
        answers[f"/jobs/{JOB}/savepoints/r"] = {**done, "operation": failed}
        assert session.stop(JOB, "file:///s") is None
        assert ("PATCH", f"/jobs/{JOB}?mode=cancel", None) in answers.asked


def job(**changed: Any) -> Job:
    plain = Job("small views", ["CREATE"], ["INSERT"], Kafka("k:1", "g"), ("a", "b"), timed=("a",))
    return replace(plain, **changed)


def test_a_job_is_found_by_its_name_its_kafka_and_its_sql(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.jobs.transport.cluster_id", lambda _: "one")
    stopped: list[tuple[str, str]] = []
    monkeypatch.setattr(session_job, "_stop", lambda _, each, own: stopped.append((each, own)))

    def jobs(*names: str, state: str = "RUNNING") -> dict[str, Any]:
        known = [{"jid": f"{i}", "name": name, "state": state} for i, name in enumerate(names)]
        return {"/jobs/overview": {"jobs": known}}

    own = f"small views on one, SQL {job().digest}, 4-fold"
    cases = [
        (jobs(own), 4, "0", []),
        (jobs(own), 2, None, [("0", f"root/{job().digest}")]),
        (jobs(own, state="FAILED"), 4, None, []),
        (jobs("small views on one, SQL other, 4-fold"), 4, None, [("0", "root/other")]),
        (jobs(own.replace("one", "two"), own.replace("small", "smaller")), 4, None, []),
    ]
    for told, parallelism, found, ended in cases:
        with answering(told) as (session, _):
            assert session_job.find(job(), session, parallelism, "root") == found
        assert stopped == ended
        stopped.clear()


def test_a_job_has_no_more_readers_than_a_topic_has_partitions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = {"a": 8, "b": 1}
    monkeypatch.setattr("headrace.jobs.transport.partitions", lambda _, topic: there[topic])
    assert [job().at_most(n) for n in (1, 8, 9)] == [1, 8, 8]
    assert job(timed=("a", "b")).at_most(4) == 1
    assert job(kafka=None).at_most(4) == 4


def test_a_job_that_was_on_another_cluster_is_stopped_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped: list[tuple[str, str]] = []
    monkeypatch.setattr(session_job, "_stop", lambda _, each, own: stopped.append((each, own)))
    note = tmp_path / "session.json"
    session_job.leave(tmp_path, None)
    with answering(JOBS) as (session, answers):
        told = {"flink": session.rest, "job": JOB, "checkpoints": "file:///c"}
        write_json(note, told)
        session_job.leave(tmp_path, session.rest)
        assert (stopped, read_json(note)) == ([], told)
        session_job.leave(tmp_path, None)
        assert stopped == [(JOB, "file:///c")]
        assert session_job.noted_job(tmp_path) is None
        write_json(note, told)
        answers[f"/jobs/{JOB}/status"] = {"status": "FINISHED"}
        session_job.leave(tmp_path, "other:1")
        assert len(stopped) == 1
        write_json(note, told)
    with pytest.raises(EnvironmentProblem, match=r"the job was there last; .* remove .*session"):
        session_job.leave(tmp_path, None)
    assert note.exists()


def test_a_job_that_ends_says_why(tmp_path: Path) -> None:
    note = tmp_path / "session.json"
    ends = [
        ("FAILED", "TimeoutException: no broker answers; repair the cause", False),
        ("CANCELED", "somebody has cancelled it", False),
        (None, "the cluster has lost it", True),
    ]
    for state, said, kept in ends:
        write_json(note, {})
        told = {**JOBS, f"/jobs/{JOB}/status": None if state is None else {"status": state}}
        with (
            answering(told) as (session, _),
            pytest.raises(EnvironmentProblem, match=said),
        ):
            session_job.watch(session, JOB, "file:///c", tmp_path)
        assert note.exists() is kept


def test_a_job_is_stopped_where_the_process_is_told_so_before_it_watches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped: list[tuple[str, str]] = []
    monkeypatch.setattr(session_job, "_stop", lambda _, each, own: stopped.append((each, own)))

    def told(*_: object) -> None:
        raise SystemExit

    monkeypatch.setattr(session_job, "find", told)
    settings = {"parallelism.default": "4", "execution.checkpointing.dir": "file:///c"}
    with answering({"/overview": OVERVIEW, **JOBS}) as (session, _):
        for noted in (False, True):
            if noted:
                write_json(tmp_path / "session.json", {"job": JOB})
            with pytest.raises(SystemExit):
                session_job.run_there(job(), session, settings, root="root", folder=tmp_path)
    assert stopped == [(JOB, "file:///c")]
    assert session_job.noted_job(tmp_path) is None


def test_the_newest_whole_checkpoint_and_its_folder(tmp_path: Path) -> None:
    root = tmp_path / "with space"
    assert checkpoints.newest(root.as_uri()) is None
    for number, name in enumerate(("a/chk-9", "a/chk-10", "savepoints/savepoint-ab-cd")):
        (root / name).mkdir(parents=True)
        (root / name / "_metadata").touch()
        os.utime(root / name / "_metadata", (7 + number // 2, 7 + number // 2))
        assert checkpoints.newest(root.as_uri()) == (root / name).as_uri(), number
    (root / "b" / "chk-11").mkdir(parents=True)
    (root / "b" / "chk-11" / "part").touch()
    assert checkpoints.newest(root.as_uri()) == (root / "savepoints/savepoint-ab-cd").as_uri()
    assert checkpoints.savepoints(root.as_uri()) == {"savepoint-ab-cd"}
    checkpoints.forget(root.as_uri(), ["savepoint-ab-cd", "none"])
    assert checkpoints.newest(root.as_uri()) == (root / "a/chk-10").as_uri()
    with pytest.raises(EnvironmentProblem, match="asked for the checkpoints in ftp://a/b; "):
        checkpoints.newest("ftp://a/b")


def test_where_checkpoints_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.jobs.transport.cluster_id", lambda _: "one")
    here = flink._root(job(), Flink(), tmp_path)
    assert here == (tmp_path / "checkpoints").as_uri()
    there = Flink("f:1", checkpoints="s3://bucket/shop")
    assert flink._root(job(), there, tmp_path) == "s3://bucket/shop/one/small-views"


def test_a_doctor_looks_at_the_jobs(tmp_path: Path) -> None:
    with answering({"/overview": OVERVIEW, **JOBS}) as (session, answers):
        told = Posted(1, "small", "small.yaml", "k:1", {}, flink=session.rest)
        look = run_check._flink(tmp_path, session.rest)
        with pytest.raises(EnvironmentProblem, match="for the views job; it is not submitted yet"):
            look()
        for name in flink.FLINK_JOBS:
            (tmp_path / name).mkdir()
            write_json(tmp_path / name / "session.json", {"job": JOB})
        assert look().endswith("on 2 TaskManagers; both jobs run")
        answers[f"/jobs/{JOB}"] = {"state": "RESTARTING", "duration": 1, "now": 1_000_000}
        with pytest.raises(EnvironmentProblem, match=r"it is RESTARTING: .*no broker answers"):
            look()
        assert "Flink" in {each.what for each in run_check.run(tmp_path, told)}


def test_a_status_shows_the_jobs(tmp_path: Path) -> None:
    (tmp_path / "views").mkdir()
    write_json(tmp_path / "views" / "session.json", {"job": JOB})
    with answering(JOBS) as (session, _):
        told = Posted(1, "small", "small.yaml", "k:1", {}, flink=session.rest)
        found = status._of_flink(tmp_path, told, 0.0, {})
        assert status._of_flink(tmp_path, replace(told, flink=None), 0.0, {}) == {}
    assert found == {"jobs": {"views": JobStatus("RUNNING", 65.0, 4, 3.0)}}
    head: dict[str, Any] = {"pipeline": "small", "runs": "up", "ended": None}
    head |= {"kafka": "k:1", "flink": "f:1", "store": "s:1"}
    standing = status.Standing(**head, problems=(), processes={}, disk={}, **found)
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(shown(standing))
    said = console.export_text()
    assert "small runs: Kafka at k:1, Flink at f:1, store at s:1" in said
    assert re.search(r"views +RUNNING +65 s +4 +3 s", said)
    assert "  Flink           http://f:1" in how_to_reach(replace(told, flink="f:1"))


def test_processes_are_told_which_flink_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = load(PIPELINE)
    assert pipeline.on_flink(None) is pipeline
    supervisor, client = cast("Supervisor", None), cast("Client", None)
    there = Local(pipeline.on_flink("f:1"), tmp_path, "k:1", supervisor, client)
    assert there.arguments("views")[-2:] == ["--flink", "f:1"]
    assert "--flink" not in replace(there, pipeline=pipeline).arguments("views")
    argv: list[str] = []

    def started(given: list[str], **_: object) -> None:
        argv.extend(given)
        raise ConnectionError

    monkeypatch.setattr("subprocess.Popen", started)
    with pytest.raises(ConnectionError):
        detached.up(PIPELINE, tmp_path, Asked(flink="f:1"))
    assert argv[-2:] == ["--flink", "f:1"]
