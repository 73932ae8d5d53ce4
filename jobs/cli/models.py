"""``headrace models …``: the versions of a state folder, while its pipeline runs or stands."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Column, Table

if TYPE_CHECKING:
    from headrace.jobs.evolve.relearn import Relearned
    from headrace.jobs.examples import Examples
    from headrace.jobs.models import Listed
    from headrace.online_learning.aliases import Aliases

__all__ = ["models", "register"]

models = typer.Typer(no_args_is_help=True, help="List, compare, promote and prune versions.")
_State = Annotated[Path, typer.Option(help="The state folder.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Version = Annotated[int, typer.Argument(min=1, help="Its number.")]
_STATE = Path(".headrace/demo")


def register(application: typer.Typer) -> None:
    """Add the command that stands beside the group."""
    application.command()(replay)


@models.command("list")
def list_(state: _State = _STATE, as_json: _Json = False) -> None:
    """List the versions: what they reached, how the gate judged them, which one is served."""
    from headrace.jobs import models as versions

    found = versions.listed(versions.registry(state))
    console = Console()
    if as_json:
        console.print_json(data=[asdict(each) for each in found])
        return
    had = {name for each in found for name, value in each.scores.items() if value is not None}
    scores = {"AUC": "auc", "log loss": "log_loss"}
    if "rmse" in had:
        scores = {"RMSE": "rmse", "MAE": "mae"}
    elif tasks := [name.removesuffix(".auc") for name in sorted(had) if name.endswith(".auc")]:
        scores = {f"{task} AUC": f"{task}.auc" for task in tasks}
    elif "auc" not in had and "accuracy" in had:
        scores = {"accuracy": "accuracy", "log loss": "log_loss"}
    right = [Column(name, justify="right") for name in (*scores, "bytes")]
    table = Table("version", "names", "learned to", *right, "verdict", box=None)
    for each in found:
        table.add_row(*_row(each, scores.values()))
    console.print(table)


def _row(each: Listed, of: Iterable[str]) -> list[str]:
    from headrace.jobs.cli.evolve import clock

    scores = ("" if (x := each.scores.get(n)) is None else f"{x:.4f}" for n in of)
    size = "pruned" if each.size_bytes is None else f"{each.size_bytes:,}"
    verdict = (each.verdict or "").replace("_", " ")
    said = f"{verdict}: {', '.join(each.causes)}" if each.causes else verdict
    return [str(each.version), ", ".join(each.names), clock(each.through_ms), *scores, size, said]


@models.command()
def challengers(state: _State = _STATE, as_json: _Json = False) -> None:
    """Show what learned beside the model when the newest version was made, and how good it is."""
    from headrace.jobs import models as versions

    found = versions.challengers(versions.registry(state))
    console = Console()
    if as_json:
        console.print_json(data=found)
        return
    right = [Column(name, justify="right") for name in ("labels", "log loss", "evidence")]
    table = Table("number", "place", *right, "model", box=None)
    for number, each in found.items():
        scores = ("" if each[n] is None else f"{each[n]:.4f}" for n in ("log_loss", "evidence"))
        model = ", ".join(f"{name} {value}" for name, value in each["model"].items())
        table.add_row(number, each["place"], f"{each['labels']:,}", *scores, model)
    console.print(table)


@models.command()
def show(version: _Version, state: _State = _STATE, as_json: _Json = False) -> None:
    """Show all that is known of a version: lineage, data, scores, verdict, what made it."""
    from headrace.jobs import models as versions

    known = versions.registry(state)
    told = known.manifest(version)
    facts = {
        "version": told.number,
        "names": known.aliases().names(told.number),
        **{name: getattr(told, name) for name in ("parent", "through_ms", "offsets", "data")},
        **{name: getattr(told, name) for name in ("encoding", "model", "metrics", "gate", "files")},
        "provenance": dict(told.provenance()),
    }
    console = Console()
    if as_json:
        console.print_json(data=facts)
        return
    for name, value in facts.items():
        _tell(console, name, value, 0)


def _tell(console: Console, name: str, value: Any, depth: int) -> None:
    if isinstance(value, Mapping) and value:
        console.print("  " * depth + name, markup=False, highlight=False)
        for inner, each in value.items():
            _tell(console, inner, each, depth + 1)
        return
    shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    console.print(f"{'  ' * depth}{name}: {shown}", markup=False, highlight=False)


@models.command()
def diff(
    before: _Version,
    after: _Version,
    most: Annotated[int, typer.Option(min=0, help="Weights to tell.")] = 20,
    state: _State = _STATE,
    as_json: _Json = False,
) -> None:
    """Compare two versions: settings, scores, and the weights that moved most."""
    from headrace.jobs import models as versions

    found = versions.diff(versions.registry(state), before, after, most)
    console = Console()
    if as_json:
        console.print_json(data=asdict(found))
        return
    for what in (found.settings, found.scores):
        for name, (was, now) in what.items():
            console.print(f"{name}: {was} → {now}", markup=False, highlight=False)
    console.print(f"{found.changed:,} weights differ")
    table = Table("array", "slot", "part", "before", "after", box=None)
    for each in found.moved:
        numbers = (f"{each.before:+.6f}", f"{each.after:+.6f}")
        table.add_row(each.name, str(each.slot), str(each.part), *numbers)
    if found.moved:
        console.print(table)


@models.command()
def promote(
    version: Annotated[int | None, typer.Argument(min=1, help="Its number.")] = None,
    auto: Annotated[bool, typer.Option("--auto", help="Serve what the gate chooses.")] = False,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="Only ask it beside, as the shadow.")
    ] = False,
    state: _State = _STATE,
    as_json: _Json = False,
) -> None:
    """Serve this version from now on, whatever the gate says; `--auto` leaves it to the gate."""
    from headrace.jobs import models as versions

    if auto == (version is not None):
        found = "give a version, or --auto"
        raise typer.BadParameter(found, param_hint="VERSION")
    _named(versions.promote(versions.registry(state), version, shadow=shadow), as_json)


@models.command()
def rollback(state: _State = _STATE, as_json: _Json = False) -> None:
    """Serve the version that was served before the champion, until `promote --auto`."""
    from headrace.jobs import models as versions

    _named(versions.rollback(versions.registry(state)), as_json)


def _named(names: Aliases, as_json: bool) -> None:
    console = Console()
    if as_json:
        console.print_json(data={"champion": names.champion, **asdict(names)})
        return
    by = "the gate chose it" if names.pinned is None else "pinned until `promote --auto`"
    console.print(f"version {names.champion} is the champion: {by}", markup=False)
    if names.shadow is not None:
        console.print(f"version {names.shadow} is the shadow", markup=False)


@models.command()
def prune(
    keep: Annotated[int, typer.Option(min=1, help="How many of the newest stay.")],
    state: _State = _STATE,
    as_json: _Json = False,
) -> None:
    """Remove the weights of all but the newest versions and those with a name."""
    from headrace.jobs import models as versions

    gone = versions.registry(state).prune(keep)
    console = Console()
    if as_json:
        console.print_json(data={"pruned": gone})
        return
    console.print(f"pruned: {', '.join(map(str, gone)) or 'none'}")


@models.command()
def export(
    pipeline: Annotated[Path, typer.Argument(help="The pipeline's YAML file.")],
    version: _Version,
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
    form: Annotated[
        Literal["onnx", "torch", "int8", "fp16", "pruned", "distilled"],
        typer.Option(help="What is written."),
    ],
    latency_budget: Annotated[
        str | None, typer.Option(help="The most that p99 of a request may be: 500us, 1ms.")
    ] = None,
    share: Annotated[
        float, typer.Option(min=0.0, max=0.999, help="Of the weights that pruning takes away.")
    ] = 0.5,
    from_: Annotated[
        Path | None, typer.Option("--from", help="Examples in Parquet instead of the store's.")
    ] = None,
    state: Annotated[
        Path | None, typer.Option(help="The state folder; the pipeline's unless given.")
    ] = None,
    as_json: _Json = False,
) -> None:
    """Write a version in another form, with its size, its latency and its price in AUC."""
    from headrace.jobs import models as versions
    from headrace.jobs import ship
    from headrace.jobs.cli.folder import of_pipeline
    from headrace.jobs.cli.tune import examples_of
    from headrace.pipelines.load import load

    budget = None if latency_budget is None else _micros(latency_budget)
    declared = load(pipeline)
    where = of_pipeline(state, declared.name)
    known = versions.registry(where).version(version)

    def given() -> Examples:
        return examples_of(declared, where, from_)

    sent = ship.export(declared, known, given, folder, form=form, share=share, p99_us=budget)
    if as_json:
        Console().print_json(data=asdict(sent))
        return
    for line in (
        f"{sent.examples:,} examples were held back",
        sent.whole,
        sent.form,
        f"in {folder}",
    ):
        Console().print(str(line), markup=False, highlight=False, soft_wrap=True)


@models.command("warm-start")
def warm_start(
    pipeline: Annotated[Path, typer.Argument(help="The pipeline's YAML file.")],
    from_: Annotated[
        Path | None, typer.Option("--from", help="History in Parquet, as `tune` reads it.")
    ] = None,
    store: Annotated[
        Path | None, typer.Option(help="The state folder whose store has the history.")
    ] = None,
    state: Annotated[
        Path | None, typer.Option(help="That of the pipeline to begin; its own unless given.")
    ] = None,
    as_json: _Json = False,
) -> None:
    """Fit a model to history, for a pipeline's learner to begin with; it must not have begun."""
    from headrace.jobs import assembly
    from headrace.jobs.cli.folder import HOME
    from headrace.jobs.cli.tune import examples_of
    from headrace.jobs.machine.state import locked
    from headrace.online_learning.start import fitted, save
    from headrace.pipelines.load import load

    if (from_ is None) == (store is None):
        found = "give a file, or a store: one of the two"
        raise typer.BadParameter(found, param_hint="--from")
    declared = load(pipeline)
    where = state or HOME / declared.name
    examples = examples_of(declared, store or where, from_)
    learning = assembly.learning(declared)
    start = fitted(learning, examples.rows, examples=examples.facts)
    with locked(where, "warm-start", resume=True) as folder:
        told = {**start.facts, "file": save(learning, folder.path / "learner", start)}
    if as_json:
        Console().print_json(data=told)
        return
    said = f"{start.facts['labels']:,} labels are learned; the learner in {where} begins with them"
    Console().print(said, markup=False, highlight=False, soft_wrap=True)


