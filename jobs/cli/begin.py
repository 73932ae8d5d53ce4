"""The commands of a beginning: init, send."""

from __future__ import annotations

from contextlib import closing
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from headrace.jobs.cli.folder import HOME
from headrace.operators.errors import EnvironmentProblem

if TYPE_CHECKING:
    from headrace.pipelines.pipeline import Pipeline

__all__ = ["register"]

_WAIT_SECONDS = 600.0


def register(application: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (init, send):
        application.command()(command)


def init(
    name: Annotated[str, typer.Argument(help="The pipeline's name, as in shop.")],
    folder: Annotated[Path, typer.Option(help="Where NAME.yaml is written.")] = Path(),
) -> None:
    """Write a pipeline file to start from, with a word on each part."""
    from headrace.pipelines import values

    try:
        values.part_name(name)
    except ValueError as error:  # pydantic's own is one
        raise typer.BadParameter(str(error), param_hint="NAME") from error
    text = (files("headrace.pipelines") / "examples" / "start.yaml").read_text("utf-8")
    path = folder / f"{name}.yaml"
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text.replace("pipeline: start\n", f"pipeline: {name}\n"))
    except OSError as error:
        asked, do = f"asked to write {path}", "choose another name or folder"
        raise EnvironmentProblem(asked, str(error.strerror), do) from error
    Console().print(f"{path} is written", markup=False, highlight=False, soft_wrap=True)


def send(
    pipeline: Annotated[Path, typer.Argument(help="The pipeline's YAML file.")],
    source: Annotated[str | None, typer.Argument(help="The source whose events they are.")] = None,
    file: Annotated[Path | None, typer.Argument(help="JSON objects, one a line.")] = None,
    key: Annotated[str | None, typer.Option(help="The column that decides the partition.")] = None,
    through: Annotated[
        str | None, typer.Option(help="Tell all sources that nothing before this time comes.")
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Until all before that time is learned.")
    ] = False,
    state: Annotated[
        Path | None, typer.Option(help="The state folder; .headrace/<name> unless given.")
    ] = None,
) -> None:
    """Send events of a file to a running pipeline, or the word that there are no earlier ones."""
    from headrace.jobs.lifecycle import sending
    from headrace.jobs.machine import kafka
    from headrace.jobs.machine.speaking import speak
    from headrace.pipelines.load import load

    declared = load(pipeline)
    folder = state or HOME / declared.name
    if (source is None) != (file is None) or (source is None and through is None):
        said = "give a source and a file, or --through, or all of them"
        raise typer.BadParameter(said)
    if wait and through is None:
        said = "it waits for a time: give --through"
        raise typer.BadParameter(said, param_hint="--wait")
    until = None if through is None else _instant(through)
    console = Console()
    bootstrap = kafka.standing(folder)
    speak(declared, bootstrap)
    if source is not None and file is not None:
        chosen, events = sending.live_source(declared, source), sending.read(file, key)
        sent = sending.send(bootstrap, chosen, events)
        console.print(
            f"{sent:,} events are in {chosen.topic}", markup=False, highlight=False, soft_wrap=True
        )
    if until is not None:
        sending.through(bootstrap, declared, until)
        console.print(
            f"nothing before {through} comes any more",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        if wait:
            _wait(declared, folder, until)


def _instant(text: str) -> int:
    from headrace.pipelines.values import instant

    try:
        return instant(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--through") from error


def _wait(declared: Pipeline, folder: Path, until: int) -> None:
    from headrace.jobs.lifecycle.sending import caught_up
    from headrace.jobs.machine.waiting import wait_until
    from headrace.jobs.serving.client import Client

    with closing(Client(folder / "store" / "address.json")) as client:
        wait_until(
            lambda: client.healthy() and caught_up(declared, client.status(), until),
            _WAIT_SECONDS,
            "all of it to be learned",
            every_seconds=0.5,
            do="look at `headrace status` and `headrace logs`",
        )
