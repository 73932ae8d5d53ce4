"""What a doctor looks at where a pipeline runs: Kafka, offsets against topics, the store, ports."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

from headrace.jobs import transport
from headrace.jobs.lifecycle.board import STOPPED, Posted, processes
from headrace.jobs.lifecycle.finding import Finding, examined
from headrace.jobs.machine import kafka
from headrace.jobs.machine.flink import FLINK_JOBS
from headrace.jobs.machine.lag import CONNECT_SECONDS
from headrace.jobs.machine.session import Session
from headrace.jobs.machine.session_job import noted_job
from headrace.jobs.machine.speaking import speak
from headrace.jobs.serving.client import Client
from headrace.jobs.transport import LogGap, Place
from headrace.operators.errors import EnvironmentProblem
from headrace.pipelines.load import load

__all__ = ["gap", "run", "stopped"]


def run(state: Path, told: Posted) -> list[Finding]:
    """Look at what runs."""
    return [
        examined("pipeline file", lambda: _file(told)),
        examined("processes", lambda: _processes(state)),
        examined("Kafka", lambda: _kafka(state, told)),
        *([examined("Flink", _flink(state, told.flink))] if told.flink else []),
        examined("store", lambda: _store(state)),
        examined("store's offsets", lambda: _store_offsets(state, told)),
        *(examined(f"{job} job's offsets", _job_offsets(told, job)) for job in FLINK_JOBS),
    ]


def stopped(told: Posted) -> list[Finding]:
    """Look at how a run ended, and whether another could begin."""

    def ended() -> str:
        if told.ended in (STOPPED, None):
            return "it was stopped" if told.ended else "it was killed, and can go on"
        asked = "asked how the last run ended"
        raise EnvironmentProblem(asked, str(told.ended), "repair the cause, and start it again")

    return [
        examined("last run", ended),
        examined("ports", lambda: _ports(told)),
        Finding("offsets", "they are compared with the topics while it runs"),
    ]


def _file(told: Posted) -> str:
    """Read the file; what follows speaks to Kafka as it says."""
    speak(load(Path(told.path)), told.kafka)
    return f"{told.path} is whole"


def _processes(state: Path) -> str:
    found = processes(state)
    for name, each in found.items():
        if each.state != "running":
            asked, said = f"asked for {name}", f"it is {each.state}: {each.cause}"
            raise EnvironmentProblem(asked, said, f"look at {state / 'logs' / name}.log")
    return f"{len(found)} run, {sum(each.restarts for each in found.values())} restarts"


def _kafka(state: Path, told: Posted) -> str:
    cluster = transport.cluster_id(told.kafka, connect_seconds=CONNECT_SECONDS)
    kafka.check_cluster(told.kafka, state, cluster)
    missing = sorted(set(told.topics.values()) - _topics(told))
    if missing:
        asked = f"asked Kafka at {told.kafka} for the sources' topics"
        raise EnvironmentProblem(asked, f"there is no {missing[0]}", "start what writes it")
    return f"the cluster {cluster} answers at {told.kafka}"


def _flink(state: Path, rest: str) -> Callable[[], str]:
    def look() -> str:
        session = Session(rest)
        said = session.check(0)
        for name in FLINK_JOBS:
            job = noted_job(state / name)
            found = session.status(job) if job else None
            if found is None or found.state != "RUNNING":
                asked = f"asked Flink at {rest} for the {name} job"
                how = f"it is {found.state}: {found.cause}" if found else "it is not submitted yet"
                raise EnvironmentProblem(asked, how, f"look at {state / 'logs' / name}.log")
        return f"{said}; both jobs run"

    return look


def _store(state: Path) -> str:
    with closing(Client(state / "store" / "address.json")) as client:
        client.status()
        return f"it answers at {client.address()}"


def _store_offsets(state: Path, told: Posted) -> str:
    with closing(Client(state / "store" / "address.json")) as client:
        rows = client.sql("SELECT topic, partition, next FROM offsets").to_pylist()
    at = {(row["topic"], row["partition"]): row["next"] for row in rows}
    there = _topics(told)
    return _whole(told.kafka, {place: n for place, n in at.items() if place[0] in there})


def _job_offsets(told: Posted, job: str) -> Callable[[], str]:
    def look() -> str:
        group = f"{told.pipeline}.{job}"
        done = transport.committed(told.kafka, group, connect_seconds=CONNECT_SECONDS)
        return _whole(told.kafka, done)

    return look


def _whole(bootstrap: str, at: Mapping[Place, int]) -> str:
    topics = {topic for topic, _ in at}
    seconds = {"connect_seconds": CONNECT_SECONDS}
    begins = transport.begins(bootstrap, topics, **seconds)
    found = gap(at, begins, transport.ends(bootstrap, topics, **seconds))
    if found is not None:
        raise found
    return f"all {len(at)} are in their topics"


def _topics(told: Posted) -> set[str]:
    return transport.topics(told.kafka, connect_seconds=CONNECT_SECONDS)


def gap(
    at: Mapping[Place, int], begins: Mapping[Place, int], ends: Mapping[Place, int]
) -> LogGap | None:
    """Give the first offset that its topic does not have.

    >>> print(gap({("a", 0): 3}, {("a", 0): 5}, {("a", 0): 9}).lost)
    2
    >>> gap({("a", 0): 9}, {("a", 0): 5}, {("a", 0): 9}) is None
    True
    """
    for (topic, partition), offset in sorted(at.items()):
        begin, end = begins[topic, partition], ends[topic, partition]
        if not begin <= offset <= end:
            return LogGap(topic, partition, offset, begin, end)
    return None


def _ports(told: Posted) -> str:
    """Look whether the ports that the pipeline file names are free."""
    serve = load(Path(told.path)).serve
    wanted = [port for port in (serve.port, serve.flight_port) if port]
    for port in wanted:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            asked, found = f"asked for port {port}", "another process listens on it"
            raise EnvironmentProblem(asked, found, "stop that, or choose another under serve:")
    return f"{len(wanted)} are named, and free" if wanted else "any that is free is taken"
