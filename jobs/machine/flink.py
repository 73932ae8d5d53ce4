"""A job of ours on Flink: where it runs, where it takes up, how it ends.

::

    flink: {rest: …}?  no ──► a Flink in this process's JVM, which ends with it
                      yes ──► a session cluster: the job goes on when this process has gone, and
                              one that is started anew finds it again, and submits no second
    started by Flink's own PythonDriver ──► submitted as the deployment says, and left to it

Every job of headrace is SQL that the JVM runs; Python submits it and waits. State is checkpointed
to a folder; a job that starts again takes up the newest checkpoint that is complete. One that is
told to stop takes a savepoint, which is such a one: its sources have ended, all that they gave is
written. Sinks write at least once: what is written again after a recovery is the same panes, which
readers know by their end.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from headrace.jobs import transport
from headrace.jobs.machine import checkpoints, session_job
from headrace.jobs.machine.broker import HOST, free_ports
from headrace.jobs.machine.checkpoints import SAVEPOINTS
from headrace.jobs.machine.job import (
    Job,
    connector,
    environment,
    executed,
    submit,
    told_to_stop,
)
from headrace.jobs.machine.session import Session
from headrace.jobs.machine.state import read_json, write_json
from headrace.operators.errors import EnvironmentProblem
from headrace.pipelines.pipeline import Flink

if TYPE_CHECKING:
    from pyflink.table import TableConfig, TableResult

__all__ = ["FLINK_JOBS", "driven", "run", "session_of"]

FLINK_JOBS = ("views", "labels")
"""Those of the roles that are jobs of Flink's."""

_log = logging.getLogger(__name__)
_SAVE_SECONDS = 45
_REST = "rest.json"
"""Of a job's folder: where the Flink in its process is asked."""
_DRIVEN = "PYFLINK_GATEWAY_PORT"
"""In the environment where a Flink has started this process, and its JVM is there already."""

_RECOVERY = ("execution.state-recovery.path", "execution.savepoint.path")
"""By which a deployment gives a job the state that it is to take up; the second is the older."""

_SETTINGS = {
    "table.local-time-zone": "UTC",
    # Shared views are planned and run once for all the sinks that read them.
    "table.optimizer.reuse-optimize-block-with-digest-enabled": "true",
    "table.optimizer.delta-join.strategy": "NONE",
    "table.optimizer.non-deterministic-update.strategy": "TRY_RESOLVE",
    "execution.checkpointing.interval": "5 s",
    "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
    "execution.checkpointing.num-retained": "2",
    # A few tries for what passes; then the process ends, with the cause in its log, and the
    # supervisor tells it. An offset that is gone would otherwise be asked for in silence for ever.
    "restart-strategy.type": "exponential-delay",
    "restart-strategy.exponential-delay.attempts-before-reset-backoff": "4",
}
_LOCAL = {
    "state.backend.type": "hashmap",
    "rest.bind-address": "127.0.0.1",
    "rest.address": "127.0.0.1",
    "web.submit.enable": "false",
    "taskmanager.memory.network.max": "128m",
    "taskmanager.memory.managed.size": "64m",
}


def run(
    job: Job,
    *,
    folder: Path,
    flink: Flink | None = None,
    settings: Mapping[str, str] | None = None,
) -> bool:
    """Run a job until it ends; say whether it came to its own end.

    In a main thread SIGTERM, once the job is submitted, stops it with a savepoint. Where a Flink
    started this process, the job is submitted and left to that.

    Parameters
    ----------
    job
        What runs.
    folder
        What is kept of it here; its checkpoints, too, unless `flink` says where these are.
    flink
        Where it runs.
    settings
        Flink settings over the ones above.

    Raises
    ------
    EnvironmentProblem
        Where a session cluster cannot run it, or ends it.

    """
    flink = flink or Flink()
    if driven():
        _submit_driven(job)
        return False
    folder.mkdir(parents=True, exist_ok=True)
    root = _root(job, flink, folder)
    # The names of the operators come from the plan: another SQL cannot take up a checkpoint.
    own = f"{root}/{job.digest}"
    session_job.leave(folder, flink.rest)
    parallelism = job.at_most(flink.parallelism)
    chosen = {
        **_SETTINGS,
        "pipeline.jars": connector(),
        "parallelism.default": str(parallelism),
        "execution.checkpointing.dir": own,
    }
    if flink.rest is None:
        # Chosen here and not by Flink: what asks it should know the port while it comes up.
        port = free_ports(1)[0]
        write_json(folder / _REST, {"rest": f"{HOST}:{port}"})
        local = {**_LOCAL, "rest.port": str(port), "pipeline.name": job.name}
        given = {**chosen, **local, **(settings or {})}
        return _ended(submit(job, given), own)
    given = {**chosen, **(settings or {})}
    return session_job.run_there(job, Session(flink.rest), given, root=root, folder=folder)


