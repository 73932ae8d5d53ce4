"""headrace doctor: look at the machine, a state folder and what runs there; say what to do."""

from __future__ import annotations

from pathlib import Path

from headrace.jobs.lifecycle import machine_check, run_check, state_check
from headrace.jobs.lifecycle.board import posted
from headrace.jobs.lifecycle.finding import Finding
from headrace.operators.errors import EnvironmentProblem

__all__ = ["doctor"]


def doctor(state: Path) -> list[Finding]:
    """Look at everything; nothing is changed.

    Raises
    ------
    EnvironmentProblem
        Where there is no such folder.

    """
    if not state.is_dir():
        asked = f"asked for the state folder {state}"
        raise EnvironmentProblem(asked, "there is none", "run a pipeline, or give its --state")
    told, held = posted(state)
    found = [*machine_check.machine(state), *state_check.folder(state)]
    if held is None:
        found.append(state_check.store_file(state))
        return [*found, *(run_check.stopped(told) if told is not None else ())]
    if told is not None and told.pid == held.pid:
        return [*found, *run_check.run(state, told)]
    return [*found, Finding("run", f"a {held.what} has the folder, as process {held.pid}")]
