"""headrace logs: what the processes of a state folder wrote, in the order of their clocks.

A line that begins with no time belongs to the one before it, as those of a traceback do.
"""

from __future__ import annotations

import contextlib
import heapq
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from headrace.jobs.machine.rotation import before
from headrace.jobs.machine.waiting import wait_until
from headrace.operators.errors import EnvironmentProblem, UnknownName

__all__ = ["Line", "files", "follow", "lines", "merged"]

# As Python's logging, Kafka's and our JSON write it, all in local time.
_TIME = re.compile(r"(?:\{\"ts\": \")?(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)[,.](\d{3})")
_LOOK_SECONDS = 0.2


class Line(NamedTuple):
    """A line of a log: when, in local time as it is written; whose; what."""

    at: str
    process: str
    text: str


def files(state: Path, process: str | None = None) -> list[Path]:
    """List the logs of a state folder, or that of one process.

    Raises
    ------
    EnvironmentProblem, UnknownName
        Where nothing ever ran there; where no process of that name did.

    """
    found = sorted((state / "logs").glob("*.log"))
    if not found:
        asked = f"asked for the logs in {state}"
        raise EnvironmentProblem(asked, "there is none", "run the pipeline, or give its --state")
    if process is None:
        return found
    known = {path.stem: path for path in found}
    if process not in known:
        raise UnknownName(kind="process", name=process, known=list(known))
    return [known[process]]


def lines(path: Path) -> Iterator[Line]:
    """Read a log's lines, older ones first, each with the time of the last line that has one."""
    at = ""
    for part in (before(path), path):
        with (
            contextlib.suppress(FileNotFoundError),
            part.open(encoding="utf-8", errors="replace") as log,
        ):
            for text in log:
                at = _at(text) or at
                yield Line(at, path.stem, text.rstrip("\n"))


def merged(paths: Sequence[Path], since: datetime | None = None) -> Iterator[Line]:
    """Merge logs by time; `since` is in local time.

    >>> list(merged([]))
    []
    """
    first = "" if since is None else since.strftime("%Y-%m-%d %H:%M:%S.000")
    every = heapq.merge(*map(lines, paths), key=lambda line: line.at)
    return (line for line in every if line.at >= first)


def follow(state: Path, process: str | None, tell: Callable[[Line], object]) -> None:
    """Tell what is written from now on, also by processes that begin later; until Ctrl-C."""
    places = {path: path.stat().st_size for path in files(state, process)}

    def look() -> bool:
        for path in files(state, process):
            with path.open("rb") as log:
                if path.stat().st_size < places.get(path, 0):  # it was emptied
                    places[path] = 0
                log.seek(places.get(path, 0))
                # A line that is not whole yet is told when it is.
                whole, end, _ = log.read().rpartition(b"\n")
            places[path] = places.get(path, 0) + len(whole) + len(end)
            for text in whole.decode("utf-8", "replace").split("\n") if end else ():
                tell(Line(_at(text), path.stem, text))
        return False

    wait_until(look, float("inf"), "Ctrl-C", every_seconds=_LOOK_SECONDS)


def _at(text: str) -> str:
    match = _TIME.match(text)
    return f"{match[1]} {match[2]}.{match[3]}" if match else ""
