"""A pipeline on a Kafka that was there before, with history in files; and one that cannot run."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import IO

import httpx
import pytest

from headrace.jobs import transport
from headrace.jobs.lifecycle import sending
from headrace.jobs.lifecycle.board import STOPPED, posted
from headrace.jobs.lifecycle.doctor import doctor
from headrace.jobs.lifecycle.status import status
from headrace.jobs.machine import kafka
from headrace.jobs.machine.broker import Broker, free_ports, prepare
from headrace.jobs.machine.processes import Supervisor
from headrace.jobs.machine.speaking import speak
from headrace.jobs.machine.state import read_json
from headrace.jobs.machine.waiting import wait_until
from headrace.jobs.serving.access import ROLES
from headrace.jobs.serving.client import Client
from headrace.jobs.serving.telling import TARGETS
from headrace.jobs.transport import Topic
from headrace.operators.errors import EnvironmentProblem
from headrace.pipelines.load import load
from headrace.pipelines.pipeline import Pipeline
from tests.jobs.test_metrics import told_by

HOUR = 3_600_000
CANARIES = "canary-of-a-"
CANARY = f"{CANARIES}password"
TOKENS = {role: f"{CANARIES}token-to-{role}" for role in ROLES}
SERVED = "serve: {tokens: {" + ", ".join(f"{role}: env:TO_{role}" for role in ROLES) + "}}\n"
TEXT = """\
pipeline: {name}
every: 1m
sources:
  ask: {{columns: {{name: string required, user: string}}, topic: {name}-ask, partitions: 2}}
  done: {{columns: {{name: string required, x: int64}}, topic: {name}-done}}
  old: {{columns: {{user: string, paid: int64}}, files: old.csv}}
views:
  paid:
    source: old
    key: user
    features: {{paid_ever: sum(paid)}}
decision: {{source: ask, id: name}}
outcome: {{source: done, id: name, label: x > 0, within: 1h}}
model: {{kind: ftrl, slots: 1024, tokens: [user], publish_every: 1m}}
"""


def pipeline(folder: Path, name: str, more: str = "") -> Pipeline:
    (folder / "old.csv").write_text(f"at,user,paid\n{HOUR},u,3\n{HOUR},v,1\n{2 * HOUR},u,4\n")
    path = folder / f"{name}.yaml"
    path.write_text(TEXT.format(name=name) + more)
    return load(path)


def test_which_kafka_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = pipeline(tmp_path, "plain")
    named = pipeline(tmp_path, "named", 'kafka: {bootstrap: "b:2"}\n')
    fresh, noted, own = (tmp_path / name for name in ("fresh", "noted", "own"))
    (own / "broker").mkdir(parents=True)
    (own / "broker" / "formatted").touch()
    noted.mkdir()
    monkeypatch.setattr(transport, "cluster_id", lambda *_, **__: "one")
    kafka.join("c:3", noted)
    cases = [
        (plain, fresh, None, None),
        (named, fresh, None, "b:2"),
        (named, fresh, "a:1", "a:1"),
        (plain, noted, None, "c:3"),
        (named, noted, None, "b:2"),
        (plain, own, None, None),
    ]
    for declared, state, given, found in cases:
        assert kafka.elsewhere(declared, state, given) == found
    for declared, given in ((named, None), (plain, "a:1")):
        with pytest.raises(EnvironmentProblem, match=r"the log of .*own is in its own broker"):
            kafka.elsewhere(declared, own, given)
    kafka.join("d:4", noted)  # it moved
    assert kafka.standing(noted) == "d:4"
    monkeypatch.setattr(transport, "cluster_id", lambda *_, **__: "two")
    with pytest.raises(EnvironmentProblem, match="that is the cluster two, and the state is of on"):
        kafka.join("d:4", noted)
    assert [kafka.has_log(state) for state in (fresh, noted, own)] == [False, True, True]


@pytest.mark.kafka
def test_topics_of_sources_are_made_only_where_that_is_asked(
    tmp_path: Path, broker: Broker
) -> None:
    declared = pipeline(tmp_path, "topics")
    transport.create_topics(broker.address, [Topic("topics-ask", 5)])
    missing = r"there is no topic topics-done; start what writes them, .* or use --create-topics"
    with pytest.raises(EnvironmentProblem, match=missing):
        kafka.make_topics(declared, broker.address, own=False, create_sources=False)
    assert "topics.decisions" not in transport.topics(broker.address)
    kafka.make_topics(declared, broker.address, own=False, create_sources=True)
    assert transport.partitions(broker.address, "topics-ask") == 5
    assert {"topics-done", "topics.decisions"} <= transport.topics(broker.address)
    with pytest.raises(EnvironmentProblem, match="with 2 partitions; it is there with 5"):
        kafka.make_topics(declared, broker.address, own=True, create_sources=False)


def paid(user: str, step: int) -> int:
    """Sum what the file has before a step."""
    rows = {"u": [(HOUR, 3), (2 * HOUR, 4)], "v": [(HOUR, 1)]}.get(user, [])
    return sum(amount for at, amount in rows if at < step)


@contextmanager
def secured(folder: Path) -> Iterator[str]:
    """A broker that wants a name and a password, over TLS where there is an openssl to make it.

    It gives the lines of a pipeline file by which it is spoken to.
    """
    one = prepare(folder / "kafka")
    address = f"127.0.0.1:{free_ports(1)[0]}"
    protocol, more, ours = _tls(folder)
    path = one.folder / "server.properties"
    listener = f"listener.name.{protocol.lower()}"
    module = "org.apache.kafka.common.security.plain.PlainLoginModule"
    text = path.read_text("utf-8")
    for name in ("listeners", "advertised.listeners"):
        text = re.sub(rf"^{name}=", f"{name}={protocol}://{address},", text, flags=re.M)
    text = re.sub(
        r"^(listener.security.protocol.map=)", rf"\1{protocol}:{protocol},", text, flags=re.M
    )
    text += "security.inter.broker.protocol=PLAINTEXT\n"
    text += f"{listener}.sasl.enabled.mechanisms=PLAIN\n"
    text += f'{listener}.plain.sasl.jaas.config={module} required user_shop="{CANARY}";\n'
    text += "".join(f"{listener}.{name}={value}\n" for name, value in more.items())
    path.write_text(text, "utf-8")
    with Supervisor() as supervisor:
        supervisor.start(one.process())
        supervisor.wait_ready()
        yield f"""\