def session_of(folder: Path, flink: Flink) -> Session | None:
    """Give the REST interface of the Flink that runs a job, or did last; None before there was one.

    >>> session_of(Path("/nowhere"), Flink())
    """
    if flink.rest is not None:
        return Session(flink.rest)
    path = folder / _REST
    return Session(str(read_json(path)["rest"])) if path.exists() else None


def driven() -> bool:
    """Say whether a Flink started this process: it goes on with the job when the process has ended.

    >>> driven()
    False
    """
    return _DRIVEN in os.environ


def _root(job: Job, flink: Flink, folder: Path) -> str:
    """Give the URI below which checkpoints of the job are, one folder for each SQL."""
    if flink.checkpoints is None or job.kafka is None:
        return (folder / "checkpoints").absolute().as_uri()
    name = job.name.replace(" ", "-")
    return f"{flink.checkpoints}/{transport.cluster_id(job.kafka.bootstrap)}/{name}"


def _submit_driven(job: Job) -> None:
    """Submit the job from the JVM that is there; what the deployment sets is its own matter."""
    from pyflink.common import Configuration

    begun = environment()
    config = begun.get_config()
    ours = {**_SETTINGS, "pipeline.name": job.name}
    left = {name: value for name, value in ours.items() if not config.get(name, "")}
    # A list of Flink's may be written as YAML.
    theirs = Configuration.parse_list_value(config.get("pipeline.jars", ""))
    left["pipeline.jars"] = ";".join([*theirs, connector()])
    parallelism = int(config.get("parallelism.default", "1"))
    if (widest := job.at_most(parallelism)) < parallelism:
        asked = f"asked for {job.name} at parallelism {parallelism}"
        found = f"a topic that it reads has {widest} partitions"
        raise EnvironmentProblem(asked, found, f"set the deployment's parallelism to {widest}")
    if not _recovers(job, config):
        job.rewind()
    executed(begun, job, left)


def _recovers(job: Job, config: TableConfig) -> bool:
    """Say whether a deployment gives the job a state of its own SQL; take another's out.

    Below `execution.checkpointing.dir` each SQL has a folder: the names of its operators come from
    the plan, and of another's state some would be taken for its own.
    """
    given = next(filter(None, (config.get(key, "") for key in _RECOVERY)), "")
    if not given or job.digest in PurePosixPath(urlsplit(given).path).parts:
        return bool(given)
    _log.warning("%s begins anew: %s is the state of another SQL", job.name, given)
    for key in _RECOVERY:
        # PyFlink's own TableConfig has no way to unset.
        config._j_table_config.getRootConfiguration().removeKey(key)
    return False


def _ended(job: TableResult, own: str) -> bool:
    """Wait for a job's end; raise what ended it. Where it is told to stop, keep its state."""
    if told_to_stop(lambda: _is_over(job)):
        _stop(job, own)
        return False
    job.wait()
    return True


def _is_over(job: TableResult) -> bool:
    from py4j.protocol import Py4JJavaError

    client = job.get_job_client()
    try:
        return client is None or client.get_job_status().result().is_globally_terminal_state()
    except Py4JJavaError:  # a local cluster is gone with its job
        return True


def _stop(job: TableResult, own: str) -> None:
    """Stop a job with a savepoint, and keep no older one; without, its last checkpoint stands."""
    from py4j.protocol import Py4JJavaError
    from pyflink.java_gateway import get_gateway

    before = checkpoints.savepoints(own)
    jvm = get_gateway().jvm
    form = jvm.org.apache.flink.core.execution.SavepointFormatType.NATIVE
    seconds = jvm.java.util.concurrent.TimeUnit.SECONDS
    client = job.get_job_client()
    try:
        # PyFlink's own method calls one that Java's client does not have any more.
        stopping = client._j_job_client.stopWithSavepoint(False, f"{own}/{SAVEPOINTS}", form)
        saved = stopping.get(_SAVE_SECONDS, seconds)
    except Py4JJavaError as error:
        _log.warning("stopped without a savepoint: %s", error.java_exception.toString())
        return
    _log.warning("stopped with the savepoint %s", saved)
    checkpoints.forget(own, before)
