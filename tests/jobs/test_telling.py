"""What the learner, the jobs and the supervisor tell at `/metrics`: where, to whom, and what."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from headrace.jobs import transport
from headrace.jobs.learner import LearnerProcess
from headrace.jobs.machine.processes import Process, Supervisor
from headrace.jobs.machine.session import Session
from headrace.jobs.machine.state import read_json, write_json
from headrace.jobs.machine.waiting import wait_until
from headrace.jobs.serving import facts
from headrace.jobs.serving.access import AccessError
from headrace.jobs.serving.facts import JobFacts, LearnerFacts, SupervisorFacts
from headrace.jobs.serving.metrics import Counts
from headrace.jobs.serving.telling import TARGETS, telling
from headrace.online_learning.observer import Note
from headrace.operators.errors import EnvironmentProblem
from tests.feature_store.made_up import pipeline
from tests.jobs.test_learner_process import filled, small
from tests.jobs.test_metrics import families, on_page, told_by


@pytest.fixture(scope="module")
def learner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counts]:
    """What a learner tells that has learned a log."""
    folder = tmp_path_factory.mktemp("learner")
    declared = small(folder)
    with pytest.MonkeyPatch.context() as monkeypatch:
        log = filled(declared)
        log.install(monkeypatch)
        process = LearnerProcess(declared, bootstrap="memory", folder=folder / "learner")
        while process.step():
            pass
        process._look_at = 0.0
        process.step()
        note = Note(due=0, at=0, name="drift.loss", value=1.0, cause="it rose", alert=True)
        process._tell_notes([note], process._noted)
        log.put(declared.predictions_topic, *[b""] * 3)
        yield Counts(LearnerFacts(process))
        process.close()


def test_what_a_learner_tells(learner: Counts) -> None:
    found = told_by(learner.told().decode())
    assert found["headrace_learner_counted_total", "examples"] > 0
    assert found["headrace_learner_counted_total", "versions"] > 0
    assert 0 < found["headrace_score", "log_loss,prequential_all"] < 10
    lag = found["headrace_lag_messages", "0,small.predictions"]
    assert lag - 3 in (0, 1)  # a progress
    assert found["headrace_read_messages_total", "0,small.predictions"] > 0
    assert found["headrace_learner_alerts_total", "drift.loss"] == 1
    assert found["headrace_snapshot_bytes", ""] > 0
    assert 0 <= found["headrace_snapshot_age_seconds", ""] < 3600
    assert families(learner.told()) == on_page("Every process", "Learner")


def test_what_a_supervisor_tells(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "file").write_bytes(b"x" * 1000)
    waits = [sys.executable, "-c", "import sys; sys.stdin.read(); input()"]
    with Supervisor() as supervisor:
        supervisor.start(Process("hello", ["true"], tmp_path / "hello.log", finishes=True))
        supervisor.start(Process("wrong", waits, tmp_path / "wrong.log"))
        supervisor.wait_finished("hello")
        counts = Counts(SupervisorFacts(supervisor, tmp_path))

        def restarted() -> bool:
            return told_by(counts.told().decode())["headrace_process_restarts_total", "wrong"] > 0

        wait_until(restarted, 30, "the second start")
        found = told_by(counts.told().decode())
        assert found["headrace_process_up", "hello"] == 0
        assert found["headrace_disk_bytes", "store"] == 1000
        assert found["headrace_disk_free_bytes", ""] > 0
        assert families(counts.told()) == on_page("Every process", "Supervisor")


class Flink:
    """Answers as Flink's REST does, of a job that has had no checkpoint yet, or one."""

    name = "small views"
    last: dict[str, int] | None = None
    watermarks: tuple[int, ...] = (-(1 << 63), 5_000)

    def answer(self, method: str, path: str, body: object = None) -> object:
        """Answer one request."""
        assert (method, body) == ("GET", None)
        over = {"jid": "old", "name": "small views", "state": "FAILED"}
        return {
            "/jobs/overview": {
                "jobs": [
                    {"jid": "other", "name": "small labels", "state": "RUNNING"},
                    *(over, {"jid": "j", "name": self.name, "state": "RUNNING"}),
                ]
            },
            "/jobs/j/checkpoints": {
                "counts": {"completed": 4, "failed": 1},
                "latest": {"completed": self.last},
            },
            "/jobs/j/metrics?get=numRestarts": [{"id": "numRestarts", "value": "2"}],
            "/jobs/j": {"vertices": [{"id": "source"}, {"id": "window"}]},
            "/jobs/j/vertices/source/watermarks": [],
            "/jobs/j/vertices/window/watermarks": [
                {"id": f"{task}.currentInputWatermark", "value": str(at)}
                for task, at in enumerate(self.watermarks)
            ],
        }[path]


