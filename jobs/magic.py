"""``%%headrace``: SQL to a running pipeline's store from a notebook.

::

    %load_ext headrace.jobs.magic
    %%headrace [--state FOLDER] [--arrow] [NAME]
    SELECT * FROM decisions LIMIT 10

The answer is a pandas data frame, or an Arrow table, and is put under NAME, too. What is wrong is
said in its sentence. ``%headrace SELECT 1`` asks in one line.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from headrace.jobs.serving.client import Client
from headrace.operators.errors import HeadraceError, StoreError

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["answered", "load_ipython_extension"]

_STATE = ".headrace/demo"


class _Line(argparse.ArgumentParser):
    """Reads the magic's line; what is wrong is an error, not the end of the notebook."""

    def error(self, message: str) -> NoReturn:
        """Say what is taken."""
        asked = "asked with %%headrace"
        raise StoreError(asked, message, "write %%headrace [--state FOLDER] [--arrow] [NAME]")


def _parser() -> _Line:
    parser = _Line(prog="%%headrace", add_help=False)
    parser.add_argument("--state", default=_STATE)
    parser.add_argument("--arrow", action="store_true")
    parser.add_argument("name", nargs="?")
    return parser


def answered(line: str, query: str, into: dict[str, object]) -> object:
    """Ask `query`; give the answer as the magic's line says, and put it under the name there.

    Raises
    ------
    HeadraceError
        Where the line or the query is wrong, or no store answers.

    """
    try:
        asked = _parser().parse_args(shlex.split(line))
    except ValueError as error:
        said = "asked with %%headrace"
        raise StoreError(said, str(error), "close the quotes") from error
    if asked.name is not None and not asked.name.isidentifier():
        said = f"asked to keep the answer as {asked.name!r}"
        raise StoreError(said, "that is no name of a variable", "write SQL below the first line")
    with closing(Client(Path(asked.state) / "store" / "address.json")) as client:
        table = client.sql(query)
    found = table if asked.arrow else table.to_pandas()
    if asked.name is not None:
        into[asked.name] = found
    return found


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register the magic; what ``%load_ext`` calls."""

    def headrace(line: str, cell: str | None = None) -> object:
        """Ask the store of a running pipeline in SQL."""
        try:
            if cell is None:
                return answered("", line, shell.user_ns)
            return answered(line, cell, shell.user_ns)
        except HeadraceError as error:
            print(f"headrace: {error}", file=sys.stderr)  # noqa: T201
            return None

    shell.register_magic_function(headrace, "line_cell", "headrace")  # type: ignore[arg-type]  # traitlets hides its form
