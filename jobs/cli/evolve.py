"""The commands by which a pipeline is changed: backfill, plan, apply, drop."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Column, Table

from headrace.jobs.cli.folder import of_pipeline
from headrace.jobs.cli.lifecycle import flink_address

if TYPE_CHECKING:
    from headrace.jobs.evolve.apply import Carried
    from headrace.jobs.evolve.backfill import Done
    from headrace.jobs.evolve.plan import Plan
    from headrace.pipelines.pipeline import Pipeline

__all__ = ["carried_plainly", "register", "show", "show_carried", "show_plan"]

_Pipeline = Annotated[Path, typer.Argument(help="The pipeline's YAML file.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_State = Annotated[
    Path | None, typer.Option(help="The state folder; .headrace/<name>, or the demo's.")
]
_DropState = Annotated[Path, typer.Option("--state", help="The state folder.")]
_STATE = Path(".headrace") / "demo"


def register(application: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (backfill, plan, apply, drop):
        application.command()(command)


def backfill(
    pipeline: _Pipeline,
    view: Annotated[list[str] | None, typer.Option(help="A view; all unless given.")] = None,
    to: Annotated[str | None, typer.Option(help="The stream takes over no later.")] = None,
    engine: Annotated[
        Literal["duckdb", "flink"], typer.Option(help="What computes it.")
    ] = "duckdb",
    flink: Annotated[str | None, typer.Option(help="host:port of another Flink.")] = None,
    state: _State = None,
    as_json: _Json = False,
) -> None:
    """Compute the history of views from files and raw topics, for the store to take in."""
    from headrace.jobs.evolve import raw_log
    from headrace.jobs.evolve.backfill import backfilled, chosen
    from headrace.jobs.evolve.flink_backfill import by_flink
    from headrace.jobs.lineage.emitting import running
    from headrace.pipelines.load import load

    declared = load(pipeline).on_flink(flink_address(flink))
    state = of_pipeline(state, declared.name)
    views = chosen(declared, view or [])
    until = None if to is None else _instant(to)
    with (
        raw_log.bootstrap(declared, state, "backfill") as address,
        running(replace(declared, views=views), "backfill", address or "", state),
    ):
        folder = state / "store" / "backfills"
        if engine == "flink":
            done = by_flink(declared, views, address, folder, to=until)
        else:
            done = backfilled(declared, views, raw_log.Topics(address).log, folder, to=until)
    console = Console()
    if as_json:
        console.print_json(data=[asdict(each) for each in done])
    else:
        console.print(_told(done))


def _instant(text: str) -> int:
    from headrace.pipelines.values import instant

    try:
        return instant(text)
    except ValueError as error:  # pydantic's own is one
        raise typer.BadParameter(str(error), param_hint="--to") from error


def plan(
    pipeline: _Pipeline,
    state: _State = None,
    deployed: Annotated[
        Path | None, typer.Option(help="What `deploy kubernetes` wrote, or a ConfigMap's file.")
    ] = None,
    as_json: _Json = False,
) -> None:
    """Say what a changed pipeline file would change, and what it costs; exit status 2 if anything.

    Nothing is done.
    """
    from headrace.pipelines.load import load

    declared = load(pipeline)
    if deployed is not None:
        from headrace.jobs.deploy.deployed import changed

        _end(changed(declared, deployed), as_json=as_json)
        return
    show_plan(declared, of_pipeline(state, declared.name), "plan", as_json=as_json)


def show_plan(declared: Pipeline, state: Path, what: str, *, as_json: bool) -> None:
    """Print what a declaration would change; end with exit status 2 where anything would."""
    from headrace.jobs.evolve import plan as planning
    from headrace.jobs.evolve import raw_log
    from headrace.jobs.evolve.apply import planned_in

    planning.applied(state)  # before a broker is started
    with raw_log.bootstrap(declared, state, what) as address:
        planned = planned_in(declared, state, raw_log.Topics(address))
    _end(planned, as_json=as_json)


def _end(planned: Plan, *, as_json: bool) -> None:
    console = Console()
    if as_json:
        console.print_json(data=asdict(planned))
    else:
        show(console, planned)
    if planned.changes:
        raise typer.Exit(2)


def apply(pipeline: _Pipeline, state: _State = None, as_json: _Json = False) -> None:
    """Do what `plan` says, while what runs goes on; then the pipeline that is up takes over."""
    from headrace.jobs.evolve.apply import carried_out
    from headrace.pipelines.load import load

    declared = load(pipeline)
    carried = carried_out(declared, of_pipeline(state, declared.name), "apply")
    console = Console()
    if as_json:
        console.print_json(data=carried_plainly(carried))
    else:
        show_carried(console, carried)


def carried_plainly(carried: Carried) -> dict[str, Any]:
    """Say what was done in values of JSON."""
    applied = carried.applied
    starts = [[*place, offset] for place, offset in (applied.starts or {}).items()]
    done = [asdict(each) for each in applied.done]
    planned, taken = asdict(carried.planned), carried.taken_over
    return {"plan": planned, "done": done, "starts": starts, "taken_over": taken}


def show_carried(console: Console, carried: Carried) -> None:
    """Print what was planned and done."""
    show(console, carried.planned)
    if carried.applied.done:
        console.print(_told(list(carried.applied.done)))
    for (topic, partition), offset in (carried.applied.starts or {}).items():
        console.print(f"the views job starts in {topic} {partition} at offset {offset}")
    if carried.planned.changes:
        then = "start the pipeline again with this file: it takes over"
        console.print("what runs has taken over" if carried.taken_over else then)


def show(console: Console, planned: Plan) -> None:
    """Print what changes, and what it costs."""
    for change in planned.changes:
        mark = "refused" if change.refused else ""
        console.print(f"{change.what} {change.name} {change.says} {mark}".strip(), markup=False)
    if planned.costs:
        numbers = [Column(name, justify="right") for name in ("rows", "about", "on disk about")]
        table = Table("to compute", *numbers, box=None)
        for cost in planned.costs:
            size = f"{cost.size_bytes / 1e6:,.1f} MB"
            table.add_row(cost.view, f"{cost.rows:,}", f"{cost.seconds:,.1f} s", size)
        console.print(table)
    if planned.unchanged:
        console.print(f"unchanged: {', '.join(planned.unchanged)}", markup=False)
    if not planned.changes:
        console.print("nothing changes")


def drop(
    version: Annotated[str, typer.Argument(help="As `versions` names it.")],
    state: _DropState = _STATE,
) -> None:
    """Remove an old version of a view or of events, and its history, from a stopped store."""
    from headrace.feature_store.versions import drop as drop_version
    from headrace.jobs.evolve import plan as planning
    from headrace.jobs.machine.state import locked
    from headrace.jobs.shard import folders
    from headrace.operators.errors import EnvironmentProblem

    ran = planning.applied(state)
    used = {each["version"] for each in ran["views"].values()} | {*ran.get("events", {}).values()}
    if version in used:
        asked, found = f"asked to drop {version}", "the pipeline that ran last has it"
        raise EnvironmentProblem(asked, found, "run a pipeline without it first")
    if folders(state / "store"):
        asked, found = f"asked to drop {version}", "the store has shards"
        raise EnvironmentProblem(asked, found, "run `headrace store rebuild`: it has what is used")
    with locked(state, "drop", resume=True):
        drop_version(state / "store" / "store.duckdb", version)
    Console().print(f"{version} is dropped")


def _told(done: list[Done]) -> Table:
    numbers = [Column(name, justify="right") for name in ("rows", "without key")]
    table = Table("backfilled", "complete to", *numbers, box=None)
    for each in done:
        made = each.backfill
        table.add_row(each.name, clock(made.until), f"{made.rows:,}", f"{made.unkeyed:,}")
    return table


def clock(at: int) -> str:
    """Say a time, ms, UTC, as it is written in a pipeline."""
    from datetime import UTC, datetime

    from headrace.feature_store.backfill import ends_never

    if ends_never(at):
        return "ever"
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
