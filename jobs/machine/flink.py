"""A local Flink in this process's JVM, and how a job of ours runs on it: recover, submit, wait.

Every job of headrace is SQL that the JVM runs; Python submits it and waits. State is checkpointed
to a folder; a job that starts again takes up the newest checkpoint that is complete. One that is
told to stop takes a savepoint, which is such a one: its sources have ended, all that they gave is
written. Sinks write at least once: what is written again after a recovery is the same panes, which
readers know by their end.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import shutil
import signal
import threading
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.jobs.machine.java import jars, java_home
from headrace.jobs.transport import Place, rewind_group
from headrace.operators.engines.flink import Kafka

if TYPE_CHECKING:
    from pyflink.table import TableEnvironment, TableResult

__all__ = ["digest_of", "newest_checkpoint", "run"]

HEAP = "1g"
"""Of the job's JVM, Flink's task manager included."""

_log = logging.getLogger(__name__)
_SAVEPOINTS = "savepoints"
_SAVE_SECONDS = 45
_LOOK_SECONDS = 0.5

_SETTINGS = {
    "table.local-time-zone": "UTC",
    # Shared views are planned and run once for all the sinks that read them.
    "table.optimizer.reuse-optimize-block-with-digest-enabled": "true",
    "table.optimizer.delta-join.strategy": "NONE",
    "table.optimizer.non-deterministic-update.strategy": "TRY_RESOLVE",
    "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
    "execution.checkpointing.num-retained": "2",
    "state.backend.type": "hashmap",
    "rest.bind-address": "127.0.0.1",
    "rest.address": "127.0.0.1",
    "web.submit.enable": "false",
    # A few tries for what passes; then the process ends, with the cause in its log, and the
    # supervisor tells it. An offset that is gone would otherwise be asked for in silence for ever.
    "restart-strategy.type": "exponential-delay",
    "restart-strategy.exponential-delay.attempts-before-reset-backoff": "4",
    "taskmanager.memory.network.max": "128m",
    "taskmanager.memory.managed.size": "64m",
}


def digest_of(statements: Sequence[str], inserts: Sequence[str], kafka: Kafka | None = None) -> str:
    """Hash a job's SQL, wherever its broker is and however it is spoken to."""
    text = "\0".join([*statements, *inserts])
    text = text.replace(kafka.place, Kafka("", kafka.group).place) if kafka else text
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def newest_checkpoint(folder: Path) -> Path | None:
    """Find the newest complete checkpoint below `folder`, over all the runs that wrote there.

    A savepoint is one, too. It is complete when its ``_metadata`` stands: Flink writes that last.
    """
    complete = (
        (path.stat().st_mtime_ns, int(match.group(1) or 0), path.parent)
        for path in folder.glob("*/*/_metadata")
        if (match := re.fullmatch(r"chk-(\d+)|savepoint-\w+-\w+", path.parent.name))
    )
    return max(complete, default=(0, 0, None))[2]


def run(
    name: str,
    statements: Sequence[str],
    inserts: Sequence[str],
    *,
    checkpoints: Path,
    kafka: Kafka | None = None,
    topics: Collection[str] = (),
    starts: Mapping[Place, int] | None = None,
    parallelism: int = 1,
    settings: Mapping[str, str] | None = None,
) -> None:
    """Run `inserts` as one job over the tables that `statements` define, until it ends.

    In a main thread SIGTERM, once the job is submitted, stops it with a savepoint.

    Parameters
    ----------
    name
        The job's name.
    checkpoints
        The folder for checkpoints; the newest complete one of a job of the same SQL is where it
        takes up.
    kafka, topics, starts
        Where there is no checkpoint, the group's offsets in these topics are set to `starts`, or
        to their beginning; without a `kafka` the tables say where they begin.
    settings
        Flink settings over the ones above.

    """
    # The names of the operators come from the plan: another SQL cannot take up a checkpoint.
    checkpoints = checkpoints / digest_of(statements, inserts, kafka)
    checkpoints.mkdir(parents=True, exist_ok=True)
    environment = _environment()
    chosen = {
        **_SETTINGS,
        "pipeline.name": name,
        "pipeline.jars": ";".join(path.as_uri() for path in jars("flink")),
        "parallelism.default": str(parallelism),
        "execution.checkpointing.interval": "5 s",
        "execution.checkpointing.dir": checkpoints.as_uri(),
        "rest.port": "0",
        **(settings or {}),
    }
    newest = newest_checkpoint(checkpoints)
    if newest is None and kafka is not None:
        rewind_group(kafka.bootstrap, kafka.group, topics, starts=starts)
    elif newest is not None:
        chosen["execution.state-recovery.path"] = newest.as_uri()
    config = environment.get_config()
    for key, value in chosen.items():
        config.set(key, value)
    for statement in statements:
        environment.execute_sql(statement)
    together = environment.create_statement_set()
    for insert in inserts:
        together.add_insert_sql(insert)
    _ended(together.execute(), checkpoints)


def _ended(job: TableResult, checkpoints: Path) -> None:
    """Wait for a job's end; raise what ended it. Where it is told to stop, keep its state."""
    told = threading.Event()
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, lambda *_: told.set()) if in_main else None
    while not told.wait(_LOOK_SECONDS):
        if _is_over(job):
            break
    else:
        _stop(job, checkpoints / _SAVEPOINTS)
        return
    if in_main:  # should it not be over: it did not answer in time
        signal.signal(signal.SIGTERM, before)
    job.wait()


def _is_over(job: TableResult) -> bool:
    from py4j.protocol import Py4JJavaError

    client = job.get_job_client()
    try:
        return client is None or client.get_job_status().result().is_globally_terminal_state()
    except Py4JJavaError:  # a local cluster is gone with its job
        return True


def _stop(job: TableResult, folder: Path) -> None:
    """Stop a job with a savepoint, and keep no older one; without, its last checkpoint stands."""
    from py4j.protocol import Py4JJavaError
    from pyflink.java_gateway import get_gateway

    before = list(folder.glob("savepoint-*"))
    jvm = get_gateway().jvm
    form = jvm.org.apache.flink.core.execution.SavepointFormatType.NATIVE
    seconds = jvm.java.util.concurrent.TimeUnit.SECONDS
    client = job.get_job_client()
    try:
        # PyFlink's own method calls one that Java's client does not have any more.
        stopping = client._j_job_client.stopWithSavepoint(False, folder.as_uri(), form)
        saved = stopping.get(_SAVE_SECONDS, seconds)
    except Py4JJavaError as error:
        _log.warning("stopped without a savepoint: %s", error.java_exception.toString())
        return
    _log.warning("stopped with the savepoint %s", saved)
    for older in before:
        with contextlib.suppress(OSError):
            shutil.rmtree(older)


def _environment() -> TableEnvironment:
    """Start the JVM; Java must be known before pyflink is imported, so it is imported here."""
    os.environ["JAVA_HOME"] = str(java_home())
    os.environ.setdefault("JVM_ARGS", f"-Xmx{HEAP} -XX:+UseSerialGC -XX:TieredStopAtLevel=4")
    from pyflink.table import EnvironmentSettings, TableEnvironment

    return TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
