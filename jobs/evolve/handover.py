"""From what runs to what is declared now: `apply` asks for it, the pipeline that is up does it.

::

    apply ─► next.json: the file, what it declares ─┬─► up, running: takes over ─► applied.json
                                                    └─► up, started with that file
    up with a file of which neither says so ──► refused, before anything starts

What is changed by hand between the two is not what was made ready, and is not taken over.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from headrace.jobs.evolve import declarations, plan
from headrace.jobs.machine.state import holder, read_json, write_json
from headrace.jobs.machine.waiting import wait_until
from headrace.operators.errors import EnvironmentProblem, HeadraceError
from headrace.pipelines.load import load
from headrace.pipelines.pipeline import Pipeline

__all__ = ["ask", "begin", "done", "due", "wait"]

_NEXT = "next.json"
_WAIT_SECONDS = 300.0


def ask(pipeline: Pipeline, state: Path) -> bool:
    """Say that all is ready for this declaration; give whether a pipeline is up that takes over."""
    told = {"path": str(pipeline.path.absolute()), "declares": plan.facts(pipeline)}
    declarations.noted(state, pipeline.path, pipeline.text)
    write_json(state / _NEXT, told)
    held = holder(state)
    return held is not None and held.what == "up"


def wait(pipeline: Pipeline, state: Path) -> None:
    """Wait until what runs has taken over.

    Raises
    ------
    EnvironmentProblem
        Where it ended meanwhile, or the file was changed, or it takes too long.

    """

    def over() -> bool:
        return not (state / _NEXT).exists() or holder(state) is None

    do = "see `headrace logs`; the file of before is started by `headrace up`, too"
    wait_until(over, _WAIT_SECONDS, "the pipeline to take over", every_seconds=0.2, do=do)
    if (state / _NEXT).exists() or plan.applied(state) != plan.facts(pipeline):
        asked = f"asked what runs in {state} to take over {pipeline.path.name}"
        ended = holder(state) is None
        found = "it ended meanwhile" if ended else "the file was changed meanwhile"
        raise EnvironmentProblem(asked, found, do if ended else "apply it again")


def due(running: Pipeline, state: Path) -> Pipeline | None:
    """Give the declaration that is to be taken over; None where none is, or it is there already."""
    if not (state / _NEXT).exists():
        return None
    told = read_json(state / _NEXT)
    with contextlib.suppress(HeadraceError):  # no pipeline any more: it was changed meanwhile
        declared = load(Path(told["path"]))
        if plan.facts(declared) == told["declares"]:
            same = declared.path.absolute() == running.path.absolute()
            return None if same and plan.facts(running) == told["declares"] else declared
    done(state)
    return None


def done(state: Path) -> None:
    """Say that it is taken over, or is not wanted any more."""
    (state / _NEXT).unlink(missing_ok=True)


def begin(pipeline: Pipeline, state: Path) -> None:
    """Look whether a pipeline may be started as it is declared now.

    Raises
    ------
    EnvironmentProblem
        Where it is declared otherwise than it ran last, and nothing was made ready for that.

    """
    now = plan.facts(pipeline)
    told = read_json(state / _NEXT) if (state / _NEXT).exists() else None
    if told is not None and told["declares"] == now:
        return
    changes = plan.compared(plan.applied(state), now) if plan.ran(state) else []
    if not changes:
        done(state)
        return
    change = changes[0]
    asked = f"asked to start {pipeline.path.name} in {state}"
    found = f"it is declared otherwise than it ran last: {change.what} {change.name} {change.says}"
    do = "run `headrace plan` to see all that changes, and `headrace apply`; then start it"
    if declarations.kept(state):
        do = f"{do}; or give the file back what it said: `headrace rollback --list`"
    raise EnvironmentProblem(asked, found, do)