kafka:
  bootstrap: {address}
  properties:
    security.protocol: {protocol}
    sasl.mechanism: PLAIN
    sasl.username: shop
    sasl.password: env:KAFKA_CANARY
{ours}"""


def _tls(folder: Path) -> tuple[str, dict[str, str], str]:
    """Make a certificate; give the protocol, the broker's settings and the client's line."""
    openssl = shutil.which("openssl")
    if openssl is None:
        return "SASL_PLAINTEXT", {}, ""
    key, certificate, both = (folder / f"{name}.pem" for name in ("key", "certificate", "both"))
    argv = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    argv += ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    argv += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(argv, check=True, capture_output=True)
    both.write_text(key.read_text() + certificate.read_text())
    theirs = {"ssl.keystore.type": "PEM", "ssl.keystore.location": str(both)}
    return "SASL_SSL", theirs, f"    ssl.ca.location: {certificate}\n"


def places(folder: Path, text: bytes) -> list[Path]:
    """Find the files that have a text."""
    return [p for p in folder.rglob("*") if p.is_file() and text in p.read_bytes()]


@contextmanager
def up(path: Path, state: Path, output: IO[bytes], *more: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run it in front, as a service manager does."""
    argv = [sys.executable, "-m", "headrace.jobs.cli.main", "up", str(path), "--state", str(state)]
    running = subprocess.Popen([*argv, "--json", *more], stdout=output, stderr=subprocess.STDOUT)
    try:
        yield running
    finally:
        running.kill()  # its warden ends the rest
        running.wait()


@pytest.mark.e2e
@pytest.mark.kafka
@pytest.mark.flink
@pytest.mark.usefixtures("java_and_jars")
def test_decisions_from_another_kafka_with_features_from_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_CANARY", CANARY)
    for role, token in TOKENS.items():
        monkeypatch.setenv(f"TO_{role}", token)
    (elsewhere := tmp_path / "elsewhere").mkdir()
    with secured(elsewhere) as lines:
        (ours := tmp_path / "ours").mkdir()
        _live(pipeline(ours, "elsewhere", lines + SERVED), ours)
        assert places(ours, CANARIES.encode()) == []
        assert places(elsewhere, CANARIES.encode()) == [elsewhere / "kafka" / "server.properties"]


def _is_told_nowhere(state: Path, client: Client) -> None:
    """What is asked of it, with any token and without, and what its processes are called by."""
    told = [json.dumps(status(state).plain()), str(doctor(state)), json.dumps(client.status())]
    for token in ("nobody", *TOKENS.values()):
        with httpx.Client(base_url=client.address(), trust_env=False) as http:
            http.headers["authorization"] = f"Bearer {token}"
            paths = ("/metrics", "/v1/status", "/openapi.json", "/docs", "/v1/why", "/nothing")
            told += [http.get(path).text for path in paths]
            told.append(http.post("/v1/sql", content=b"{").text)
            settings = {"query": "SELECT * FROM duckdb_settings()"}
            told.append(http.post("/v1/sql", json=settings).text)
    pids = [each.pid for each in status(state).processes.values() if each.pid is not None]
    assert len(pids) == 4
    words = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # of a process that went meanwhile
            words.append(path.read_bytes())
    assert any(str(state).encode() in word for word in words)
    assert CANARIES not in "".join(told)
    assert not any(CANARIES.encode() in word for word in words)
    assert "headrace_requests_total" in "".join(told)


