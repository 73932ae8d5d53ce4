"""headrace up --detach: a process that goes on when the shell that started it has gone.

::

    up --detach ──► up, in a session of its own ──► running.json: ready ──► the first returns
                        └──► ends before that ──► its last line is the first one's error
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from headrace.jobs.lifecycle.board import Posted, posted
from headrace.jobs.lifecycle.up import Asked
from headrace.jobs.machine.state import StateFolder
from headrace.jobs.machine.waiting import wait_until
from headrace.operators.errors import EnvironmentProblem

__all__ = ["up", "writing"]

READY_SECONDS = 300.0
_MARK = "HEADRACE_DETACHED"
_SAYS = "headrace: "


def up(pipeline: Path, state: Path, asked: Asked) -> Posted:
    """Start it and wait until its store answers; give what it tells.

    Raises
    ------
    EnvironmentProblem
        Where it ends before, with its own error; or does not answer in time, and goes on.

    """
    argv = [sys.executable, "-m", "headrace.jobs.cli.main", "up", str(pipeline)]
    argv += ["--state", str(state)]
    argv += ["--kafka", asked.kafka] if asked.kafka else []
    argv += ["--flink", asked.flink] if asked.flink else []
    argv += ["--create-topics"] if asked.create_topics else []
    argv += ["--beat", f"{asked.beat_ms}ms"] if asked.beat_ms else []
    with tempfile.TemporaryFile() as said:
        started = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
            env={**os.environ, _MARK: "1"},
        )

        def ready() -> Posted | None:
            if started.poll() is not None:
                raise _ended(started.returncode, said, state)
            told, held = posted(state)
            ours = told is not None and held is not None and told.pid == started.pid == held.pid
            return told if ours and told is not None and told.ready else None

        wait_until(
            ready,
            READY_SECONDS,
            "the store to answer",
            every_seconds=0.2,
            do=f"it goes on starting: `headrace status --state {state}`, `headrace logs`",
        )
    told, _ = posted(state)
    if told is None:
        raise _gone(state)
    return told


@contextmanager
def writing(folder: StateFolder) -> Iterator[None]:
    """Write what a detached process says from now on to ``logs/up.log``; else do nothing."""
    if os.environ.get(_MARK) != "1":
        yield
        return
    del os.environ[_MARK]  # it is not for what is started from here
    log = folder.path / "logs" / "up.log"
    log.parent.mkdir(exist_ok=True)
    before = os.dup(2)
    with log.open("ab") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    try:
        yield
    finally:
        # What ends it is said where the one that started it looks, too.
        with contextlib.suppress(OSError):
            sys.stderr.flush()
            os.dup2(before, 2)
            os.close(before)


def _ended(exit_status: int, said: IO[bytes], state: Path) -> EnvironmentProblem:
    said.seek(0)
    lines = said.read().decode("utf-8", "replace").strip().splitlines() or [""]
    last = lines[-1].removeprefix(_SAYS)
    asked = f"asked for the pipeline to run in {state}"
    found = f"it ended with exit status {exit_status}: {last}"
    return EnvironmentProblem(asked, found, "")


def _gone(state: Path) -> EnvironmentProblem:
    asked, found = f"asked for the pipeline in {state}", "it has just ended"
    return EnvironmentProblem(asked, found, f"see `headrace logs --state {state}`")
