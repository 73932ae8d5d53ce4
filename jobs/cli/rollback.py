"""The command that takes a change back: ``headrace rollback``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from headrace.jobs.cli.evolve import carried_plainly, show_carried, show_plan
from headrace.jobs.cli.folder import chosen, of_pipeline

if TYPE_CHECKING:
    from headrace.jobs.evolve.declarations import Declaration

__all__ = ["register"]


def register(application: typer.Typer) -> None:
    """Add the command."""
    application.command()(rollback)


def rollback(
    pipeline: Annotated[Path, typer.Argument(help="The pipeline's YAML file.")],
    to: Annotated[
        int | None, typer.Option(help="A number of --list; the one before unless given.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what changes, as plan does; do nothing.")
    ] = False,
    listed: Annotated[bool, typer.Option("--list", help="List what is kept.")] = False,
    state: Annotated[
        Path | None, typer.Option(help="The state folder; .headrace/<name>, or the demo's.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Give a pipeline's file back what it said before, and apply that: what runs takes over."""
    from headrace.jobs.evolve.rollback import back, rolled_back

    folder = state or _folder(pipeline)
    if listed:
        _list(pipeline, folder, as_json=as_json)
        return
    found = back(pipeline, folder, to)
    console = Console()
    number = found.declaration.number
    if dry_run:
        if not as_json:
            console.print(f"back to declaration {number}:")
        show_plan(found.pipeline, folder, "rollback", as_json=as_json)
        return
    carried, lost = rolled_back(found, folder)
    if as_json:
        told = {"back_to": number, "kept_as": None if lost is None else lost.number}
        console.print_json(data={**told, **carried_plainly(carried)})
        return
    show_carried(console, carried)
    said = [f"{pipeline} says again what declaration {number} said"]
    if lost is not None:
        said.append(f"what it said was never applied, and is kept as declaration {lost.number}")
    if not carried.planned.changes:
        said.append("what runs goes on; what else the file says is so from the next start on")
    console.print("\n".join(said), markup=False, highlight=False, soft_wrap=True)


def _folder(path: Path) -> Path:
    """Find the state folder by the file's name of the pipeline, or where it has none any more."""
    from headrace.operators.errors import PipelineError
    from headrace.pipelines.load import load

    try:
        return of_pipeline(None, load(path).name)
    except PipelineError:  # that it is wrong may be why it is to be as before
        return chosen(None, f"asked to give {path.name} back what it said")


def _list(path: Path, state: Path, *, as_json: bool) -> None:
    from headrace.jobs.evolve import declarations

    console = Console()
    found = declarations.kept(state)
    there = path.read_bytes().decode("utf-8-sig", "replace") if path.exists() else None
    if as_json:
        console.print_json(data=[_plain(each, there) for each in found])
        return
    table = Table("declaration", "since", "sha256", Column("lines", justify="right"), "", box=None)
    for each in found:
        told = _plain(each, there)
        known = "never applied" if not each.applied else ""
        marks = filter(None, (known, "the file says this" if told["in_file"] else ""))
        lines = f"{len(each.text.splitlines()):,}"
        table.add_row(str(each.number), told["since"], each.digest, lines, Text(", ".join(marks)))
    console.print(table)


def _plain(each: Declaration, there: str | None) -> dict[str, Any]:
    from headrace.jobs.lifecycle.clock import clock

    return {
        "number": each.number,
        "since": clock(int(each.at * 1000)),
        "sha256": each.digest,
        "path": each.path,
        "applied": each.applied,
        "in_file": each.text == there,
        "text": each.text,
    }
