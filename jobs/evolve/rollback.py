"""headrace rollback: the file says again what it said before, and that is applied.

::

    declarations.json ─► the text of before ─► planned, made ready as by apply
                                                   │
          what the file says now is kept, too ◄────┼─► written into the file ─► what runs takes over
                                                   └─ refused: the file stays as it is
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from headrace.jobs.evolve import declarations
from headrace.jobs.evolve.apply import Carried, carried_out
from headrace.jobs.evolve.declarations import Declaration
from headrace.online_learning import durable
from headrace.operators.errors import EnvironmentProblem, PipelineError
from headrace.pipelines.load import load
from headrace.pipelines.pipeline import Pipeline

__all__ = ["Back", "back", "rolled_back"]


@dataclass(frozen=True)
class Back:
    """A declaration that is gone back to, and what it declares in the file's place."""

    declaration: Declaration
    pipeline: Pipeline


def back(path: Path, state: Path, number: int | None = None) -> Back:
    """Find what the file at `path` is to say again: the declaration before, or the one of a number.

    What it names beside itself is read as it is now, and from where the file stands now.

    Raises
    ------
    EnvironmentProblem
        Where there is none, or the file is another pipeline's.
    PipelineError
        Where this headrace refuses what it says.

    """
    found = declarations.kept(state)
    chosen = declarations.before(found) if number is None else declarations.numbered(found, number)
    pipeline = load(path, chosen.text)
    if path.exists() and (there := _name(path)) not in (None, pipeline.name):
        asked = f"asked to give {path.name} back what the pipeline {pipeline.name!r} said"
        found_there = f"it is the file of the pipeline {there!r}"
        raise EnvironmentProblem(asked, found_there, "give the path of the other, or its --state")
    return Back(chosen, pipeline)


def _name(path: Path) -> str | None:
    try:
        return load(path).name
    except PipelineError:  # that it is wrong may be why it is to be as before
        return None


def rolled_back(to: Back, state: Path) -> tuple[Carried, Declaration | None]:
    """Apply it, and write it into the file before anything takes over.

    Gives what was done, and what the file said where that was never applied.
    """
    lost: list[Declaration] = []

    def write() -> None:
        lost.extend(_written(to.pipeline, state))

    carried = carried_out(to.pipeline, state, "rollback", ready=write)
    return carried, lost[0] if lost else None


def _written(pipeline: Pipeline, state: Path) -> list[Declaration]:
    """Write the text into the file, which stays where it is if it is a link; keep what it said."""
    path, lost = pipeline.path.resolve(), []
    said = path.read_bytes().decode("utf-8-sig", "replace") if path.exists() else None
    known = {pipeline.text, *(each.text for each in declarations.kept(state))}
    if said is not None and said not in known:
        lost.append(declarations.noted(state, pipeline.path, said, applied=False))
    if said != pipeline.text:
        mode = None if said is None else path.stat().st_mode
        durable.write(path, pipeline.text.encode())
        if mode is not None:
            path.chmod(mode)
    declarations.noted(state, pipeline.path, pipeline.text)
    return lost
