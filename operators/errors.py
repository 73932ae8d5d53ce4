"""The one tree of errors.

::

    HeadraceError             asked, found, do: the three parts of every sentence
    ├── PipelineError         a place in a pipeline file that cannot be honoured
    ├── UnknownName           a name that nobody declared, with the nearest that exists
    ├── GapError              an engine was asked for an operator that it does not have
    ├── EnvironmentProblem    the machine lacks something: Java, a jar, a port, a disk, a Python
    ├── StoreError            the store was asked for what it cannot answer or must refuse
    └── CorruptError          bytes that are not what their checksum or their form says

    Gap = NotYet | Never      values, not errors: why an engine does not have an operator
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Self

__all__ = [
    "CorruptError",
    "EnvironmentProblem",
    "Gap",
    "GapError",
    "HeadraceError",
    "Never",
    "NotYet",
    "PipelineError",
    "StoreError",
    "UnknownName",
]

# Above this many known names the sentence gives the nearest ones only.
_LISTED_NAMES = 12
# A sentence is read by people and written to logs: what somebody else put into it neither fills
# them nor begins a line of its own.
_MOST_CHARACTERS = 1200
_BREAK = re.compile(r"\s*[\r\n]\s*")


class HeadraceError(Exception):
    """Whatever headrace refuses, said in one sentence: asked; found; do.

    A subclass that has more facts is a dataclass with these as fields, `asked`, `found` and `do`
    among them. Positional and keyword arguments both work.
    """

    asked: str
    found: str
    do: str
    exit_status: ClassVar[int] = 1
    """What the command line ends with."""
    start: int | None = None
    """How many characters into the text that was read it is about, where that is known."""

    def __init__(self, asked: str, found: str, do: str) -> None:
        super().__init__(asked, found, do)
        self.asked, self.found, self.do = asked, found, do

    def __str__(self) -> str:
        return "; ".join(_printable(part) for part in (self.asked, self.found, self.do) if part)


def _printable(text: str) -> str:
    """Give a part of a sentence as it can be shown: in one line, cut where it has no end.

    >>> _printable("asked for a" + chr(10) + "b" + chr(7)) == "asked for a b" + chr(92) + "x07"
    True
    """
    text = _BREAK.sub(" ", text[: _MOST_CHARACTERS + 1])
    if not text.isprintable():
        text = "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 1]}…"


@dataclass(eq=False)
class PipelineError(HeadraceError):
    """A place in a pipeline file that cannot be honoured; lines and columns count from 1.

    >>> print(PipelineError("p.yaml", 3, 7, "asked for a step of '7s'", "7 s does not divide a day",
    ...                     "use 5s, 6s, 8s or 10s"))
    p.yaml:3:7: asked for a step of '7s'; 7 s does not divide a day; use 5s, 6s, 8s or 10s
    """

    path: str | Path
    line: int
    column: int
    asked: str
    found: str
    do: str

    def __str__(self) -> str:
        return f"{_printable(str(self.path))}:{self.line}:{self.column}: {super().__str__()}"

    @classmethod
    def located(cls, error: HeadraceError, path: str | Path, *, line: int, column: int) -> Self:
        """Give `error`, raised by something that knows no files, its place; raise it `from` it.

        >>> print(PipelineError.located(UnknownName("view", "tial", ["tail"]), "p.yaml",
        ...                             line=9, column=5))
        p.yaml:9:5: asked for the view 'tial'; known: 'tail'; did you mean 'tail'?
        """
        return cls(path, line, column, error.asked, error.found, error.do)


@dataclass(eq=False)
class UnknownName(HeadraceError):
    """A name that nobody declared, with the nearest that exists.

    >>> print(UnknownName("aggregate", "meen", ["sum", "mean", "count"]))
    asked for the aggregate 'meen'; known: 'count', 'mean', 'sum'; did you mean 'mean'?
    >>> print(UnknownName("view", "tail", []))
    asked for the view 'tail'; no view is declared; declare it or remove the name
    """

    kind: str
    name: str
    known: Collection[str]
    asked: str = field(init=False)
    found: str = field(init=False)
    do: str = field(init=False)

    def __post_init__(self) -> None:
        near = self.nearest
        listed = near if len(self.known) > _LISTED_NAMES else sorted(self.known)
        self.asked = f"asked for the {self.kind} {self.name!r}"
        self.do = "use one of the known names"
        if near:
            self.do = f"did you mean {near[0]!r}?"
        if not self.known:
            self.found = f"no {self.kind} is declared"
            self.do = "declare it or remove the name"
        elif listed:
            of_many = f" (nearest of {len(self.known)})" if listed is near else ""
            self.found = f"known{of_many}: {', '.join(map(repr, listed))}"
        else:
            self.found = f"none of the {len(self.known)} known names is near it"

    @property
    def nearest(self) -> list[str]:
        """At most three known names that resemble the one asked for, the best first."""
        lowered = {known.lower(): known for known in sorted(self.known, reverse=True)}
        return [lowered[close] for close in difflib.get_close_matches(self.name.lower(), lowered)]


@dataclass(frozen=True, slots=True)
class NotYet:
    """A gap that could be filled, and what stands in the way."""

    reason: str

    def __str__(self) -> str:
        return f"not yet: {self.reason}"


@dataclass(frozen=True, slots=True)
class Never:
    """A gap that cannot be filled, and why the engine cannot."""

    reason: str

    def __str__(self) -> str:
        return f"never: {self.reason}"


Gap = NotYet | Never


@dataclass(eq=False)
class GapError(HeadraceError):
    """An engine was asked for an operator that it does not have.

    >>> print(GapError("quantile", "flink", NotYet("the sketch has no SQL form")))
    asked for 'quantile' on flink; not yet: the sketch has no SQL form; choose another engine
    >>> print(GapError("last_n", "duckdb", Never("order is lost"), do="use 'latest'"))
    asked for 'last_n' on duckdb; never: order is lost; use 'latest'
    """

    operator: str
    engine: str
    gap: Gap
    do: str = "choose another engine"
    asked: str = field(init=False)
    found: str = field(init=False)

    def __post_init__(self) -> None:
        self.asked = f"asked for {self.operator!r} on {self.engine}"
        self.found = str(self.gap)


class EnvironmentProblem(HeadraceError):
    """The machine lacks something that the work needs.

    >>> print(EnvironmentProblem("asked for port 9092", "another process listens on it",
    ...                          "stop it or pass --kafka"))
    asked for port 9092; another process listens on it; stop it or pass --kafka
    """


class StoreError(HeadraceError):
    """The store was asked for what it cannot answer or must refuse.

    >>> print(StoreError("asked for features at 09:00", "the log begins at 10:00", "ask later"))
    asked for features at 09:00; the log begins at 10:00; ask later
    """


@dataclass(eq=False)
class CorruptError(HeadraceError):
    """A file whose bytes are not what its checksum or its form says.

    >>> print(CorruptError("w.safetensors", "asked for sha256 ab12", "its sha256 is cd34",
    ...                    "restore the version before it"))
    w.safetensors: asked for sha256 ab12; its sha256 is cd34; restore the version before it
    """

    path: str | Path
    asked: str
    found: str
    do: str

    def __str__(self) -> str:
        return f"{_printable(str(self.path))}: {super().__str__()}"
