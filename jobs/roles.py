"""The processes of a pipeline as the supervisor starts them: one program, one role each.

Every role runs until SIGTERM, which it takes between two steps; SIGKILL at any instant is fine.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from headrace.jobs import labels, telemetry, transport, views
from headrace.jobs.demo import flights
from headrace.jobs.lifecycle.clock import clock
from headrace.jobs.lineage.emitting import running
from headrace.jobs.machine import kafka
from headrace.jobs.machine.broker import HOST
from headrace.jobs.machine.flink import driven
from headrace.jobs.machine.sockets import handed
from headrace.jobs.machine.state import write_json
from headrace.jobs.replay import beat, replay
from headrace.jobs.serving.access import Access
from headrace.jobs.transport import Writer
from headrace.online_learning import durable
from headrace.operators.errors import EnvironmentProblem
from headrace.operators.sealed import sealed
from headrace.pipelines.pipeline import Pipeline

if TYPE_CHECKING:
    from headrace.jobs.serving.shard_client import ShardClient

__all__ = [
    "ROLES",
    "Role",
    "rest_ms",
    "run_beats",
    "run_flights",
    "run_history",
    "run_shard",
    "run_topics",
]

Role = Callable[[Pipeline, str, Path], None]
"""Runs a role: the pipeline, the broker's address, the state folder."""

_log = logging.getLogger(__name__)
_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
_BEAT_SECONDS = 2.0


def _stopping() -> threading.Event:
    """Give an event that SIGTERM and SIGINT set."""
    asked = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        del number, frame
        asked.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
    return asked


def run_views(pipeline: Pipeline, bootstrap: str, state: Path) -> None:
    """Run the views job."""
    _exit_on_term()
    with _job(pipeline, bootstrap, state, "views"):
        views.run(pipeline, bootstrap=bootstrap, folder=state / "views")


def run_labels(pipeline: Pipeline, bootstrap: str, state: Path) -> None:
    """Run the labels job."""
    _exit_on_term()
    with _job(pipeline, bootstrap, state, "labels"):
        labels.run(pipeline, bootstrap=bootstrap, folder=state / "labels")


@contextmanager
def _job(pipeline: Pipeline, bootstrap: str, state: Path, job: str) -> Iterator[None]:
    from headrace.jobs.serving.facts import JobFacts
    from headrace.jobs.serving.telling import telling

    facts, goes_on = JobFacts(pipeline, job, state, bootstrap), driven()
    with (
        telling(pipeline, state, job, facts),
        running(pipeline, job, bootstrap, state, ends=not goes_on),
    ):
        yield