def _tells_its_metrics(state: Path) -> None:
    """Each process where its file says; nothing is missing."""
    found: dict[str, dict[tuple[str, str], float]] = {}

    def ask(process: str) -> None:
        (target,) = read_json(state / process / TARGETS)
        token = {"authorization": f"Bearer {TOKENS['read']}"} if process == "store" else {}
        url = f"http://{target['targets'][0]}/metrics"
        answer = httpx.get(url, headers=token, trust_env=False, timeout=30)
        assert answer.is_success, (process, answer.text)
        assert CANARIES not in answer.text
        found[process] = told_by(answer.text)
        assert found[process]["process_resident_memory_bytes", ""] > 0

    def all_told(job: str, written: str) -> bool:
        ask(job)  # what Flink tells is some seconds old
        watermark = found[job].get(("headrace_job_watermark_seconds", ""), 0)
        written_to = ("headrace_written_messages_total", f"0,elsewhere.{written}")
        return watermark > 4 * 3600 and found[job].get(written_to, 0) > 0  # behind all events

    for process in ("supervisor", "learner", "store"):
        ask(process)
    for job, written in (("views", "decisions"), ("labels", "examples")):
        told = partial(all_told, job, written)
        wait_until(told, 60, f"{job} to tell how far it is", every_seconds=0.5)
    assert found["store"]["headrace_missing", ""] == 0
    assert found["store"]["headrace_decisions_total", ""] == 180
    assert found["supervisor"]["headrace_process_up", "views"] == 1
    assert found["learner"]["headrace_learner_counted_total", "examples"] == 180
    for job in ("views", "labels"):
        assert 0 <= found[job]["headrace_checkpoint_age_seconds", ""] < 600
        assert found[job]["headrace_checkpoint_seconds", ""] >= 0
        assert found[job]["headrace_job_restarts_total", ""] == 0
        assert ("headrace_lag_messages", "0,elsewhere-done") in found[job]
        assert ("headrace_read_messages_total", "0,elsewhere-done") in found[job]
    assert ("headrace_lag_seconds", "elsewhere-ask") in found["views"]


def _live(declared: Pipeline, folder: Path) -> None:
    bootstrap = declared.kafka.bootstrap or ""
    speak(declared, bootstrap)
    state, output = folder / "state", folder / "output"
    asked = [(HOUR + 60_000 * n, f"d{n}", "uvw"[n % 3]) for n in range(180)]
    asks = [{"at": at, "name": name, "user": user} for at, name, user in asked]
    ends = [{"at": at + 30_000, "name": name, "x": at // 60_000 % 2} for at, name, _ in asked]
    with (
        output.open("wb") as file,
        closing(Client(state / "store" / "address.json")) as client,
        up(declared.path, state, file, "--create-topics", "--log-format", "json") as running,
    ):
        wait_until(lambda: running.poll() is None and client.healthy(), 180, "the store")
        for name, rows in (("ask", asks), ("done", ends)):
            path = folder / f"{name}.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
            source = sending.live_source(declared, name)
            sending.send(bootstrap, source, sending.read(path, "name"))
        until = 5 * HOUR
        sending.through(bootstrap, declared, until)

        def learned() -> bool:
            return sending.caught_up(declared, client.status(), until)

        wait_until(learned, 300, "all of it to be learned", every_seconds=0.3)
        rows = client.sql("SELECT id, paid_ever FROM predictions ORDER BY seq").to_pylist()
        assert [(row["id"], row["paid_ever"]) for row in rows] == [
            (name, paid(user, at // 60_000 * 60_000)) for at, name, user in asked
        ]
        found = status(state)
        assert (found.problems, found.counts["records"]) == ((), 360 + 2 * 3)
        assert "broker" not in found.processes
        assert [each for each in doctor(state) if each.wrong] == []
        _is_told_nowhere(state, client)
        _tells_its_metrics(state)
        running.send_signal(signal.SIGTERM)
        assert running.wait(120) == 0
    for job in ("views", "labels"):
        log = (state / "logs" / f"{job}.log").read_text("utf-8")
        said = [json.loads(line) for line in log.splitlines() if line.startswith('{"ts"')]
        stopped = [each for each in said if "stopped with the savepoint" in each["event"]]
        assert [each["component"] for each in stopped] == [job], log[-2000:]
    assert places(state / "logs", b"d179") == []  # a decision's id: nothing of an event is there
    told = [json.loads(line) for line in output.read_text().splitlines()]
    assert {line["event"] for line in told} == {"process", "ready", "counts", "ended"}
    assert told[-1]["ended"] == STOPPED
    _cannot_run(declared, state, folder)


def _cannot_run(declared: Pipeline, state: Path, folder: Path) -> None:
    """Its store's file is damaged: it ends with the cause and the remedy, and leaves nothing."""
    store = state / "store" / "store.duckdb"
    store.write_bytes(store.read_bytes()[:5000])
    with (folder / "loop").open("wb") as file, up(declared.path, state, file) as running:
        assert running.wait(240) == 1
    told, held = posted(state)
    assert held is None
    assert told is not None
    assert told.ended is not None
    assert "asked for the process 'store' to run; it ended 5 times within" in told.ended
    assert "store.duckdb" in told.ended
    assert "repair the cause and start again; its whole log is" in told.ended
    last = (folder / "loop").read_text().splitlines()[-1]
    assert last == f"headrace: {told.ended}"
    assert "last run" in {each.what for each in doctor(state) if each.wrong}
