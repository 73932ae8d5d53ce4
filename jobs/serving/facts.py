"""What the learner, Flink's jobs and the supervisor tell at `/metrics` when they are asked."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from headrace.jobs import transport
from headrace.jobs.machine.flink import session_of
from headrace.jobs.machine.lag import CONNECT_SECONDS, waited
from headrace.jobs.machine.processes import Supervisor
from headrace.jobs.machine.session import Checkpoints
from headrace.jobs.machine.session_job import noted_job
from headrace.jobs.machine.state import disk
from headrace.jobs.serving.metrics import (
    counter,
    gauge,
    lag_messages,
    read_messages,
    written_messages,
)
from headrace.operators.errors import HeadraceError
from headrace.pipelines.pipeline import Pipeline

if TYPE_CHECKING:
    from headrace.jobs.learner import LearnerProcess
    from headrace.jobs.shard import ShardProcess

__all__ = ["JobFacts", "LearnerFacts", "ShardFacts", "SupervisorFacts"]

_SCORED = ("prequential", "served", "prequential_all", "served_all", "staleness")
_COUNTED = ("predictions", "examples", "versions", "restarts", "unlabelled", "unfit_labels")


class LearnerFacts(Collector):
    """How far a learner is, how good, and what it saved."""

    def __init__(self, process: LearnerProcess) -> None:
        self._process = process

    def collect(self) -> Iterator[Metric]:
        """Give them."""
        status = self._process.status
        counted = (((name,), status.get(name, 0)) for name in _COUNTED)
        yield counter("learner_counted", "What the learner counted.", counted, "what")
        pending = status.get("pending", 0)
        yield gauge("learner_pending", "Decisions that wait for their label.", [((), pending)])
        scored = {name: status.get(name, {}) for name in _SCORED} | status.get("rivals", {})
        scores = {
            (of, name): value
            for of, score in scored.items()
            for name, value in score.items()
            if value is not None
        }
        yield gauge("score", "Scores of the model and of its rivals.", scores.items(), "of", "name")
        alerts = (((name,), count) for name, count in dict(self._process.alerts).items())
        yield counter("learner_alerts", "What somebody should look at.", alerts, "name")
        yield read_messages({(topic, 0): n for topic, n in self._process.read().items()})
        yield lag_messages({(topic, 0): n for topic, n in self._process.lag().items()})
        saved = self._process.learner.saved
        if saved is not None:
            age = time.time() - saved.at
            yield gauge("snapshot_age_seconds", "Since a snapshot was saved.", [((), age)])
            yield gauge("snapshot_seconds", "How long that took.", [((), saved.seconds)])
            yield gauge("snapshot_bytes", "How large it is.", [((), saved.size_bytes)])


class ShardFacts(Collector):
    """How far a shard of the store is, and how far behind its partitions."""

    def __init__(self, process: ShardProcess) -> None:
        self._process = process

    def collect(self) -> Iterator[Metric]:
        """Give them."""
        yield read_messages(self._process.read)
        yield lag_messages(self._process.lag())
        again = self._process.store.repeated_panes
        about = "Panes that came again, and were passed over."
        yield counter("repeated_panes", about, [((), again)])


def _written_by(pipeline: Pipeline, job: str) -> set[str]:
    """Name the topics that a job of Flink's writes."""
    if job == "labels":
        return {pipeline.examples_topic}
    views = {pipeline.view_topic(view) for view in pipeline.streamed.values()}
    return {*views, pipeline.decisions_topic, pipeline.dead_topic, pipeline.late_topic}


