"""The command line: `headrace …`. An error is one sentence and exit status 1."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from headrace.jobs.cli import ask, begin, evolve, lifecycle, rollback, tune
from headrace.jobs.cli import models as versions
from headrace.jobs.cli.deploy import deploy
from headrace.jobs.cli.folder import of_pipeline
from headrace.jobs.cli.store import store
from headrace.jobs.cli.trust import trust
from headrace.jobs.machine import log_lines
from headrace.operators.errors import EnvironmentProblem, HeadraceError, UnknownName

if TYPE_CHECKING:
    from headrace.pipelines.explain import Explained

__all__ = ["main"]

application = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)
application.add_typer(trust)
application.add_typer(deploy, name="deploy")
application.add_typer(store, name="store")
application.add_typer(versions.models, name="models")

_STATE = Path(".headrace")
_Pipeline = Annotated[Path, typer.Argument(help="The pipeline's YAML file.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_State = Annotated[Path, typer.Option(help="The state folder.")]


@application.callback()
def headrace() -> None:
    """Lead events to a model: declare once, run over history or live, get the same numbers."""


@application.command()
def demo(
    days: Annotated[int, typer.Option(min=1, max=365, help="Days of 2013 to replay.")] = 365,
    pipeline: Annotated[Path | None, typer.Option(help="Another pipeline over them.")] = None,
    keep_up: Annotated[bool, typer.Option(help="Leave it running until Ctrl-C.")] = False,
    fresh: Annotated[bool, typer.Option(help="Remove what an earlier demo left.")] = False,
    resume: Annotated[bool, typer.Option(help="Go on with what an earlier demo left.")] = False,
    state: _State = _STATE / "demo",
) -> None:
    """Replay a year of flights through broker, Flink, store and learner; leave a report."""
    from headrace.jobs.demo import demonstration
    from headrace.jobs.machine.state import check_space, locked

    console = Console()
    check_space(state, 4_000_000_000)
    with locked(state, "demo", fresh=fresh, resume=resume) as folder:
        result = demonstration.run(
            folder,
            path=pipeline or demonstration.PIPELINE,
            days=days,
            console=console,
            keep_up=keep_up,
            show=lambda shown: _show(console, shown, state),
        )
    if result.verdict.mismatches:
        raise typer.Exit(1)


def _show(console: Console, result: object, state: Path) -> None:
    from headrace.jobs.demo.demonstration import QUERY, Result

    if not isinstance(result, Result):
        raise TypeError
    report = result.report
    summary = Table(title="headrace demo", show_header=False)
    for name in ("decisions", "predictions", "examples", "late", "dead_letters", "model_versions"):
        summary.add_row(name, f"{report[name]:,}")
    for name, score in _scores(report).items():
        if score["auc"] is not None:
            text = f"AUC {score['auc']:.4f}  log loss {score['log_loss']:.4f}"
            summary.add_row(name, f"{text}  base rate {score['base_rate_log_loss']:.4f}")
    equality = report["equality"]
    summary.add_row("equality", f"{equality['mismatches']:,} of {equality['cells']:,} cells differ")
    speed = f"{report['wall_seconds']} s, {report['events_per_second']:,} events/s in the replay"
    summary.add_row("time", speed)
    console.print(summary)
    console.print(f"[dim]{QUERY.strip()}[/]")
    answer = Table(*result.answer[0]) if result.answer else Table()
    for row in result.answer:
        answer.add_row(*map(str, row.values()))
    console.print(answer)
    example = result.example
    console.print(f"one prediction: {example['row']['flight_id']} late with p = {example['p']:.4f}")
    console.print(", ".join(f"{name} {value}" for name, value in example["features"].items()))
    console.print(f"report: {state / 'report.json'}")


def _scores(report: Mapping[str, Any]) -> dict[str, Mapping[str, float | None]]:
    """Name what was scored: the model, its rivals, the linear model by group of features.

    A replay that ends before `score_from` has a score over every decision alone, and no rivals'.
    """
    names = ("prequential", "served")
    own = {name: report[name] if report[name]["n"] else report[f"{name}_all"] for name in names}
    scored = any(each["n"] for each in report["groups"].values())
    by_group = report["groups" if scored else "groups_all"]
    rivals = {f"rival {name}": score for name, score in report["rivals"].items()}
    return own | rivals | {f"linear, {name}": score for name, score in by_group.items()}


@application.command()
def validate(pipeline: _Pipeline) -> None:
    """Check a pipeline file and say what it declares."""
    from headrace.pipelines.load import load

    declared = load(pipeline)
    Console().print(
        f"{declared.name}: {len(declared.sources)} sources, {len(declared.views)} views, "
        f"{len(declared.features)} features, {len(declared.model.tokens)} tokens"
    )


@application.command()
def operators(
    family: Annotated[str | None, typer.Argument(help="One family; all unless given.")] = None,
    as_json: _Json = False,
) -> None:
    """List the operators: what each is, and which engines have it."""
    from headrace.operators.catalogue import ENGINES, catalogue

    entries = catalogue()
    known = dict.fromkeys(entry.family for entry in entries)
    if family is not None and family not in known:
        raise UnknownName(kind="family of operators", name=family, known=list(known))
    found = [entry for entry in entries if family in (None, entry.family)]
    console = Console()
    if as_json:
        console.print_json(data=[asdict(entry) for entry in found])
        return
    for one in dict.fromkeys(entry.family for entry in found):
        table = Table(one, "what it is", *ENGINES)
        for entry in (entry for entry in found if entry.family == one):
            table.add_row(entry.name, Text(entry.about), *map(Text, entry.engines.values()))
        console.print(table)


@application.command()
def explain(
    pipeline: _Pipeline,
    feature: Annotated[
        str | None, typer.Argument(help="One feature; all views unless given.")
    ] = None,
    as_json: _Json = False,
) -> None:
    """Print what a pipeline means: the expressions, the SQL of both engines, the state it keeps."""
    from headrace.pipelines.explain import explain as explained
    from headrace.pipelines.load import load

    console = Console()
    for each in explained(load(pipeline), feature):
        if as_json:
            console.print_json(data=asdict(each))
        else:
            _explained(console, each)


def _explained(console: Console, each: Explained) -> None:
    """Show the SQL of both engines beside each other, as wide as the terminal is."""
    console.rule(f"view {each.view}" if each.view else "decision", align="left")
    for line in each.meaning:
        console.print(line, markup=False, highlight=False)
    columns = ", ".join(f"{name} {kind}" for name, kind in each.state.columns.items())
    state = (
        f"state: a tile has {columns}: {each.state.tile_bytes} bytes in the index for each key and "
        f"step with an event; the stream keeps the last {each.state.open_steps} steps of a key"
    )
    console.print(state if columns else "state: none", markup=False, highlight=False)
    for step in each.steps:
        table = Table("Flink SQL", "DuckDB SQL", title=step.name, expand=True)
        table.add_row(*(Text(sql.strip(), overflow="fold") for sql in (step.flink, step.duckdb)))
        console.print(table)


@application.command()
def verify(
    pipeline: _Pipeline,
    cells: Annotated[
        int, typer.Option(min=0, help="Features to ask of all engines at random (key, t).")
    ] = 1_000_000,
    seed: Annotated[int, typer.Option(min=0, help="Of what is drawn.")] = 0,
    state: Annotated[
        Path | None, typer.Option(help="The state folder; .headrace/<name>, or the demo's.")
    ] = None,
    as_json: _Json = False,
) -> None:
    """Recompute tiles and features from the raw log; print every cell that differs."""
    from headrace.jobs.checks.verify import Random
    from headrace.jobs.checks.verify import verify as compare
    from headrace.jobs.machine import kafka, local
    from headrace.jobs.machine.state import locked
    from headrace.pipelines.load import load

    declared = load(pipeline)
    state = of_pipeline(state, declared.name)
    if not kafka.has_log(state):
        asked, found = f"asked to verify the log in {state}", "there is none"
        raise EnvironmentProblem(asked, found, "run the pipeline first, or give its --state")
    with (
        locked(state, "verify", resume=True) as folder,
        local.running(declared, folder.path, roles=["store"]) as running,
    ):
        client = running.client
        random = Random(client.training, cells, seed)
        verdict = compare(declared, bootstrap=running.bootstrap, ask=client.sql, random=random)
    console = Console()
    if as_json:
        console.print_json(data=asdict(verdict))
    else:
        table = Table("compared", Column("cells", justify="right"), box=None)
        for name, count in (*verdict.tables.items(), *verdict.pairs.items()):
            table.add_row(name, f"{count:,}")
        console.print(table)
        for difference in verdict.differences:
            console.print(difference, markup=False)
        console.print(f"{verdict.mismatches:,} of {verdict.cells:,} cells differ")
    if verdict.mismatches:
        raise typer.Exit(1)


@application.command(hidden=True)
def process(
    role: str,
    pipeline: _Pipeline,
    bootstrap: Annotated[str, typer.Option()],
    state: _State,
    flink: Annotated[str | None, typer.Option()] = None,
    days: Annotated[int, typer.Option()] = 365,
    every_ms: Annotated[int, typer.Option()] = 1000,
    shard: Annotated[list[str] | None, typer.Option(help="Where a shard answers.")] = None,
    flight: Annotated[str | None, typer.Option(help="Where this shard answers.")] = None,
    metrics: Annotated[int | None, typer.Option(help="And the port of its metrics.")] = None,
    log_format: Annotated[log_lines.Form, typer.Option(envvar=log_lines.VARIABLE)] = "text",
) -> None:
    """Run one process of a pipeline; what the supervisor starts."""
    from headrace.jobs import roles
    from headrace.jobs.machine.speaking import speak
    from headrace.pipelines.load import load

    log_lines.begin(role, log_format)
    declared = load(pipeline).on_flink(flink)
    speak(declared, bootstrap)
    if role == "topics":
        roles.run_topics(declared, bootstrap, state)
    elif role == "replay":
        roles.run_flights(declared, bootstrap, state, days)
    elif role == "beat":
        roles.run_beats(declared, bootstrap, state, every_ms)
    elif role.startswith("history"):
        of = role.removeprefix("history").removeprefix("-")
        roles.run_history(declared, bootstrap, state, int(of) if of else None)
    elif role.startswith("shard-"):
        number = int(role.removeprefix("shard-"))
        roles.run_shard(declared, bootstrap, state, number, flight=flight, metrics=metrics)
    elif role == "store":
        roles.run_store(declared, bootstrap, state, shard or ())
    else:
        roles.ROLES[role](declared, bootstrap, state)


begin.register(application)
lifecycle.register(application)
ask.register(application)
evolve.register(application)
rollback.register(application)
versions.register(application)
tune.register(application)


def main() -> None:
    """Run the command line."""
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    try:
        application()
    except HeadraceError as error:
        print(f"headrace: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        _stopped()
        sys.exit(130)
    except SystemExit as exit_of:
        if exit_of.code in (130, 143):  # Ctrl-C as typer says it; SIGTERM as the supervisor does
            _stopped()
        raise


def _stopped() -> None:
    print("headrace: stopped", file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    main()