_MICROS = {"us": 1.0, "µs": 1.0, "ms": 1e3, "s": 1e6}


def _micros(text: str) -> float:
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(us|µs|ms|s)", text)
    if match is None:
        found = f"{text!r} is no duration; write it like 500us or 1ms"
        raise typer.BadParameter(found, param_hint="--latency-budget")
    return float(match[1]) * _MICROS[match[2]]


def replay(
    pipeline: Annotated[Path, typer.Argument(help="The pipeline's YAML file.")],
    model: Annotated[int, typer.Option(min=1, help="The version to make again.")],
    state: _State = _STATE,
    as_json: _Json = False,
) -> None:
    """Make a version again from the log and compare it bit for bit; 1 where it differs."""
    from rich.progress import Progress

    from headrace.jobs import models as versions
    from headrace.jobs.evolve import raw_log
    from headrace.jobs.evolve.relearn import relearn
    from headrace.operators.errors import EnvironmentProblem
    from headrace.pipelines.load import load

    declared, known = load(pipeline), versions.registry(state)
    with (
        raw_log.bootstrap(declared, state, "replay") as address,
        Progress(console=Console(stderr=True), transient=True) as progress,
    ):
        if address is None:
            asked, found = f"asked to replay the log in {state}", "there is none"
            raise EnvironmentProblem(asked, found, "give the --state of a pipeline that ran")
        bar = progress.add_task("learning again")
        done = relearn(
            declared,
            bootstrap=address,
            versions=known,
            number=model,
            tell=lambda read, of: progress.update(bar, completed=read, total=of),
        )
    if as_json:
        Console().print_json(data=asdict(done))
    else:
        _relearned(Console(), done)
    if not done.same:
        raise typer.Exit(1)


def _relearned(console: Console, done: Relearned) -> None:
    how = "as it was published, bit for bit" if done.same else "not as it was published"
    console.print(f"version {done.version} is {how}", markup=False, highlight=False)
    for name, says in done.arrays.items():
        console.print(f"{name}: {says}", markup=False, highlight=False)
    for name, (was, now) in {**done.manifest, **done.made_by}.items():
        console.print(f"{name}: {was} → {now}", markup=False, highlight=False)
