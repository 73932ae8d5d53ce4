"""headrace up: everything of a pipeline, until it is told to stop.

::

    lock ─► Kafka ─► topics ─► history of files ─► views, labels, store, learner ─► it answers
                                                       │                                │
                                Ctrl-C, SIGTERM, down ─┴─► the last first, savepoint ◄──┴─ a loop
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from headrace.jobs.evolve import handover, plan, raw_log
from headrace.jobs.evolve.backfill import backfilled
from headrace.jobs.lifecycle.board import STOPPED, Board, Posted
from headrace.jobs.machine import local
from headrace.jobs.machine.flink import FLINK_JOBS
from headrace.jobs.machine.local import Local
from headrace.jobs.machine.processes import Status
from headrace.jobs.machine.state import StateFolder
from headrace.jobs.machine.waiting import wait_until
from headrace.operators.errors import HeadraceError, StoreError
from headrace.operators.streams.stream import roots
from headrace.pipelines.pipeline import Pipeline

__all__ = ["Asked", "Seen", "Tell", "up"]

_LOOK_SECONDS = 0.5
_ASK_SECONDS = 2.0


@dataclass(frozen=True)
class Asked:
    """What is asked of a start besides the pipeline.

    Parameters
    ----------
    kafka
        The address of another Kafka than the file's.
    create_topics
        Whether to make topics of sources in a Kafka that is not the pipeline's own.
    beat_ms
        How often each source is told that time has passed; None is never.
    flink
        The address of another Flink than the file's.

    """

    kafka: str | None = None
    create_topics: bool = False
    beat_ms: int | None = None
    flink: str | None = None


@dataclass(frozen=True)
class Seen:
    """One look at what runs: what is posted, each process, and the store's status."""

    posted: Posted
    processes: Mapping[str, Status]
    status: Mapping[str, Any] | None = None


Tell = Callable[[Seen], None]


def up(pipeline: Pipeline, folder: StateFolder, asked: Asked, tell: Tell) -> None:
    """Run a pipeline in a state folder that is ours until SIGINT or SIGTERM.

    Raises
    ------
    CrashLoop
        Where a process ended too often.
    HeadraceError
        Where something is missing before anything can run.

    """
    handover.begin(pipeline, folder.path)
    board, ended = Board(folder), STOPPED
    pipeline = pipeline.on_flink(asked.flink)
    started: Local | None = None
    where, create = asked.kafka, asked.create_topics
    try:
        with local.begun(pipeline, folder.path, given=where, create_topics=create) as started:
            _take_history(started)
            _run(started, asked, board, tell)
    except HeadraceError as error:
        ended = str(error)
        raise
    except (KeyboardInterrupt, SystemExit):  # as the supervisor tells SIGINT and SIGTERM
        pass
    finally:
        if started is not None:
            last = replace(_posted(started), ended=ended)
            board.post(last)
            tell(Seen(last, started.supervisor.status()))


def _run(running: Local, asked: Asked, board: Board, tell: Tell) -> None:
    """Start the processes, and look at them until something ends that."""
    for role in local.roles_of(running.pipeline):
        running.start(role, running.arguments(role))
    _beat(running, asked)
    status: Mapping[str, Any] | None = None
    ready, ask_at = False, 0.0

    def look() -> bool:
        nonlocal running, status, ready, ask_at
        running.supervisor.check()
        if (declared := handover.due(running.pipeline, running.state)) is not None:
            running = _taken_over(running, declared, asked)
            status, ready = None, False
        if time.monotonic() >= ask_at:
            status = _status(running)
            ask_at = time.monotonic() + _ASK_SECONDS
        if status is not None and not ready:
            ready = True
            plan.note_applied(running.pipeline, running.state)
            handover.done(running.state)
        told = replace(_posted(running), ready=ready)
        board.post(told)
        tell(Seen(told, running.supervisor.status(), status))
        return False

    wait_until(look, float("inf"), "the end", every_seconds=_LOOK_SECONDS)


def _beat(running: Local, asked: Asked) -> None:
    if asked.beat_ms is not None:
        running.start("beat", [*running.arguments("beat"), "--every-ms", str(asked.beat_ms)])


def _taken_over(running: Local, declared: Pipeline, asked: Asked) -> Local:
    """Go on as it is declared now: Kafka stays, and a job whose SQL is the same; the store is last.

    So it serves until the new jobs are on their way, and is away for as long as it takes to open.
    """
    before, now = (plan.facts(each) for each in (running.pipeline, declared))
    jobs = [job for job in FLINK_JOBS if before[f"{job}_job"] != now[f"{job}_job"]]
    new = replace(running, pipeline=declared.on_flink(asked.flink))
    running.supervisor.stop("beat")
    for role in (*jobs, "learner", *new.pipeline.store_roles):
        running.supervisor.stop(role)
        new.start(role, new.arguments(role))
    _beat(new, asked)
    return new


def _status(running: Local) -> Mapping[str, Any] | None:
    """Ask the store; None while it does not answer."""
    if not running.client.healthy():
        return None
    try:
        return running.client.status()
    except StoreError:  # it is being started again
        return None


def _posted(running: Local) -> Posted:
    pipeline = running.pipeline
    try:
        store: str | None = running.client.address()
    except StoreError:
        store = None
    return Posted(
        pid=os.getpid(),
        pipeline=pipeline.name,
        path=str(pipeline.path.absolute()),
        kafka=running.bootstrap,
        topics={name: each.topic for name, each in pipeline.sources.items() if each.live},
        store=store,
        flink=pipeline.flink.rest,
    )


def _take_history(running: Local) -> None:
    """Compute what is in files, before a store is there that would ask for it."""
    pipeline, folder = running.pipeline, running.state / "store"
    if (folder / "store.duckdb").exists():  # what is new since is `apply`'s
        return
    of_files = {
        name: view
        for name, view in pipeline.views.items()
        if any(root.files is not None for root in roots(view.source))
    }
    if not any(source.files is not None for source in pipeline.sources.values()):
        return
    topics = raw_log.Topics(running.bootstrap)
    backfilled(pipeline, of_files, topics.log, folder / "backfills")
