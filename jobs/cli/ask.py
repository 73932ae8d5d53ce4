"""The commands that ask a running store: sql, why, predict, features."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
import typer
from rich.console import Console
from rich.table import Table

from headrace.jobs.cli.folder import chosen
from headrace.jobs.lifecycle.clock import clock
from headrace.operators.errors import HeadraceError

__all__ = ["register"]

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_State = Annotated[
    Path | None, typer.Option(help="The state folder; the only one in .headrace unless given.")
]
_Rows = Annotated[
    list[str] | None,
    typer.Option("--row", help="A decision's columns as JSON; `at` is now unless given."),
]
_File = Annotated[Path | None, typer.Argument(help="Rows as JSON objects, one a line.")]


def register(application: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (sql, why, predict, features):
        application.command()(command)


def _address(state: Path | None) -> Path:
    return chosen(state, "asked for the store of a pipeline") / "store" / "address.json"


def sql(
    query: Annotated[str | None, typer.Argument(help="One SELECT; a prompt unless given.")] = None,
    state: _State = None,
    form: Annotated[
        Literal["table", "csv", "json", "arrow"],
        typer.Option("--format", help="How the answer is written."),
    ] = "table",
    as_json: _Json = False,
) -> None:
    """Ask the store of a running pipeline: one SELECT, or many at a prompt."""
    from headrace.jobs.cli.console import prompt, show, written
    from headrace.jobs.serving.client import Client

    with closing(Client(_address(state))) as client:
        if query is None:
            kept = Path(os.environ.get("XDG_STATE_HOME", "~/.local/state")).expanduser()
            prompt(client.sql, kept / "headrace" / "asked.sql")
            return
        rows = client.sql(query)
    if form == "table" and not as_json:
        show(rows, Console())
        return
    sys.stdout.buffer.write(written(rows, "json" if as_json or form == "table" else form))
    sys.stdout.buffer.flush()


def why(decision: str, state: _State = None, as_json: _Json = False) -> None:
    """Say why a decision was scored as it was: features, their tiles, what each token added."""
    from headrace.jobs.serving.client import Client

    with closing(Client(_address(state))) as client:
        told = client.why(decision)
    console = Console()
    if as_json:
        console.print_json(data=told)
        return
    label = "not known yet" if told["label"] is None else str(told["label"]).lower()
    if isinstance(told["label"], Mapping):
        label = ", ".join(
            f"{n} {str(x).lower()}" for n, x in told["label"].items() if x is not None
        )
    given = f"{told['p']:.4f}" if "of" not in told else _several(told["p"], told["of"])
    said = f"p = {given} by version {told['version']}; the label is {label}"
    console.print(f"{decision}: {said}", markup=False)
    features = Table("feature", "value", "view", "key", "tiles", "from", "to")
    for name, each in told["features"].items():
        first = clock(each["after"]) if each["after"] else "ever"
        ends = [first, clock(each["to"])] if each["tiles"] else ["", ""]
        key = ", ".join(map(str, each["key"]))
        features.add_row(name, str(each["value"]), each["view"], key, f"{each['tiles']}", *ends)
    for name, value in told["computed"].items():
        features.add_row(name, str(value), "computed", "", "", "", "")
    console.print(features)
    if told["contributions"] is None:
        console.print(told["without"], markup=False)
        return
    tokens = Table("token", "adds")
    for name, weight in sorted(told["contributions"].items(), key=lambda each: -abs(each[1])):
        tokens.add_row(name, f"{weight:+.4f}")
    console.print(tokens)


def predict(
    file: _File = None, row: _Rows = None, state: _State = None, as_json: _Json = False
) -> None:
    """Predict for decisions with the version that is served, and show what it is made from."""
    from headrace.jobs.serving.client import Client

    rows = _rows(file, row or [])
    with closing(Client(_address(state))) as client:
        told = client.predict(rows)
    console = Console()
    if as_json:
        console.print_json(data=told)
        return
    of = told.get("of")
    said = (round(p, 6) if of is None else _several(p, of) for p in told["predictions"])
    values = [{"p": p, **found} for p, found in zip(said, told["features"], strict=True)]
    _show(console, values)
    console.print(f"version {told['model_version']}; {_fresh(told)}", markup=False)


def _several(p: Sequence[float], of: Sequence[str]) -> str:
    """Write a prediction of several numbers, the greatest first.

    >>> _several([0.25, 0.75], ["sun", "rain"])
    'rain 0.7500, sun 0.2500'
    """
    both = sorted(zip(of, p, strict=True), key=lambda each: -each[1])
    return ", ".join(f"{name} {value:.4f}" for name, value in both)


def features(
    file: _File = None,
    row: _Rows = None,
    name: Annotated[list[str] | None, typer.Option(help="A feature; all unless given.")] = None,
    state: _State = None,
    as_json: _Json = False,
) -> None:
    """Read the features of decisions, each as of its `at`."""
    from headrace.jobs.serving.client import Client

    rows = _rows(file, row or [])
    with closing(Client(_address(state))) as client:
        told = client.features(rows, name)
    console = Console()
    if as_json:
        console.print_json(data=told)
        return
    _show(console, told["features"])
    console.print(_fresh(told), markup=False)


def _rows(file: Path | None, given: Sequence[str]) -> list[dict[str, Any]]:
    """Read rows from the options or from a file, standard input where it is `-`."""
    asked = "asked for rows"
    if bool(given) == (file is not None):
        raise HeadraceError(asked, "there is none, or two kinds", "give --row or a file")
    texts: Sequence[str | bytes] = given
    if file is not None:
        try:
            whole = sys.stdin.buffer.read() if file == Path("-") else file.read_bytes()
        except OSError as error:
            found = f"{file}: {error.strerror}"
            raise HeadraceError(asked, found, "give another file") from error
        texts = [line for line in whole.splitlines() if line.strip()]
    rows = []
    for number, text in enumerate(texts, 1):
        try:
            rows.append(orjson.loads(text))
        except orjson.JSONDecodeError as error:
            do = 'write an object, as in {"user": "u1"}'
            raise HeadraceError(asked, f"row {number} is no JSON: {error}", do) from error
    return rows


def _show(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    if len(rows) == 1:
        table = Table("feature", "value", box=None)
        for name, value in rows[0].items():
            table.add_row(name, "" if value is None else str(value))
    else:
        table = Table(*rows[0], box=None)
        for row in rows:
            table.add_row(*("" if value is None else str(value) for value in row.values()))
    console.print(table)


def _fresh(told: Mapping[str, Any]) -> str:
    views = (f"{name} to {clock(at)}" for name, at in told["complete_to"].items())
    return f"complete: {', '.join(views)}"
