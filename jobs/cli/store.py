"""``headrace store …``: the store's file, while no store process has it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from headrace.operators.errors import EnvironmentProblem, HeadraceError

__all__ = ["store"]

store = typer.Typer(no_args_is_help=True, help="Check, repair, rebuild, compact, export the store.")
_State = Annotated[Path, typer.Option(help="The state folder.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_STATE = Path(".headrace/demo")


def _file(state: Path) -> Path:
    return state / "store" / "store.duckdb"


def _files(state: Path) -> list[Path]:
    """List the store's file, and those of its shards."""
    from headrace.jobs.shard import folders

    return [_file(state), *(folder / "store.duckdb" for folder in folders(state / "store"))]


@store.command()
def check(
    folder: Annotated[
        Path | None, typer.Argument(help="An export; the store's own file unless given.")
    ] = None,
    state: _State = _STATE,
) -> None:
    """Read all of the store's file, or of an export, and say what is wrong; 1 if anything is."""
    from headrace.feature_store import export, upkeep

    found: list[HeadraceError] = (
        export.check(folder)
        if folder
        else [problem for file in _files(state) for problem in upkeep.check(file)]
    )
    console = Console()
    for problem in found:
        console.print(str(problem), markup=False, highlight=False)
    if found:
        raise typer.Exit(1)
    console.print(f"{folder or _file(state)} is whole", markup=False, highlight=False)


@store.command()
def repair(state: _State = _STATE) -> None:
    """Cut a torn file of changes off where it stops being whole; the log has what was in it."""
    from headrace.feature_store import upkeep

    gone = sum(map(upkeep.repair, _files(state)))
    said = f"{gone:,} bytes of changes are cut off" if gone else "nothing is torn"
    Console().print(f"{said}; the store goes on from the log when it starts")


@store.command()
def compact(state: _State = _STATE) -> None:
    """Write the store's file anew: sorted by time, without holes."""
    from headrace.feature_store import upkeep

    sizes = [upkeep.compact(file) for file in _files(state)]
    before, after = (sum(each) for each in zip(*sizes, strict=True))
    Console().print(f"{before:,} bytes became {after:,}")


@store.command()
def export(
    folder: Annotated[Path, typer.Argument(help="A new folder; with --as, an earlier one, too.")],
    form: Annotated[
        Literal["delta", "iceberg"] | None,
        typer.Option("--as", help="The next version of tables of Delta Lake or Iceberg."),
    ] = None,
    state: _State = _STATE,
    as_json: _Json = False,
) -> None:
    """Write every table as sorted Parquet, with a manifest: the same rows, the same bytes."""
    from dataclasses import asdict

    from headrace.feature_store import lake
    from headrace.feature_store.catalogue import Catalogue
    from headrace.feature_store.export import export as write

    if len(_files(state)) > 1:
        asked, found = f"asked to export the store in {state}", "it has shards"
        do = "ask it by SQL while it runs, or rebuild it without `store: shards`"
        raise EnvironmentProblem(asked, found, do)
    with closing(Catalogue(_file(state), new=False)) as catalogue:
        if form is None:
            files = write(catalogue, folder)
        else:
            files = [each.file for each in lake.lay(catalogue, folder, form)]
    console = Console()
    if as_json:
        console.print_json(data=[asdict(file) for file in files])
        return
    table = Table("table", "rows", "bytes", "sha256")
    for file in files:
        table.add_row(file.table, f"{file.rows:,}", f"{file.size_bytes:,}", file.sha256[:16])
    console.print(table)


@store.command()
def rebuild(
    pipeline: Annotated[Path, typer.Argument(help="The pipeline's YAML file.")],
    state: _State = _STATE,
    as_json: _Json = False,
) -> None:
    """Make the store's file again from the log, and say which tables are as they were."""
    from dataclasses import asdict

    from rich.progress import Progress

    from headrace.jobs.evolve import plan
    from headrace.jobs.evolve.rebuild import rebuild as make
    from headrace.jobs.machine import kafka, local
    from headrace.jobs.machine.state import locked
    from headrace.pipelines.load import load

    declared = load(pipeline)
    if not kafka.has_log(state):
        asked, found = f"asked to rebuild the store from the log in {state}", "there is none"
        raise EnvironmentProblem(asked, found, "run the pipeline first, or give its --state")
    console = Console()
    with (
        locked(state, "rebuild", resume=True) as folder,
        local.running(declared, folder.path, roles=[]) as running,
        Progress(console=Console(stderr=True), transient=True) as progress,
    ):
        bar = progress.add_task("reading the log")
        made = make(
            declared,
            bootstrap=running.bootstrap,
            folder=state / "store",
            models=state / "learner" / "versions",
            tell=lambda done, of: progress.update(bar, completed=done, total=of),
        )
        plan.note_rebuilt(declared, folder.path)
    if as_json:
        console.print_json(data=[asdict(each) for each in made])
        return
    table = Table("table", "rows", "rows before", "the same")
    for each in made:
        was = "?" if each.before is None else f"{each.before:,}"
        table.add_row(each.table, f"{each.rows:,}", was, "yes" if each.same else "no")
    console.print(table)
