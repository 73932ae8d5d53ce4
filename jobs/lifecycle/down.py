"""headrace down: stop what runs in a state folder, from another shell, and say what was stopped."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from headrace.jobs.lifecycle.board import Posted, posted
from headrace.jobs.machine.state import Holder, holder
from headrace.jobs.machine.waiting import wait_until
from headrace.operators.errors import EnvironmentProblem

__all__ = ["LONGEST_SECONDS", "STOPS", "down"]

LONGEST_SECONDS = 180.0
STOPS = ("up", "demo")
"""What can be stopped like this; a `verify` or a `backfill` ends by itself."""


def down(state: Path, *, deadline_seconds: float = LONGEST_SECONDS) -> Posted | None:
    """Stop it and wait until it has; give its last word, None where nothing ran.

    Raises
    ------
    EnvironmentProblem
        Where something else has the folder, or it does not stop in time.

    """
    told, held = posted(state)
    if held is None:
        return None
    if held.what not in STOPS:
        asked, found = f"asked to stop what runs in {state}", f"a {held.what} does"
        raise EnvironmentProblem(asked, found, "wait for its end, or stop it with Ctrl-C")
    _tell(state, held)
    wait_until(
        lambda: holder(state) is None,
        deadline_seconds,
        f"the end of process {held.pid}",
        every_seconds=0.1,
        do=f"look at the logs in {state / 'logs'}, or 'kill -9 {held.pid}': nothing is lost by it",
    )
    told, _ = posted(state)
    return told if told is not None and told.pid == held.pid else None


def _tell(state: Path, held: Holder) -> None:
    """Send SIGTERM to the very process that took the lock: not to one that got its id since."""
    try:
        process = os.pidfd_open(held.pid)
    except ProcessLookupError:
        return
    try:
        if held.there:
            signal.pidfd_send_signal(process, signal.SIGTERM)
        elif holder(state) is not None:
            asked = f"asked to stop process {held.pid}, which has {state}"
            found = "the process of that id is another: it may be in another container"
            raise EnvironmentProblem(asked, found, "stop it where it was started")
    finally:
        os.close(process)