class JobFacts(Collector):
    """How far a job of Flink's is behind its topics, and how its checkpoints are.

    Parameters
    ----------
    pipeline
        Whose job it is.
    job
        ``views`` or ``labels``.
    state
        The state folder.
    bootstrap
        The broker: the job's offsets are written there with each checkpoint.

    """

    def __init__(self, pipeline: Pipeline, job: str, state: Path, bootstrap: str) -> None:
        self._pipeline, self._job, self._bootstrap = pipeline, job, bootstrap
        self._folder = state / job
        sources = pipeline.sources.values()
        self._stamped = {source.topic for source in sources if source.live}
        self._writes = _written_by(pipeline, job)

    def collect(self) -> Iterator[Metric]:
        """Give them; of what does not answer, nothing."""
        for part in (self._flink, self._kafka):
            with contextlib.suppress(HeadraceError):
                yield from part()

    def _flink(self) -> Iterator[Metric]:
        session = session_of(self._folder, self._pipeline.flink)
        job = noted_job(self._folder) or f"{self._pipeline.name} {self._job}"
        running = session and session.running(job)
        if not session or not running:
            return
        yield from _checkpoints(session.checkpoints(running))
        watermark = session.watermark_ms(running)
        if watermark is not None:
            about = "How far the job is in event time, in seconds since 1970."
            yield gauge("job_watermark_seconds", about, [((), watermark / 1000)])
            behind, about = time.time() - watermark / 1000, "How far that is behind the clock."
            yield gauge("job_watermark_lag_seconds", about, [((), behind)])

    def _kafka(self) -> Iterator[Metric]:
        done = transport.committed(
            self._bootstrap, f"{self._pipeline.name}.{self._job}", connect_seconds=CONNECT_SECONDS
        )
        topics = {topic for topic, _ in done}
        every = topics | self._writes
        ends = transport.ends(self._bootstrap, every, connect_seconds=CONNECT_SECONDS)
        yield written_messages({p: end for p, end in ends.items() if p[0] in self._writes})
        behind = {place: max(0, ends[place] - offset) for place, offset in done.items()}
        yield read_messages(done)
        yield lag_messages(behind)
        seconds: dict[tuple[str], float] = {}
        for topic in topics & self._stamped:
            waits = {p: done[p] for p in done if p[0] == topic and behind[p]}
            seconds[(topic,)] = waited(self._bootstrap, waits, time.time())
        about = "Since when the first of them waits."
        yield gauge("lag_seconds", about, seconds.items(), "topic")


def _checkpoints(found: Checkpoints) -> Iterator[Metric]:
    counts = {("completed",): found.completed, ("failed",): found.failed}
    about = "Checkpoints since the job was started."
    yield counter("checkpoints", about, counts.items(), "how")
    about = "How often Flink began the job again itself."
    yield counter("job_restarts", about, [((), found.restarts)])
    if found.at is None or found.seconds is None or found.size_bytes is None:
        return
    age, about = time.time() - found.at, "Since the last checkpoint was complete."
    yield gauge("checkpoint_age_seconds", about, [((), age)])
    yield gauge("checkpoint_seconds", "How long that took.", [((), found.seconds)])
    yield gauge("checkpoint_bytes", "How large it is.", [((), found.size_bytes)])


class SupervisorFacts(Collector):
    """What became of each process, and how full the disk is.

    Parameters
    ----------
    supervisor
        Knows what became of them.
    state
        The state folder.

    """

    def __init__(self, supervisor: Supervisor, state: Path) -> None:
        self._supervisor, self._state = supervisor, state

    def collect(self) -> Iterator[Metric]:
        """Give them."""
        found = self._supervisor.status()
        up = {(name,): float(each.state == "running") for name, each in found.items()}
        yield gauge("process_up", "Whether a process runs.", up.items(), "name")
        restarts = (((name,), each.restarts) for name, each in found.items())
        yield counter("process_restarts", "How often it was started again.", restarts, "name")
        peaks = {(name,): float(each.peak_rss_bytes) for name, each in found.items()}
        about = "The most memory that it and what it started had."
        yield gauge("process_peak_memory_bytes", about, peaks.items(), "name")
        sizes = disk(self._state)
        free = sizes.pop("free")
        parts = {(part,): float(size) for part, size in sizes.items()}
        yield gauge("disk_bytes", "The size of a part of the state folder.", parts.items(), "part")
        yield gauge("disk_free_bytes", "What is free beside it.", [((), free)])
