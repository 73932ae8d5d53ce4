"""A job of ours: SQL that the JVM runs, submitted from Python."""

from __future__ import annotations

import hashlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headrace.jobs import transport
from headrace.jobs.machine import checkpoints
from headrace.jobs.machine.java import jars, java_home
from headrace.jobs.transport import Place, rewind_group
from headrace.operators.engines.flink import Kafka

if TYPE_CHECKING:
    from pyflink.table import TableEnvironment, TableResult

__all__ = [
    "HEAP",
    "Job",
    "connector",
    "digest_of",
    "environment",
    "executed",
    "submit",
    "told_to_stop",
]

HEAP = "1g"
"""Of the JVM that a job is submitted from; that of a local Flink's task manager, too."""
_LOOK_SECONDS = 0.5
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """What runs: `inserts`, as one job, over the tables that `statements` define.

    Parameters
    ----------
    name
        The job's name.
    kafka, topics, starts
        Where there is no checkpoint, the group's offsets in these topics are set to `starts`, or
        to their beginning; without a `kafka` the tables say where they begin.
    timed
        Those of the topics whose times panes wait for.

    """

    name: str
    statements: Sequence[str]
    inserts: Sequence[str]
    kafka: Kafka | None = None
    topics: Collection[str] = ()
    starts: Mapping[Place, int] = field(default_factory=dict)
    timed: Collection[str] = ()

    @property
    def digest(self) -> str:
        """Hash the SQL; neither the broker's place nor a parallelism is part of it."""
        return digest_of(self.statements, self.inserts, self.kafka)

    def rewind(self) -> None:
        """Set the group's offsets to where the job begins."""
        if self.kafka is not None and self.topics:
            rewind_group(self.kafka.bootstrap, self.kafka.group, self.topics, starts=self.starts)

    def at_most(self, parallelism: int) -> int:
        """Give the parallelism that it can have: no more than the fewest partitions of a topic.

        A reader without a partition has no watermark, and panes would wait for it for ever.
        """
        if self.kafka is None:
            return parallelism
        for topic in self.timed:
            found = transport.partitions(self.kafka.bootstrap, topic)
            if found < parallelism:
                parallelism = found
                _log.warning("%s runs %d-fold: %s has no more partitions", self.name, found, topic)
        return parallelism


def digest_of(statements: Sequence[str], inserts: Sequence[str], kafka: Kafka | None = None) -> str:
    """Hash a job's SQL, wherever its broker is and however it is spoken to."""
    text = "\0".join([*statements, *inserts])
    text = text.replace(kafka.place, Kafka("", kafka.group).place) if kafka else text
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def connector() -> str:
    """Give the URLs of the jars that a job needs besides Flink's own."""
    return ";".join(path.as_uri() for path in jars("flink"))


def _recovery(job: Job, settings: Mapping[str, str]) -> dict[str, str]:
    """Give the setting with which the job takes up its newest checkpoint; without one, rewind."""
    newest = checkpoints.newest(settings["execution.checkpointing.dir"])
    if newest is None:
        job.rewind()
        return {}
    return {"execution.state-recovery.path": newest}


def submit(job: Job, settings: Mapping[str, str]) -> TableResult:
    """Start a JVM, and the job from it, where its newest checkpoint was taken."""
    # Java must be known before pyflink is imported, which is only done here.
    os.environ["JAVA_HOME"] = str(java_home())
    os.environ.setdefault("JVM_ARGS", f"-Xmx{HEAP} -XX:+UseSerialGC -XX:TieredStopAtLevel=4")
    return executed(environment(), job, {**settings, **_recovery(job, settings)})


def environment() -> TableEnvironment:
    """Begin, in the JVM that is there, or a new one."""
    from pyflink.table import EnvironmentSettings, TableEnvironment

    return TableEnvironment.create(EnvironmentSettings.in_streaming_mode())


def executed(environment: TableEnvironment, job: Job, settings: Mapping[str, str]) -> TableResult:
    """Submit a job with these settings."""
    config = environment.get_config()
    for key, value in settings.items():
        config.set(key, value)
    for statement in job.statements:
        environment.execute_sql(statement)
    together = environment.create_statement_set()
    for insert in job.inserts:
        together.add_insert_sql(insert)
    return together.execute()


def told_to_stop(look: Callable[[], bool]) -> bool:
    """Look until SIGTERM comes, which gives True, or `look` says that it is over."""
    told = threading.Event()
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, lambda *_: told.set()) if in_main else None
    while not told.wait(_LOOK_SECONDS):
        if look():
            if in_main:  # should it not be over: it did not answer in time
                signal.signal(signal.SIGTERM, before)
            return False
    return True
