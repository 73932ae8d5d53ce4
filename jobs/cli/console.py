"""Asking the store in SQL from a terminal: one question and its answer, or a prompt for many.

A question at the prompt may have several lines and ends with a semicolon. What was asked before is
kept in a file; tab completes the names of the catalogue.
"""

from __future__ import annotations

import readline
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal

import orjson
import pyarrow as pa
import pyarrow.ipc as ipc
from pyarrow import csv
from rich.console import Console
from rich.table import Table

from headrace.operators.errors import HeadraceError

__all__ = ["NAMES", "Form", "completions", "prompt", "show", "written"]

Ask = Callable[[str], pa.Table]
NAMES = (
    "SELECT CASE table_schema WHEN 'main' THEN table_name "
    "ELSE table_schema || '.' || table_name END AS name FROM information_schema.tables "
    "UNION SELECT column_name FROM information_schema.columns "
    "UNION SELECT schema_name || '.' || function_name || '(' FROM duckdb_functions() "
    "WHERE schema_name = 'features'"
)
"""The question whose answer is what can be completed."""
_MOST_ASKED = 1_000


Form = Literal["csv", "json", "arrow"]
"""How an answer is written where it is not shown."""


def written(rows: pa.Table, form: Form) -> bytes:
    r"""Write an answer as CSV with a head, as a JSON list of objects, or as an Arrow IPC stream.

    In CSV null is an empty cell, an empty text is ``""``, and a list is JSON.

    >>> print(written(pa.table({"a": [1, None], "b": ["x", ""]}), "csv").decode(), end="")
    "a","b"
    1,"x"
    ,""
    >>> written(pa.table({"a": [1, None]}), "json")
    b'[{"a":1},{"a":null}]\n'
    """
    if form == "json":
        return orjson.dumps(rows.to_pylist(), default=str, option=orjson.OPT_APPEND_NEWLINE)
    sink = pa.BufferOutputStream()
    if form == "csv":
        csv.write_csv(pa.table({f.name: _plain(rows[f.name]) for f in rows.schema}), sink)
    else:
        with ipc.new_stream(sink, rows.schema) as writer:
            writer.write_table(rows)
    return bytes(sink.getvalue().to_pybytes())


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    """Turn lists and structs, which CSV has not, into JSON."""
    if not pa.types.is_nested(column.type):
        return column
    texts = (
        None if value is None else orjson.dumps(value, default=str).decode()
        for value in column.to_pylist()
    )
    return pa.array(texts, pa.string())


def show(rows: pa.Table, console: Console) -> None:
    """Show an answer as a table; null is an empty cell in grey."""
    table = Table(*rows.column_names)
    for row in rows.to_pylist():
        table.add_row(*("[dim]null[/]" if value is None else str(value) for value in row.values()))
    console.print(table)


def completions(text: str, names: Iterable[str]) -> list[str]:
    """Give the names that begin with `text`, whatever the case.

    >>> completions("Dec", ["decisions", "views.tail", "declared"])
    ['decisions', 'declared']
    """
    return sorted(name for name in names if text and name.lower().startswith(text.lower()))


def prompt(ask: Ask, history: Path, *, read: Callable[[str], str] = input) -> None:
    """Read questions until the end of the input, and answer each; a mistake ends only its own.

    Parameters
    ----------
    ask
        Answers one question.
    history
        The file in which questions are kept.
    read
        Reads a line after a prompt; EOFError is the end, KeyboardInterrupt drops the question.

    """
    console = Console()
    _prepare(history, ask(NAMES)["name"].to_pylist())
    lines: list[str] = []
    while True:
        try:
            lines.append(read("   ...> " if lines else "headrace> "))
        except EOFError:
            break
        except KeyboardInterrupt:
            lines.clear()
            continue
        question = "\n".join(lines).strip()
        if question.endswith(";") or not question:
            lines.clear()
        if question.endswith(";"):
            _answer(question, ask, console)
    readline.write_history_file(history)


def _answer(question: str, ask: Ask, console: Console) -> None:
    try:
        show(ask(question), console)
    except HeadraceError as error:
        console.print(str(error), markup=False, style="red")


def _prepare(history: Path, names: Sequence[str]) -> None:
    history.parent.mkdir(parents=True, exist_ok=True)
    if history.exists():
        readline.read_history_file(history)
    readline.set_history_length(_MOST_ASKED)

    def complete(text: str, place: int) -> str | None:
        found = completions(text, names)
        return found[place] if place < len(found) else None

    readline.set_completer_delims(" \t\n,()=<>;")
    readline.set_completer(complete)
    readline.parse_and_bind("tab: complete")
