"""The commands by which a pipeline is changed: backfill, plan, apply, drop."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Column, Table

if TYPE_CHECKING:
    from headrace.jobs.backfill import Done

__all__ = ["register"]

_Pipeline = Annotated[Path, typer.Argument(help="The pipeline's YAML file.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_State = Annotated[Path, typer.Option(help="The state folder.")]
_STATE = Path(".headrace") / "demo"


def register(application: typer.Typer) -> None:
    """Add the commands of this module."""
    application.command()(backfill)


def backfill(
    pipeline: _Pipeline,
    view: Annotated[list[str] | None, typer.Option(help="A view; all unless given.")] = None,
    to: Annotated[str | None, typer.Option(help="The stream takes over no later.")] = None,
    engine: Annotated[Literal["duckdb"], typer.Option(help="What computes it.")] = "duckdb",
    state: _State = _STATE,
    as_json: _Json = False,
) -> None:
    """Compute the history of views from files and raw topics, for the store to take in."""
    from headrace.jobs import raw_log
    from headrace.jobs.backfill import backfilled, chosen
    from headrace.pipelines.load import load

    del engine  # there is one so far
    declared = load(pipeline)
    views = chosen(declared, view or [])
    until = None if to is None else _instant(to)
    with raw_log.bootstrap(state, "backfill") as address:
        folder = state / "store" / "backfills"
        done = backfilled(declared, views, raw_log.reader(address), folder, to=until)
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

    from headrace.feature_store.backfill import FOREVER

    if at >= FOREVER:
        return "ever"
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
