"""The commands of a pipeline's life: up, down, status, logs, doctor."""

from __future__ import annotations

import os
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from headrace.jobs.cli.folder import HOME, chosen
from headrace.jobs.machine import log_lines

if TYPE_CHECKING:
    from headrace.jobs.lifecycle.board import Posted
    from headrace.jobs.lifecycle.logs import Line

__all__ = ["flink_address", "register"]

_Pipeline = Annotated[Path, typer.Argument(help="The pipeline's YAML file.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_State = Annotated[
    Path | None, typer.Option(help="The state folder; the only one in .headrace unless given.")
]


def register(application: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (up, down, status, logs, doctor):
        application.command()(command)


def up(
    pipeline: _Pipeline,
    state: Annotated[
        Path | None, typer.Option(help="The state folder; .headrace/<name> unless given.")
    ] = None,
    kafka: Annotated[
        str | None, typer.Option(help="host:port of a Kafka; a broker of its own unless given.")
    ] = None,
    flink: Annotated[
        str | None, typer.Option(help="host:port of a Flink; one of its own unless given.")
    ] = None,
    create_topics: Annotated[
        bool, typer.Option("--create-topics", help="Make topics of sources in that Kafka.")
    ] = False,
    beat: Annotated[
        str | None, typer.Option(help="How often sources are told that time has passed: 5s.")
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return when it is ready.")] = False,
    log_format: Annotated[
        log_lines.Form,
        typer.Option(envvar=log_lines.VARIABLE, help="How the processes write their logs."),
    ] = "text",
    as_json: _Json = False,
) -> None:
    """Run a pipeline until Ctrl-C or `headrace down`; it goes on where it was stopped."""
    from headrace.jobs.lifecycle import detached
    from headrace.jobs.lifecycle.shown import showing
    from headrace.jobs.lifecycle.up import Asked
    from headrace.jobs.lifecycle.up import up as run
    from headrace.jobs.machine.state import locked
    from headrace.pipelines.load import load

    declared = load(pipeline)
    folder = state or HOME / declared.name
    os.environ[log_lines.VARIABLE] = log_format  # of what is started from here
    address = None if kafka is None else _address(kafka)
    beat_ms = None if beat is None else _duration(beat)
    asked = Asked(address, create_topics, beat_ms, flink_address(flink))
    if detach:
        _say_ready(detached.up(pipeline, folder, asked), folder, as_json=as_json)
        return
    with (
        locked(folder, "up", resume=True) as held,
        detached.writing(held),
        showing(Console(), as_json=as_json) as tell,
    ):
        run(declared, held, asked, tell)


def _duration(text: str) -> int:
    from headrace.pipelines.values import positive_duration

    try:
        return positive_duration(text)
    except ValueError as error:  # pydantic's own is one
        raise typer.BadParameter(str(error), param_hint="--beat") from error


def _address(text: str) -> str:
    from headrace.pipelines.values import bootstrap

    try:
        return bootstrap(text.split(","))
    except ValueError as error:  # pydantic's own is one
        raise typer.BadParameter(str(error), param_hint="--kafka") from error


def flink_address(text: str | None) -> str | None:
    """Check the address of a Flink that is given as an option."""
    from headrace.pipelines.values import rest

    try:
        return None if text is None else rest(text)
    except ValueError as error:  # pydantic's own is one
        raise typer.BadParameter(str(error), param_hint="--flink") from error


def _say_ready(posted: Posted, folder: Path, *, as_json: bool) -> None:
    from dataclasses import asdict

    from headrace.jobs.lifecycle.shown import how_to_reach

    console = Console()
    if as_json:
        console.print_json(data=asdict(posted))
        return
    said = [*how_to_reach(posted), f"  how it is       headrace status --state {folder}"]
    said.append(f"  to stop it      headrace down --state {folder}")
    console.print("\n".join(said), markup=False, highlight=False, soft_wrap=True)


def down(state: _State = None, as_json: _Json = False) -> None:
    """Stop what runs: Flink with a savepoint, the learner with a snapshot; say what was stopped."""
    from dataclasses import asdict

    from headrace.jobs.lifecycle.board import STOPPED, processes
    from headrace.jobs.lifecycle.down import down as stop

    folder = chosen(state, "asked to stop what runs")
    told = stop(folder)
    console = Console()
    if as_json:
        console.print_json(data=None if told is None else asdict(told))
        return
    if told is None:
        console.print(f"nothing runs in {folder}", markup=False, highlight=False)
        return
    for name, each in reversed(processes(folder).items()):
        console.print(f"{name} {each.state}", markup=False, highlight=False)
    how = "is stopped" if told.ended == STOPPED else f"has ended: {told.ended}"
    console.print(f"{told.pipeline} {how}", markup=False, highlight=False, soft_wrap=True)


def status(state: _State = None, as_json: _Json = False) -> None:
    """Say what runs, how far it is, how good, how large; exit status 1 where nothing runs."""
    from headrace.jobs.lifecycle.shown import shown
    from headrace.jobs.lifecycle.status import status as ask

    found = ask(chosen(state, "asked for what runs"))
    console = Console()
    if as_json:
        console.print_json(data=found.plain())
    else:
        console.print(shown(found))
    if found.runs is None or found.problems:
        raise typer.Exit(1)


def logs(
    process: Annotated[str | None, typer.Argument(help="One process; all unless given.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    since: Annotated[str | None, typer.Option(help="10m, or a local time.")] = None,
    state: _State = None,
) -> None:
    """Print what the processes wrote, in the order of time."""
    from headrace.jobs.lifecycle import logs as reading

    folder = chosen(state, "asked for logs")
    paths = reading.files(folder, process)
    alone = process is not None

    def tell(line: Line) -> None:
        sys.stdout.write(line.text + "\n" if alone else f"{line.process:8} | {line.text}\n")
        sys.stdout.flush()

    if since is not None or not follow:
        for line in reading.merged(paths, None if since is None else _since(since)):
            tell(line)
    if follow:
        reading.follow(folder, process, tell)


def doctor(state: _State = None, as_json: _Json = False) -> None:
    """Look at the machine, the state folder and what runs there; exit status 1 if all is not well.

    Nothing is changed: each finding says what to do.
    """
    from dataclasses import asdict

    from headrace.jobs.lifecycle.doctor import doctor as look

    found = look(chosen(state, "asked for what is wrong"))
    console = Console()
    if as_json:
        console.print_json(data=[asdict(each) for each in found])
    else:
        for each in found:
            mark, do = ("wrong", f"; {each.do}") if each.wrong else ("well ", "")
            said = f"{mark}  {each.what}: {each.says}{do}"
            console.print(said, markup=False, highlight=False, soft_wrap=True)
    if any(each.wrong for each in found):
        raise typer.Exit(1)


def _since(text: str) -> datetime:
    """Read a duration before now, or a local time, as logs are written."""
    from headrace.pipelines.values import positive_duration

    now = datetime.now().astimezone()
    if not text[:4].isdecimal() or "-" not in text:
        try:
            return now - timedelta(milliseconds=positive_duration(text))
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--since") from error
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        do = f"{error}; write a duration such as 10m, or a time such as 2026-01-31T12:00"
        raise typer.BadParameter(do, param_hint="--since") from error
    return moment.astimezone() if moment.tzinfo else moment.replace(tzinfo=now.tzinfo)
