"""A pipeline on this machine: the broker and the four processes, under one supervisor.

::

    supervisor ─┬─ broker (JVM) ◄──────────────── Kafka, for all below
                ├─ views    Python that waits for its JVM, a local Flink
                ├─ labels   the same
                ├─ store    DuckDB, HTTP at a socket of the supervisor's
                └─ learner

Where the pipeline has a Kafka elsewhere there is no broker here; where it has a Flink elsewhere the
two jobs run there, and their processes here submit them and wait.

Who connects to the store while it is being replaced waits in the socket, and is not refused.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from headrace.jobs.evolve import plan
from headrace.jobs.machine import broker, kafka
from headrace.jobs.machine.flink import FLINK_JOBS
from headrace.jobs.machine.forkserver import Imported
from headrace.jobs.machine.processes import Process, Supervisor
from headrace.jobs.machine.session import Session
from headrace.jobs.machine.sockets import SOCKET, listen
from headrace.jobs.machine.speaking import speak
from headrace.jobs.machine.state import holder, locked
from headrace.jobs.serving.access import Access
from headrace.jobs.serving.client import Client
from headrace.pipelines.pipeline import Pipeline

__all__ = ["PROCESSES", "Local", "begun", "reached", "roles_of", "running"]

PROCESSES = "processes.json"
"""Of the state folder: what became of each process, as the supervisor says it."""

_IMPORTED = (
    "headrace.jobs.cli.main",
    "headrace.jobs.learner",
    "headrace.jobs.store",
    "headrace.jobs.serving.facts",
    "headrace.jobs.serving.server",
    "headrace.jobs.serving.telling",
    "headrace.online_learning.models.deep_served",
    "headrace.online_learning.deep.serving",
    "headrace.online_learning.deep.part",
    "pandas",  # which pyarrow imports at the first value that it is asked to guess the type of
    "uvicorn.protocols.http.h11_impl",
)
"""What takes the processes long to import."""
_STOP_SECONDS = {"views": 60.0, "labels": 60.0}
"""Longer than the others may take: a savepoint of Flink's."""


@dataclass(frozen=True)
class Local:
    """What runs: where it keeps its state, how to reach it."""

    pipeline: Pipeline
    state: Path
    bootstrap: str
    supervisor: Supervisor
    client: Client
    sockets: dict[tuple[str, int], socket.socket] = field(default_factory=dict)
    """Where the store is asked: the one that is declared now."""

    def start(self, name: str, arguments: Sequence[str], *, finishes: bool = False) -> None:
        """Start one of our processes: ``headrace process`` with these arguments."""
        argv = ["headrace", "process", *arguments]
        serves = name == "store"
        ready = self.client.healthy if serves else None
        files = {SOCKET: self._listening().fileno()} if serves else {}
        self.supervisor.start(
            Process(
                name,
                argv,
                self.state / "logs" / f"{name}.log",
                env={"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2")},
                ready=ready,
                stop_seconds=_STOP_SECONDS.get(name, 15.0),
                finishes=finishes,
                files=files,
                forked=True,
            )
        )

    def _listening(self) -> socket.socket:
        """Give the socket of the address that is declared; another's is closed."""
        at = self.pipeline.serve.host, self.pipeline.serve.port
        if at not in self.sockets:
            self.close()
            self.sockets[at] = listen(*at)
        return self.sockets[at]

    def close(self) -> None:
        """Let nobody connect any more."""
        while self.sockets:
            _, each = self.sockets.popitem()
            each.close()

    def arguments(self, role: str) -> list[str]:
        """Give the arguments with which a role runs."""
        common = ["--bootstrap", self.bootstrap, "--state", str(self.state)]
        elsewhere = self.pipeline.flink.rest
        common += ["--flink", elsewhere] if elsewhere else []
        return [role, str(self.pipeline.path), *common]


def roles_of(pipeline: Pipeline) -> tuple[str, ...]:
    """Name the processes of a pipeline, in the order in which they are started."""
    return (*FLINK_JOBS, *pipeline.store_roles, "learner")


@contextmanager
def reached(pipeline: Pipeline, state: Path, what: str) -> Iterator[tuple[str, Client]]:
    """Give the broker's address and the store of a pipeline that runs, or ran, in a state folder.

    Where nothing runs there, both are started for as long as the context lasts, as `what`.

    Raises
    ------
    EnvironmentProblem
        Where no pipeline ever ran there.

    """
    address = kafka.standing(state)
    speak(pipeline, address)
    if holder(state) is None:
        with (
            locked(state, what, resume=True) as folder,
            running(pipeline, folder.path, roles=pipeline.store_roles) as local,
        ):
            yield local.bootstrap, local.client
    else:
        with closing(Client(state / "store" / "address.json")) as client:
            yield address, client


@contextmanager
def running(pipeline: Pipeline, state: Path, roles: Sequence[str] | None = None) -> Iterator[Local]:
    """Run a broker and `roles` of a pipeline for as long as the context lasts.

    Parameters
    ----------
    pipeline
        The declaration; its file is what the processes read.
    state
        Everything that is kept is below it; what is there is gone on with.
    roles
        Those of `roles_of`, all unless given; the store is waited for.

    """
    roles = roles_of(pipeline) if roles is None else roles
    with begun(pipeline, state) as local:
        for role in roles:
            local.start(role, local.arguments(role))
        if "store" in roles:
            local.supervisor.wait_ready("store")
        if "views" in roles:  # a store alone, to ask it or rebuild it, takes nothing over
            plan.note_applied(pipeline, state)
        yield local


@contextmanager
def begun(
    pipeline: Pipeline, state: Path, *, given: str | None = None, create_topics: bool = False
) -> Iterator[Local]:
    """Run what carries a pipeline's events, with its topics, and none of its processes yet.

    Parameters
    ----------
    pipeline, state
        As in `running`.
    given
        The address of another Kafka than the file's.
    create_topics
        Whether to make the topics of sources, too, in a Kafka that is not the pipeline's own.

    """
    from headrace.jobs.serving.facts import SupervisorFacts  # `status` and `down` need no server
    from headrace.jobs.serving.telling import telling

    Access.of(pipeline.serve)  # before anything starts
    if pipeline.flink.rest is not None:
        Session(pipeline.flink.rest).check(pipeline.flink.parallelism)
    elsewhere = kafka.elsewhere(pipeline, state, given)
    (state / "logs").mkdir(parents=True, exist_ok=True)
    (state / "store" / "address.json").unlink(missing_ok=True)
    client = Client(state / "store" / "address.json")
    imported = Imported(_IMPORTED, state / "logs" / "forks.log")
    with closing(client), Supervisor(state / PROCESSES, imported=imported) as supervisor:
        if elsewhere is None:
            own = broker.prepare(state / "broker")
            supervisor.start(own.process(log=state / "logs" / "broker.log"))
            supervisor.wait_ready("broker")
        else:
            speak(pipeline, elsewhere)
            kafka.join(elsewhere, state)
        bootstrap = elsewhere or own.address
        own_broker = elsewhere is None
        kafka.make_topics(pipeline, bootstrap, own=own_broker, create_sources=create_topics)
        with telling(pipeline, state, "supervisor", SupervisorFacts(supervisor, state)):
            sockets: dict[tuple[str, int], socket.socket] = {}
            with closing(Local(pipeline, state, bootstrap, supervisor, client, sockets)) as local:
                yield local