def test_what_a_job_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = {("click", 0): 3, ("click", 1): 7, ("small.predictions", 0): 1}
    ends = {("click", 0): 5, ("click", 1): 7, ("small.predictions", 0): 4, ("small.late", 0): 6}
    asked: list[object] = []

    def waited(_: str, waits: object, __: float) -> float:
        asked.append(waits)
        return 2.5

    there = Flink()
    monkeypatch.setattr(Session, "_answer", lambda _, *asks: there.answer(*asks))
    monkeypatch.setattr(transport, "committed", lambda *_, **__: done)
    monkeypatch.setattr(transport, "ends", lambda *_, **__: ends)
    monkeypatch.setattr(facts, "waited", waited)
    counts = Counts(JobFacts(pipeline(tmp_path), "views", tmp_path, "memory"))
    assert "headrace_job_restarts_total" not in families(counts.told())  # Flink comes up
    (tmp_path / "views").mkdir()
    write_json(tmp_path / "views" / "rest.json", {"rest": "a:1"})
    found = told_by(counts.told().decode())
    assert found["headrace_checkpoints_total", "failed"] == 1
    assert ("headrace_checkpoint_age_seconds", "") not in found
    assert ("headrace_job_watermark_seconds", "") not in found  # one of its tasks has none
    there.watermarks = (9_000, 5_000)
    at = time.time_ns() // 1_000_000 - 7_000
    there.last = {"latest_ack_timestamp": at, "end_to_end_duration": 250, "state_size": 9}
    asked.clear()
    found = told_by(counts.told().decode())
    assert 7 <= found["headrace_checkpoint_age_seconds", ""] < 3600
    assert found["headrace_checkpoint_seconds", ""] == 0.25
    assert found["headrace_checkpoint_bytes", ""] == 9
    assert found["headrace_job_restarts_total", ""] == 2
    lag = {of: value for (name, of), value in found.items() if name == "headrace_lag_messages"}
    assert lag == {"0,click": 2, "1,click": 0, "0,small.predictions": 3}
    assert found["headrace_read_messages_total", "1,click"] == 7
    written = {
        of: n for (name, of), n in found.items() if name == "headrace_written_messages_total"
    }
    assert written == {"0,small.late": 6}
    assert found["headrace_job_watermark_seconds", ""] == 5  # the least of its tasks
    assert abs(found["headrace_job_watermark_lag_seconds", ""] - (time.time() - 5)) < 3600
    assert asked == [{("click", 0): 3}]
    assert found["headrace_lag_seconds", "click"] == 2.5
    assert families(counts.told()) == on_page("Every process", "Views and labels")

    def gone(*_: object, **__: object) -> object:
        raise EnvironmentProblem("asked", "nobody answers", "start it")  # noqa: EM101  # as it is

    # On a session cluster its name says more, and its id is noted.
    there.name = "small views on k, SQL 0a, 2-fold"
    assert ("headrace_checkpoint_age_seconds", "") not in told_by(counts.told().decode())
    write_json(tmp_path / "views" / "session.json", {"job": "j"})
    assert ("headrace_checkpoint_age_seconds", "") in told_by(counts.told().decode())
    monkeypatch.setattr(transport, "committed", gone)
    assert ("headrace_checkpoint_age_seconds", "") in told_by(counts.told().decode())
    monkeypatch.setattr(Session, "_answer", gone)
    assert families(counts.told()) == on_page("Every process")


def test_it_is_told_to_this_machine_unless_a_port_is_declared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TO_READ", "canary-" * 4)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    serve = f"serve: {{tokens: {{read: env:TO_READ}}, metrics: {{views: {port}}}}}\n"
    declared = pipeline(tmp_path, serve)
    bearer = {"authorization": f"Bearer {'canary-' * 4}"}
    with telling(declared, tmp_path, "learner"):
        targets = read_json(tmp_path / "learner" / TARGETS)
        labels = {"job": "headrace", "pipeline": "small", "process": "learner"}
        assert targets[0]["labels"] == labels
        address = targets[0]["targets"][0]
        assert address.startswith("127.0.0.1:")
        assert httpx.get(f"http://{address}/livez", trust_env=False).is_success
        answer = httpx.get(f"http://{address}/metrics", trust_env=False)
        assert families(answer.text) == on_page("Every process")
        for headers in ({"host": "evil.example"}, {"origin": "http://evil.example"}):
            answer = httpx.get(f"http://{address}/metrics", headers=headers, trust_env=False)
            assert answer.status_code in (400, 403)
    with telling(declared, tmp_path, "views") as listening:
        assert listening.port == port
        address = f"http://127.0.0.1:{port}"
        assert httpx.get(f"{address}/metrics", trust_env=False).status_code == 401
        answer = httpx.get(f"{address}/metrics", headers=bearer, trust_env=False)
        assert "canary" not in answer.text
        assert answer.is_success
        assert httpx.get(f"{address}/livez", trust_env=False).is_success
        with (
            pytest.raises(EnvironmentProblem, match=f"at 127.0.0.1 port {port}.*in use"),
            telling(declared, tmp_path, "views"),
        ):
            pass


def test_a_port_that_others_reach_wants_a_token(tmp_path: Path) -> None:
    declared = pipeline(tmp_path, "serve: {host: 0.0.0.0, metrics: {views: 0}}\n")
    with (
        pytest.raises(AccessError, match="no token is declared"),
        telling(declared, tmp_path, "views"),
    ):
        pass
    with telling(declared, tmp_path, "labels"):  # is not declared, so it is at 127.0.0.1
        assert read_json(tmp_path / "labels" / TARGETS)[0]["targets"][0].startswith("127.0.0.1:")
