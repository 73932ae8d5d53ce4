"""A job on a session cluster: submitted once, found again, stopped with a savepoint.

::

    session.json: where, which job ──► another address? it is stopped there
    names of the cluster's jobs ─────► ours: watched; of other SQL or parallelism: stopped
                                       none: its id is noted, then it is submitted
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

from headrace.jobs import transport
from headrace.jobs.machine import checkpoints
from headrace.jobs.machine.checkpoints import SAVEPOINTS
from headrace.jobs.machine.job import Job, submit, told_to_stop
from headrace.jobs.machine.session import OVER, Session
from headrace.jobs.machine.state import read_json, write_json
from headrace.operators.errors import EnvironmentProblem

__all__ = ["find", "leave", "noted_job", "run_there", "watch"]

_log = logging.getLogger(__name__)
_PATIENCE_SECONDS = 60.0
_NOTE = "session.json"
_FIXED_ID = "$internal.pipeline.job-id"


def noted_job(folder: Path) -> str | None:
    """Give the id of the job that runs on a session cluster; None where none does.

    >>> noted_job(Path("/nowhere"))
    """
    note = folder / _NOTE
    return str(read_json(note)["job"]) if note.exists() else None


def run_there(
    job: Job, session: Session, settings: Mapping[str, str], *, root: str, folder: Path
) -> bool:
    """Have the job run on a session cluster: that which is there already, or else a new one.

    `settings` are those with which a new one is submitted; checkpoints are below `root`, and in
    `folder` it is noted which job it is.
    """
    own = settings["execution.checkpointing.dir"]
    try:
        standing = _standing(job, session, settings, root=root, folder=folder)
    except SystemExit:  # told to stop, when the cluster may have it already
        noted = noted_job(folder)
        if noted is not None and session.state(noted) not in (None, *OVER):
            _stop(session, noted, own)
            _forget(folder)
        raise
    _log.warning("it is the job %s of http://%s, where its logs are", standing, session.rest)
    return watch(session, standing, own, folder)


def _standing(
    job: Job, session: Session, settings: Mapping[str, str], *, root: str, folder: Path
) -> str:
    """Give the id of the job that runs there, found or submitted."""
    parallelism = int(settings["parallelism.default"])
    own = settings["execution.checkpointing.dir"]
    session.check(parallelism)
    standing = find(job, session, parallelism, root)
    if standing is not None:
        _note(folder, session, standing, own)
        return standing
    session.wait_slots(parallelism)
    before = noted_job(folder)
    unknown = before is not None and session.state(before) is None
    new = before if before and unknown else uuid.uuid4().hex
    _note(folder, session, new, own)
    named = {"pipeline.name": _called(job) + _told(job, parallelism), _FIXED_ID: new}
    _submit(job, session, {**settings, **named}, folder=folder)
    return new


def _note(folder: Path, session: Session, job: str, own: str) -> None:
    write_json(folder / _NOTE, {"flink": session.rest, "job": job, "checkpoints": own})


def _forget(folder: Path) -> None:
    (folder / _NOTE).unlink(missing_ok=True)


def _called(job: Job) -> str:
    """Name a job so that only a job of the same pipeline on the same Kafka begins like that."""
    where = "" if job.kafka is None else f" on {transport.cluster_id(job.kafka.bootstrap)}"
    return f"{job.name}{where}, SQL "


def _told(job: Job, parallelism: int) -> str:
    """Say what a job's name ends with."""
    return f"{job.digest}, {parallelism}-fold"


def find(job: Job, session: Session, parallelism: int, root: str) -> str | None:
    """Find the job where it runs; one of other SQL or parallelism is stopped."""
    standing, called = None, _called(job)
    for each in session.jobs():
        other, _, told = each.name.partition(called)
        if other or not told or each.over:
            continue
        if told == _told(job, parallelism):
            standing = each.id
        else:
            _stop(session, each.id, f"{root}/{told.partition(',')[0]}")
    return standing


def _submit(job: Job, session: Session, settings: Mapping[str, str], *, folder: Path) -> None:
    """Submit the job under the id that was noted before.

    Whoever was killed meanwhile submits it under the same, and the cluster refuses a second one.
    """
    from py4j.protocol import Py4JJavaError
    from pyflink.java_gateway import get_gateway

    host, _, port = session.rest.rpartition(":")
    there = {
        "execution.target": "remote",
        "rest.address": host.strip("[]"),
        "rest.port": port,
    }
    try:
        submit(job, {**settings, **there})
    except Py4JJavaError:
        if session.state(settings[_FIXED_ID]) is None:
            _forget(folder)
            raise
    get_gateway().shutdown()  # its JVM has nothing more to do


def watch(session: Session, job: str, own: str, folder: Path) -> bool:
    """Wait until a job has ended, or this process is told to stop it; raise what ended it."""
    state: str | None = "RUNNING"
    answered = time.monotonic()

    def over() -> bool:
        nonlocal state, answered
        try:
            state, answered = session.state(job), time.monotonic()
        except EnvironmentProblem:
            if time.monotonic() > answered + _PATIENCE_SECONDS:
                raise
        return state in (None, *OVER)

    if told_to_stop(over):
        _stop(session, job, own)
        _forget(folder)
        return False
    if state is not None:
        _forget(folder)
    if state == "FINISHED":
        return True
    asked = f"asked for the job {job} at {session.rest} to run"
    if state is None:
        raise EnvironmentProblem(asked, "the cluster has lost it", "see why it was started again")
    found = "somebody has cancelled it" if state == "CANCELED" else session.cause(job)
    raise EnvironmentProblem(asked, found, "repair the cause; it takes up its last checkpoint")


def _stop(session: Session, job: str, own: str) -> None:
    """Stop a job of a session cluster with a savepoint, and keep no older one."""
    before = checkpoints.savepoints(own)
    saved = session.stop(job, f"{own}/{SAVEPOINTS}")
    if saved is None:
        _log.warning("stopped without a savepoint")
        return
    _log.warning("stopped with the savepoint %s", saved)
    checkpoints.forget(own, before)


def leave(folder: Path, rest: str | None) -> None:
    """Stop the job on a cluster where it is not to run any more.

    Raises
    ------
    EnvironmentProblem
        Where that cluster does not answer.

    """
    note = folder / _NOTE
    if not note.exists():
        return
    told = read_json(note)
    if told["flink"] == rest:
        return
    session = Session(told["flink"])
    try:
        state = session.state(told["job"])
    except EnvironmentProblem as error:
        found = f"the job was there last; {error.found}"
        do = f"start it, or, where it is gone for good, remove {note}"
        raise EnvironmentProblem(error.asked, found, do) from error
    if state not in (None, *OVER):
        _stop(session, told["job"], told["checkpoints"])
    note.unlink()
