"""``headrace tune``: search for a model's settings over what its pipeline has seen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

if TYPE_CHECKING:
    from headrace.jobs.examples import Examples
    from headrace.jobs.tune.search import Trial, Tuned
    from headrace.pipelines.pipeline import Pipeline

__all__ = ["examples_of", "register"]


def register(application: typer.Typer) -> None:
    """Add the command."""
    application.command()(tune)


def tune(
    pipeline: Annotated[Path, typer.Argument(help="The pipeline's YAML file.")],
    trials: Annotated[int, typer.Option(min=1, max=10_000, help="Settings to try.")] = 30,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of what is tried.")] = 0,
    from_: Annotated[
        Path | None, typer.Option("--from", help="Examples in Parquet instead of the store's.")
    ] = None,
    state: Annotated[
        Path | None, typer.Option(help="The state folder; the pipeline's unless given.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Search for better settings of the model, and say what they gain on decisions held back."""
    from rich.progress import Progress

    from headrace.jobs.cli.folder import HOME, of_pipeline
    from headrace.jobs.tune.record import recorded
    from headrace.jobs.tune.search import search
    from headrace.pipelines.load import load

    declared = load(pipeline)
    own = state or HOME / declared.name
    where = of_pipeline(state, declared.name) if from_ is None else own
    examples = examples_of(declared, where, from_)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("trying settings", total=trials)
        found = search(
            declared,
            examples,
            trials=trials,
            seed=seed,
            tell=lambda _: progress.advance(bar),
        )
    record = recorded(declared, examples, found, trials=trials, seed=seed)
    path = _write(where, record)
    if as_json:
        Console().print_json(data={**record, "record": str(path)})
        return
    _show(found, record["yaml"], path)


def _write(state: Path, record: Mapping[str, Any]) -> Path:
    """Write a record to a state folder, which may be in use; one that is not there is made."""
    from headrace.jobs.machine.state import LOCK, locked
    from headrace.jobs.tune.record import write

    if (state / LOCK).exists():
        return write(state / "tune", record)
    with locked(state, "tune") as folder:
        return write(folder.path / "tune", record)


def examples_of(pipeline: Pipeline, state: Path, file: Path | None) -> Examples:
    """Read the examples of a file, or of the store of a pipeline that runs, or ran."""
    from headrace.jobs import examples
    from headrace.jobs.machine import local

    if file is not None:
        return examples.of_file(pipeline, file)
    with local.reached(pipeline, state, "tune") as (_, client):
        return examples.of_parts(examples.labelled(pipeline, client.sql), str(state))


def _show(found: Tuned, lines: list[str], path: Path) -> None:
    from headrace.jobs.cli.evolve import clock

    console = Console()
    right = [Column(name, justify="right") for name in ("parts", "log loss")]
    table = Table("trial", "kind", "settings", *right, "", box=None)
    for trial in sorted(found.trials, key=_order):
        settings = ", ".join(f"{name} {value}" for name, value in trial.settings.items())
        loss = f"{trial.log_loss[-1]:.5f}" if trial.log_loss else ""
        parts = str(len(trial.log_loss))
        ended = "" if trial.ended == "whole" else trial.ended
        table.add_row(str(trial.number), trial.kind, settings, parts, loss, ended)
    console.print(table)
    console.print(f"as declared: log loss {found.present_log_loss:.5f}", highlight=False)
    console.print(
        f"held back, {found.present.n:,} labels of decisions from {clock(found.held_from_ms)} on: "
        f"log loss {found.present.log_loss:.5f} as declared, {found.found.log_loss:.5f} found; "
        f"AUC {found.present.auc:.4f} and {found.found.auc:.4f}",
        markup=False,
        highlight=False,
    )
    if found.gain <= 0:
        console.print("nothing is gained there: keep what is declared")
    else:
        console.print(f"that gains {found.gain:.5f}; in the pipeline file:", highlight=False)
        console.print("\n".join(["model:", *(f"  {line}" for line in lines)]), markup=False)
    console.print(f"record: {path}", markup=False, highlight=False, soft_wrap=True)


def _order(trial: Trial) -> tuple[int, float, int]:
    """Sort whole trials first, by their loss; then those that came farthest."""
    return -len(trial.log_loss), trial.log_loss[-1] if trial.log_loss else 0.0, trial.number
