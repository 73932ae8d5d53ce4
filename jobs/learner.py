"""The learner process: predictions and examples in, versions and metrics out."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from headrace.jobs import assembly, telemetry, transport
from headrace.jobs.claims import Claim
from headrace.jobs.transport import Message, Place, Reader
from headrace.online_learning.learner import Learner
from headrace.online_learning.observer import Note
from headrace.online_learning.provenance import provenance
from headrace.pipelines.pipeline import Pipeline

__all__ = ["LearnerProcess", "give", "polled", "reading"]

_log = logging.getLogger(__name__)
_LOOK_SECONDS = 1.0
_POLL_MS = 100
_POLL_MESSAGES = 20_000
# So that a poll may give as many: what is made of 20,000 rows at once takes a quarter less CPU
# than what is made of the 4,000 that fit into Kafka's usual megabyte.
_FETCH_BYTES = 8 << 20


def reading(bootstrap: str, offsets: Mapping[Place, int]) -> Reader:
    """Read what a learner learns from, as much at once as pays."""
    return Reader(
        bootstrap, offsets, max_records=_POLL_MESSAGES, partition_fetch_bytes=_FETCH_BYTES
    )


def polled(reader: Reader) -> Mapping[Place, Sequence[Message]]:
    """Poll what a learner learns from."""
    return reader.poll(_POLL_MS, _POLL_MESSAGES)


def give(learner: Learner, pipeline: Pipeline, messages: Mapping[Place, Sequence[Message]]) -> None:
    """Give a learner one poll's messages of its two topics."""
    takers = {
        pipeline.predictions_topic: learner.predictions,
        pipeline.examples_topic: learner.examples,
    }
    for (topic, _), taken in messages.items():
        for values, following in _runs(taken):
            takers[topic](values, following)


def _runs(messages: Sequence[Message]) -> Iterator[tuple[list[bytes], int]]:
    """Give values whose offsets follow one another, each run with the offset behind its last.

    A store that begins leaves a mark without a value among them, which is no row but has an offset.
    """
    values = [message.value for message in messages]
    begin = 0
    for end in (*(i for i, value in enumerate(values) if value is None), len(values)):
        if run := [value for value in values[begin:end] if value is not None]:
            yield run, messages[end - 1].offset + 1
        begin = end + 1


class LearnerProcess:
    """Feeds a learner from Kafka and tells its metrics, until it is told to stop.

    Parameters
    ----------
    pipeline
        The declaration.
    bootstrap
        The broker.
    folder
        Where snapshots and versions are kept.

    Raises
    ------
    EnvironmentProblem
        When another learner has the folder, or one of another folder tells of the same stream.

    """

    def __init__(self, pipeline: Pipeline, *, bootstrap: str, folder: Path) -> None:
        self._pipeline = pipeline
        self.learner = Learner(
            assembly.learning(pipeline),
            folder,
            self._tell_notes,
            provenance=provenance(pipeline.digest),
        )
        offsets = self.learner.offsets
        start = {
            (pipeline.predictions_topic, 0): offsets["predictions"],
            (pipeline.examples_topic, 0): offsets["examples"],
        }
        self._writer = Claim(
            bootstrap,
            pipeline.claims_topic,
            "learner",
            folder=folder,
            places=[(pipeline.metrics_topic, 0)],
        )
        self._reader = reading(bootstrap, start)
        # What was told before a restart is not told again.
        last = transport.last(bootstrap, pipeline.metrics_topic, 0)
        value = last.value if last is not None else None
        newest = orjson.loads(value)[-1] if value else {"at": -1}
        self._told, self._noted = newest.get("told", newest["at"]), newest.get("noted", 0)
        self._learned = False  # since the last snapshot
        self.version = 0
        """The newest version that this process has published; 0 before the first."""
        self.alerts: dict[str, int] = {}
        """By name, how often something was told that somebody should look at."""
        self.status: Mapping[str, Any] = {}
        """The learner's, as it was less than a second before the last step."""
        self._look_at = 0.0

    def step(self) -> bool:
        """Learn from one poll's messages; say whether there were any.

        Raises
        ------
        Superseded
            When another learner has taken over.
        """
        self._look()
        self._writer.beat()
        messages = polled(self._reader)
        if not messages:
            return False
        with telemetry.span("learn") as told:
            give(self.learner, self._pipeline, messages)
            published = self.learner.advance().versions
            told["messages"] = sum(map(len, messages.values()))
            told["versions"] = len(published)
        if published:
            self.version = published[-1]
            self._tell()
        self._learned = not published
        return True

    def _look(self) -> None:
        """Note how the learner is, for others to ask while it learns."""
        now = time.monotonic()
        if now >= self._look_at:
            self.status = self.learner.status()
            self._look_at = now + _LOOK_SECONDS

    def lag(self) -> dict[str, int]:
        """Count what is in each of its topics and not learned yet; any thread may ask."""
        read, ends = self.read(), self._reader.highwater()
        return {t: max(0, ends[t, 0] - read[t]) for t in read if (t, 0) in ends}

    def read(self) -> dict[str, int]:
        """Give the next offset of each of its topics; any thread may ask."""
        read: Mapping[str, int] = self.status.get("offsets", {})
        topics = {
            "predictions": self._pipeline.predictions_topic,
            "examples": self._pipeline.examples_topic,
        }
        return {topic: read[name] for name, topic in topics.items() if name in read}

    def save(self) -> None:
        """Save what was learned since the last snapshot, as for a clean stop."""
        if self._learned:
            self.learner.snapshot_now()

    def _tell_notes(self, notes: Sequence[Note], first: int) -> None:
        """Send what the learner noted, each note once: a restart gives the same ones again."""
        fresh = notes[max(0, self._noted - first) :]
        self._noted = max(self._noted, first + len(notes))
        for note in fresh:
            if note.alert:
                self.alerts[note.name] = self.alerts.get(note.name, 0) + 1
                at = datetime.fromtimestamp(note.at / 1000, UTC).isoformat()
                _log.warning("%s at %s: %s", note.name, at, note.cause)
        if fresh:
            self._send([note.row for note in fresh])

    def _send(self, rows: list[dict[str, Any]]) -> None:
        """Send rows of the metrics table; the last one says how far all is told."""
        rows[-1] |= {"told": self._told, "noted": self._noted}
        self._writer.send(self._pipeline.metrics_topic, orjson.dumps(rows), partition=0)
        self._writer.flush()

    def _tell(self) -> None:
        """Send the scores as they stand: rows of the store's metrics table."""
        status = self.learner.status()
        at = status["through_ms"]
        if at <= self._told:
            return
        scores = ("prequential", "served", "prequential_all", "served_all", "staleness")
        told = {score: status[score] for score in scores} | status["rivals"]
        told["gate"] = status["gate"]
        for number, each in status.get("challengers", {}).items():
            beside = ("labels", "log_loss", "evidence")
            told[f"challenger.{number}"] = {name: each[name] for name in beside}
        rows = [
            {"at": at, "name": f"{score}.{name}", "value": value}
            for score, values in told.items()
            for name, value in values.items()
            if value is not None
        ]
        labels = ("pending", "unlabelled", "unfit_labels")
        counts = ("predictions", "examples", *labels, "versions", "restarts")
        rows += [{"at": at, "name": f"learner.{name}", "value": status[name]} for name in counts]
        self._told = at
        self._send(rows)

    def close(self) -> None:
        """Let go of everything; what is since the last snapshot will be learned again."""
        self._reader.close()
        self._writer.close()
        self.learner.close()
