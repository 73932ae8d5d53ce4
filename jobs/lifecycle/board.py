"""What a running pipeline tells of itself in its state folder, for other programs to read.

::

    up ──────────► running.json: who it is, where Kafka and the store are ─┬─► status, down, doctor
    supervisor ──► processes.json: what became of each process ────────────┘

Each is written anew when something changes, whole; after the end they say how that came about.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from headrace.jobs.machine.local import PROCESSES
from headrace.jobs.machine.processes import Status
from headrace.jobs.machine.state import Holder, StateFolder, holder, read_json

__all__ = ["STOPPED", "Board", "Posted", "posted", "processes"]

STOPPED = "stopped"
"""How an end is told that was asked for."""
_FILE = "running.json"


@dataclass(frozen=True)
class Posted:
    """All that is told.

    Parameters
    ----------
    pid
        Of what supervises.
    pipeline, path
        The pipeline's name and its file.
    kafka
        Its address.
    topics
        Of each source that has one.
    store
        The URL of the store process; None before it has one.
    ready
        Whether the store answers, or did.
    ended
        None while it runs; then `STOPPED`, or what ended it.
    flink
        The address of a Flink that is elsewhere.

    """

    pid: int
    pipeline: str
    path: str
    kafka: str
    topics: Mapping[str, str]
    store: str | None = None
    ready: bool = False
    ended: str | None = None
    flink: str | None = None


class Board:
    """The file, as the process that supervises writes it."""

    def __init__(self, folder: StateFolder) -> None:
        self._folder = folder
        self._last: Posted | None = None

    def post(self, told: Posted) -> bool:
        """Write it, if it is other than the last; say whether it is."""
        if told == self._last:
            return False
        self._folder.write_json(_FILE, asdict(told))
        self._last = told
        return True


def posted(state: Path) -> tuple[Posted | None, Holder | None]:
    """Read what the last `up` told, and what holds the folder now."""
    held = holder(state)
    path = state / _FILE
    return (Posted(**read_json(path)) if path.exists() else None), held


def processes(state: Path) -> dict[str, Status]:
    """Read what became of each process, of the run that is or was last; nothing where none was."""
    path = state / PROCESSES
    told = read_json(path) if path.exists() else {}
    return {name: Status(**each) for name, each in told.items()}
