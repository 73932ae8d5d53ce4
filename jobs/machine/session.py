"""A Flink that is elsewhere: a session cluster, by its REST interface.

A job goes on there when whoever submitted it has gone; it is found again by its name.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from importlib import metadata
from typing import Any

from headrace.jobs.machine.waiting import wait_until
from headrace.operators.errors import EnvironmentProblem

__all__ = ["OVER", "Checkpoints", "JobStatus", "Session", "Standing"]

OVER = frozenset(("FINISHED", "CANCELED", "FAILED"))
"""The states of a job that no other follows."""
_SECONDS = 10.0
_SAVE_SECONDS = 40.0
_SLOT_SECONDS = 60.0
_END_SECONDS = 15.0
_TOLD = 300
_NO_WATERMARK, _LAST_WATERMARK = -(1 << 63), (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Standing:
    """A job that the cluster has, and how it is."""

    id: str
    name: str
    state: str

    @property
    def over(self) -> bool:
        """Say whether it has ended."""
        return self.state in OVER


@dataclass(frozen=True, slots=True)
class JobStatus:
    """How a job is: since when, how parallel, how old its last checkpoint is, what ended it."""

    state: str
    seconds: float = 0.0
    parallelism: int = 0
    checkpoint_age_seconds: float | None = None
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """Of a job: how many were completed and failed, and how often it began again itself.

    `at`, in seconds since 1970, `seconds` and `size_bytes` are of the last that is complete.
    """

    completed: int
    failed: int
    restarts: int
    at: float | None
    seconds: float | None
    size_bytes: int | None


class Session:
    """A session cluster.

    Parameters
    ----------
    rest
        ``host:port`` of its REST interface.

    """

    def __init__(self, rest: str) -> None:
        self.rest = rest

    def check(self, parallelism: int) -> str:
        """Say what is there.

        Raises
        ------
        EnvironmentProblem
            Where nobody answers, it is another Flink than ours, or it has too few slots.

        """
        told = self.ask("/overview")
        ours, theirs = metadata.version("apache-flink"), str(told["flink-version"])
        if theirs.split(".")[:2] != ours.split(".")[:2]:
            asked = f"asked for Flink {ours} at {self.rest}"
            do = f"use a cluster of Flink {ours}, or leave `flink: rest` out"
            raise EnvironmentProblem(asked, f"it is Flink {theirs}", do)
        if told["slots-total"] < parallelism:
            raise self._slots(parallelism, f"it has {told['slots-total']}")
        return (
            f"Flink {theirs} answers at {self.rest}, with {told['slots-available']} of "
            f"{told['slots-total']} slots free on {told['taskmanagers']} TaskManagers"
        )

    def wait_slots(self, parallelism: int) -> None:
        """Wait until so many slots are free: those of a job that was stopped come back late."""
        told: Mapping[str, int] = {}

        def free() -> bool:
            nonlocal told
            told = self.ask("/overview")
            return told["slots-available"] >= parallelism

        try:
            wait_until(free, _SLOT_SECONDS, "free slots", every_seconds=0.2)
        except EnvironmentProblem as error:
            if not told:
                raise
            found = f"{told['slots-available']} of its {told['slots-total']} are free"
            raise self._slots(parallelism, found) from error

    def jobs(self) -> list[Standing]:
        """List its jobs, also those that are over, as long as it keeps them."""
        found = self.ask("/jobs/overview")["jobs"]
        return [Standing(each["jid"], each["name"], each["state"]) for each in found]

    def state(self, job: str) -> str | None:
        """Say how a job is; None where the cluster does not know it."""
        told = self._answer("GET", f"/jobs/{job}/status")
        return None if told is None else str(told["status"])

    def parallelism(self, job: str) -> int:
        """Say with which parallelism a job runs."""
        return int(self.ask(f"/jobs/{job}/config")["execution-config"]["job-parallelism"])

    def status(self, job: str) -> JobStatus:
        """Say how a job is, in full."""
        told = self._answer("GET", f"/jobs/{job}")
        if told is None:
            return JobStatus("LOST", cause="the cluster does not know it")
        saved = self.ask(f"/jobs/{job}/checkpoints")["latest"]["completed"]
        age = (told["now"] - saved["latest_ack_timestamp"]) / 1000 if saved else None
        cause = "" if told["state"] == "RUNNING" else self.cause(job)
        seconds = told["duration"] / 1000
        return JobStatus(told["state"], seconds, self.parallelism(job), age, cause)

    def running(self, job: str) -> str | None:
        """Give the id of the job of this id or name; None where it does not run."""
        there = (each.id for each in self.jobs() if job in (each.id, each.name) and not each.over)
        return next(there, None)

    def watermark_ms(self, job: str) -> int | None:
        """Say how far the watermark of a job is, by its id: of all its tasks the least.

        None where a task that reads from others has none yet, or they have come to their end.
        """
        found: list[int] = []
        for vertex in self.ask(f"/jobs/{job}")["vertices"]:
            told = self.ask(f"/jobs/{job}/vertices/{vertex['id']}/watermarks")
            found += [int(each["value"]) for each in told]
        least = min(found, default=_NO_WATERMARK)
        return least if _NO_WATERMARK < least < _LAST_WATERMARK else None

    def checkpoints(self, job: str) -> Checkpoints:
        """Say how the checkpoints of a job are, by its id."""
        told = self.ask(f"/jobs/{job}/checkpoints")
        last = told["latest"]["completed"]
        restarts = self.ask(f"/jobs/{job}/metrics?get=numRestarts")
        return Checkpoints(
            completed=told["counts"]["completed"],
            failed=told["counts"]["failed"],
            restarts=int(restarts[0]["value"]) if restarts else 0,
            at=last["latest_ack_timestamp"] / 1000 if last else None,
            seconds=last["end_to_end_duration"] / 1000 if last else None,
            size_bytes=last["state_size"] if last else None,
        )

    def cause(self, job: str) -> str:
        """Say what ended a job, or made it start again last."""
        told = self._answer("GET", f"/jobs/{job}/exceptions?maxExceptions=1")
        entries = told["exceptionHistory"]["entries"] if told else []
        lines = str(entries[0]["stacktrace"]).splitlines() if entries else []
        causes = [line for line in lines if line.startswith("Caused by: ")]
        return (causes or lines or ["it does not say why"])[-1 if causes else 0]

    def stop(self, job: str, folder: str) -> str | None:
        """Stop a job with a savepoint in `folder`; give its URI, or None where there is none.

        It has ended then, and its last checkpoint stands.
        """
        saved, said = None, ""
        with contextlib.suppress(EnvironmentProblem):
            saved, said = self._saved(job, folder)
        if saved is None and self.state(job) not in (None, *OVER):
            self._answer("PATCH", f"/jobs/{job}?mode=cancel")
        what = f"the job {job} to end at {self.rest}" + (f" ({said})" if said else "")
        wait_until(lambda: self.state(job) in (None, *OVER), _END_SECONDS, what, every_seconds=0.1)
        return saved

    def ask(self, path: str) -> Any:
        """Ask what is always there."""
        told = self._answer("GET", path)
        if told is None:
            found = f"it has no {path}"
            raise self._unreached(found)
        return told

    def _saved(self, job: str, folder: str) -> tuple[str | None, str]:
        """Ask for a savepoint and the end; give where it is, or what went wrong."""
        body = {"targetDirectory": folder, "drain": False, "formatType": "NATIVE"}
        request = self._answer("POST", f"/jobs/{job}/stop", body)
        if request is None:
            return None, ""
        path, told = f"/jobs/{job}/savepoints/{request['request-id']}", {}

        def done() -> bool:
            nonlocal told
            told = self.ask(path)
            return bool(told["status"]["id"] == "COMPLETED")

        wait_until(done, _SAVE_SECONDS, "the savepoint", every_seconds=0.1)
        failed = told["operation"].get("failure-cause", {}).get("class", "")
        return told["operation"].get("location"), failed

    def _answer(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Give the answer; None where there is no such thing."""
        text = None if body is None else json.dumps(body)
        with closing(HTTPConnection(self.rest, timeout=_SECONDS)) as connection:
            try:
                connection.request(method, path, text, {"Content-Type": "application/json"})
                response = connection.getresponse()
                told = response.read()
            except (OSError, HTTPException) as error:
                raise self._unreached(str(error) or type(error).__name__) from error
        if response.status == HTTPStatus.NOT_FOUND:
            return None
        try:
            found = json.loads(told)
        except ValueError as error:
            said = f"it answers {told[:_TOLD]!r}"
            raise self._unreached(said) from error
        if response.status >= HTTPStatus.BAD_REQUEST:
            said = f"it answers {response.status}: {_first(found)}"
            raise self._unreached(said)
        return found

    def _unreached(self, found: str) -> EnvironmentProblem:
        do = "start it, or give the address of its REST interface"
        return EnvironmentProblem(f"asked Flink at {self.rest}", found, do)

    def _slots(self, parallelism: int, found: str) -> EnvironmentProblem:
        asked = f"asked Flink at {self.rest} for {parallelism} slots"
        do = "start TaskManagers, or lower `flink: parallelism`"
        return EnvironmentProblem(asked, found, do)


def _first(told: Mapping[str, Any]) -> str:
    """Give the first line of the last error of an answer, which may be a Java stack."""
    lines = str((told.get("errors") or ["no cause"])[-1]).strip().splitlines()
    return lines[0][:_TOLD] if lines else "no cause"