def _exit_on_term() -> None:
    """End at once on SIGTERM until there is a job, which is then stopped with a savepoint."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


def run_store(pipeline: Pipeline, bootstrap: str, state: Path, shards: Sequence[str] = ()) -> None:
    """Run the store process and its server; its address goes to ``store/address.json``.

    `shards` is where the store's shards answer, ``host:port`` of each, unless they are below
    `state`.
    """
    Access.of(pipeline.serve)  # before anything is opened
    elsewhere = _elsewhere(pipeline, shards) if shards else None
    stopping = _stopping()
    with running(pipeline, "store", bootstrap, state):
        _store(pipeline, bootstrap, state, elsewhere, stopping)


def _store(
    pipeline: Pipeline,
    bootstrap: str,
    state: Path,
    elsewhere: list[ShardClient] | None,
    stopping: threading.Event,
) -> None:
    from headrace.jobs.serving.server import Server
    from headrace.jobs.serving.telling import post
    from headrace.jobs.store import StoreProcess

    folder = state / "store"
    folder.mkdir(parents=True, exist_ok=True)
    models = state / "learner" / "versions"
    process = StoreProcess(
        pipeline, bootstrap=bootstrap, folder=folder, models=models, shards=elsewhere
    )
    server = Server(process, handed())
    server.start()
    durable.write(folder / "address.json", sealed(server.told()))
    post(pipeline, state, "store", server.told()["address"])
    with telemetry.sending(pipeline.name, "store", server.collected):
        while not stopping.is_set():
            process.step()
    server.stop()
    process.close()


def _elsewhere(pipeline: Pipeline, places: Sequence[str]) -> list[ShardClient]:
    """Give the shards that answer at these addresses, in the order of their numbers."""
    from headrace.jobs.serving.client import Told
    from headrace.jobs.serving.server import told_of
    from headrace.jobs.serving.shard_client import ShardClient

    if len(places) != pipeline.store_shards:
        asked = f"asked for the store of {pipeline.path.name} with {len(places)} shards elsewhere"
        found = f"it has {pipeline.store_shards}"
        raise EnvironmentProblem(asked, found, "give the address of each, by its number")
    token = told_of(pipeline.serve, "", "").get("token")
    return [ShardClient(n, Told("", place, token)) for n, place in enumerate(places)]


def run_shard(
    pipeline: Pipeline,
    bootstrap: str,
    state: Path,
    number: int,
    *,
    flight: str | None = None,
    metrics: int | None = None,
) -> None:
    """Run a shard of the store; where it is asked goes to ``store/shards/NUMBER/address.json``.

    Its head is on this machine unless `flight` says at which ``host:port`` it is to answer; there
    it tells its metrics at the port `metrics`.
    """
    from headrace.jobs.serving.facts import ShardFacts
    from headrace.jobs.serving.listening import reached_at
    from headrace.jobs.serving.metrics import Counts
    from headrace.jobs.serving.server import told_of
    from headrace.jobs.serving.shard_server import ShardServer
    from headrace.jobs.serving.telling import telling
    from headrace.jobs.shard import ShardProcess, folder_of

    host, port = HOST, 0
    if flight is not None:
        host, _, given = flight.rpartition(":")
        port, told_at = int(given), {} if metrics is None else {f"shard-{number}": metrics}
        pipeline = replace(pipeline, serve=replace(pipeline.serve, host=host, metrics=told_at))
    access = Access.of(pipeline.serve)
    stopping = _stopping()
    process = ShardProcess(pipeline, number, bootstrap=bootstrap, folder=state / "store")
    counts = Counts(ShardFacts(process))
    server = ShardServer(process.held, access, counts, host=host, port=port)
    told = told_of(pipeline.serve, "", f"{reached_at(host)}:{server.port}")
    durable.write(folder_of(state / "store", number) / "address.json", sealed(told))
    with telling(pipeline, state, f"shard-{number}", counts=counts):
        while not stopping.is_set():
            process.step()
    server.shutdown()
    process.close()


def run_learner(pipeline: Pipeline, bootstrap: str, state: Path) -> None:
    """Run the learner process."""
    from headrace.jobs.learner import LearnerProcess
    from headrace.jobs.serving.facts import LearnerFacts
    from headrace.jobs.serving.telling import telling

    stopping = _stopping()
    with running(pipeline, "learner", bootstrap, state) as run:
        process = LearnerProcess(pipeline, bootstrap=bootstrap, folder=state / "learner")
        with telling(pipeline, state, "learner", LearnerFacts(process)):
            while not stopping.is_set():
                process.step()
                run.version(process.version)
        process.save()
        process.close()


def run_history(pipeline: Pipeline, bootstrap: str, state: Path, number: int | None) -> None:
    """Compute what the store's file, or that of its shard of a number, lacks of history; end."""
    from headrace.jobs.evolve.lacking import made_good
    from headrace.jobs.shard import folder_of

    store = state / "store"
    own = store if number is None else folder_of(store, number)
    for each in made_good(pipeline, bootstrap, own / "store.duckdb", store / "backfills"):
        rows, until = each.backfill.rows, clock(each.backfill.until)
        _log.warning("the history of %s is computed, %d rows to %s", each.name, rows, until)


def run_topics(pipeline: Pipeline, bootstrap: str, state: Path) -> None:
    """Make the topics that are missing, and note which cluster the state folder goes with; end."""
    state.mkdir(parents=True, exist_ok=True)
    kafka.join(bootstrap, state)
    kafka.make_topics(pipeline, bootstrap, own=False, create_sources=False)


ROLES: dict[str, Role] = {
    "views": run_views,
    "labels": run_labels,
    "store": run_store,
    "learner": run_learner,
}


def run_flights(pipeline: Pipeline, bootstrap: str, state: Path, days: int) -> None:
    """Replay the flights as the pipeline's raw topics, then beat until stopped.

    ``replaying.json`` says how far it is; when all is sent, ``replay.json`` the time of the last
    beat.
    """

    def tell(events: int, at: int) -> None:
        write_json(state / "replaying.json", {"events": events, "at": at})

    stopping = _stopping()
    partitions = {source.topic: source.partitions for source in pipeline.sources.values()}
    last = replay(
        flights.messages(days),
        bootstrap=bootstrap,
        partitions=partitions,
        beat_ms=_HOUR_MS,
        rest_ms=rest_ms(pipeline),
        tell=tell,
    )
    write_json(state / "replay.json", {"days": days, "last_beat": last})
    with Writer(bootstrap) as writer:
        while not stopping.wait(_BEAT_SECONDS):
            beat(writer, partitions, last)


def run_beats(pipeline: Pipeline, bootstrap: str, state: Path, every_ms: int) -> None:
    """Tell every partition of every source that the time is now, less `every_ms`, until stopped.

    So a view whose source is quiet is complete all the same. A row may come that much later than
    its source's lateness allows.
    """
    del state
    stopping = _stopping()
    topics = [source.topic for source in pipeline.sources.values() if source.live]
    partitions = {topic: transport.partitions(bootstrap, topic) for topic in topics}
    with Writer(bootstrap) as writer:
        while not stopping.wait(every_ms / 1000):
            beat(writer, partitions, time.time_ns() // 1_000_000 - every_ms)


def rest_ms(pipeline: Pipeline) -> int:
    """Give how long the replay goes on after its last event, for its label to be learned."""
    return pipeline.outcome.within_ms + _DAY_MS
