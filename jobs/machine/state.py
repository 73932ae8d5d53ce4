"""The state folder: where a run keeps all it has, used by one run at a time.

::

    .headrace/<name>/     lock (held while a run lasts; names it), state.json (its form), and what
        │                 the run makes
        │ held          ──► EnvironmentProblem: who holds it, how to stop it
        │ not empty     ──► EnvironmentProblem: start over, or go on?
        │ a newer form  ──► EnvironmentProblem: which headrace wrote it
        ▼
    StateFolder ── write_json: a reader sees the old file or the new one, whole, also after a crash

The lock is the kernel's and ends with the process, however that ends.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from headrace.operators.errors import CorruptError, EnvironmentProblem

__all__ = [
    "FORM",
    "Holder",
    "StateFolder",
    "check_form",
    "check_space",
    "disk",
    "holder",
    "locked",
    "read_json",
    "started_ticks",
    "write_json",
]

FORM = 1
"""The form of state folders that this headrace writes; it reads those before it: 0 has no form."""
LOCK = "lock"
MANIFEST = "state.json"
_OWN = (LOCK, MANIFEST)
_LISTED = 5
_PARTS = ("broker", "views", "labels", "store", "learner", "logs")


@dataclass(frozen=True, slots=True)
class StateFolder:
    """A state folder that this process holds; make one with `locked`."""

    path: Path
    resumed: bool

    def write_json(self, name: str, value: object) -> Path:
        """Write a file of the folder, whole or not at all."""
        return write_json(self.path / name, value)

    def read_json(self, name: str) -> Any:
        """Read a file of the folder."""
        return read_json(self.path / name)


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds a state folder, and what runs in it.

    `started` is when the process began, in the kernel's ticks since the machine did: a process id
    is given again, the two together are not. 0 where it is not known.
    """

    pid: int
    what: str
    started: int = 0

    @property
    def there(self) -> bool:
        """Whether the process of that id is still the one that took the lock."""
        return bool(self.pid) and started_ticks(self.pid) == self.started


@contextmanager
def locked(
    path: Path, what: str, *, fresh: bool = False, resume: bool = False
) -> Iterator[StateFolder]:
    """Hold the folder for the length of the context; it is made if it is not there.

    Parameters
    ----------
    path
        The folder.
    what
        What runs, as in "a <what> is running here": the command's name.
    fresh
        Remove what an earlier run left.
    resume
        Go on with what an earlier run left.

    Raises
    ------
    EnvironmentProblem
        When another process holds it, when an earlier run left something and neither `fresh` nor
        `resume` is given, when it holds files that are not ours to remove, or when a newer headrace
        wrote it.

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with locked(Path(folder) / "demo", "demo") as state:
    ...         _ = state.write_json("report.json", {"events": 7})
    ...     with locked(Path(folder) / "demo", "demo", resume=True) as state:
    ...         state.resumed, state.read_json("report.json")
    (True, {'events': 7})
    """
    path = path.absolute()
    with _writing(path):
        path.mkdir(parents=True, exist_ok=True)
        ours = (path / LOCK).exists()
        descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _held(path, what) from None
        left = sorted(entry for entry in path.iterdir() if entry.name not in _OWN)
        if left and not ours:
            (path / LOCK).unlink()
            asked, do = f"asked for the state folder {path}", "choose another folder"
            raise EnvironmentProblem(asked, f"it holds other files: {_listed(left)}", do)
        if left and not (fresh or resume):
            asked = f"asked to start a {what} in {path}"
            found = f"the state of an earlier run is here: {_listed(left)}"
            raise EnvironmentProblem(
                asked, found, "use --fresh to start over, or --resume to go on"
            )
        check_form(path)
        with _writing(path):
            for entry in left if fresh else ():
                _remove(entry)
            pid = os.getpid()
            facts = {"pid": pid, "what": what, "started": started_ticks(pid)}
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(facts).encode(), 0)
        write_json(path / MANIFEST, {"form": FORM, "headrace": metadata.version("headrace")})
        yield StateFolder(path, resumed=bool(left) and not fresh)
    finally:
        os.close(descriptor)


def check_form(path: Path) -> None:
    """Refuse a folder that a newer headrace wrote; one without a form is of the first ones.

    >>> check_form(Path("/nowhere"))

    Raises
    ------
    EnvironmentProblem
        Where its form is newer than `FORM`, or none.
    """
    if not (path / MANIFEST).exists():
        return
    match read_json(path / MANIFEST):
        case {"form": int(form), "headrace": str(writer)} if form <= FORM:
            del writer
        case {"form": int(form), "headrace": str(writer)}:
            asked = f"asked for the state folder {path}"
            found = f"headrace {writer} wrote it in form {form}; this one reads forms to {FORM}"
            do = f"use headrace {writer} or a later one, or choose another folder"
            raise EnvironmentProblem(asked, found, do)
        case _:
            do = "restore the file from a backup, or choose another folder"
            raise CorruptError(path / MANIFEST, "asked for the folder's form", "it has none", do)


def started_ticks(pid: int) -> int:
    """When a process began, in the kernel's ticks since the machine did; 0 when it is gone.

    >>> started_ticks(os.getpid()) > 0
    True
    """
    with contextlib.suppress(OSError):
        # The name in brackets may hold anything, also brackets; the 22nd field is the time.
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
        return int(text.rpartition(")")[2].split()[19])
    return 0


def holder(path: Path) -> Holder | None:
    """The process that holds the folder; none when nothing does.

    >>> holder(Path("/nowhere"))
    """
    try:
        descriptor = os.open(path / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(descriptor, 4096, 0)
        with contextlib.suppress(ValueError, KeyError):
            facts = json.loads(text)
            return Holder(int(facts["pid"]), str(facts["what"]), int(facts.get("started", 0)))
        return Holder(0, "run")
    else:
        return None
    finally:
        os.close(descriptor)


def write_json(path: Path, value: object) -> Path:
    """Write a file so that it is the old one or the new one, whole, whatever happens.

    Written beside it, brought to the disk, renamed, and the folder brought to the disk.

    Raises
    ------
    EnvironmentProblem
        When the disk is full or the folder cannot be written.
    """
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    with _writing(path.parent):
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=".tmp")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    return path


def read_json(path: Path) -> Any:
    """Read a file written by `write_json`.

    Raises
    ------
    FileNotFoundError
        When it is not there.
    CorruptError
        When it is not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        do = "remove the file, or start over with --fresh"
        raise CorruptError(path, "asked for JSON", str(error), do) from error


def check_space(path: Path, needed_bytes: int) -> None:
    """Raise when the disk of `path`, which need not exist yet, has less room than is needed.

    >>> check_space(Path("."), 1)
    """
    while not path.exists():
        path = path.parent
    free = shutil.disk_usage(path).free
    if free < needed_bytes:
        asked = f"asked for {needed_bytes / 1e9:.1f} GB of room below {path}"
        do = "free some space or choose a folder on another disk"
        raise EnvironmentProblem(asked, f"the disk has {free / 1e9:.1f} GB left", do)


def disk(state: Path) -> dict[str, int]:
    """Give the bytes of each part of a state folder, and what is free beside it."""
    sizes = {part: _size_of(state / part) for part in _PARTS if (state / part).exists()}
    return sizes | {"free": shutil.disk_usage(state).free}


def _size_of(folder: Path) -> int:
    size = 0
    for path in folder.rglob("*"):
        try:
            size += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:  # a checkpoint that went meanwhile
            continue
    return size


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        asked = f"asked to write into {path}"
        do = "choose a folder that you may write"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            do = "free some space or choose a folder on another disk"
        raise EnvironmentProblem(asked, str(error.strerror or error), do) from error


def _held(path: Path, what: str) -> EnvironmentProblem:
    held = holder(path) or Holder(0, "run")
    asked = f"asked to start a {what} in {path}"
    if not held.pid:
        found, do = f"another {held.what} begins here just now", "wait for it, or try again"
        return EnvironmentProblem(asked, found, do)
    found = f"a {held.what} is running here as process {held.pid}"
    do = f"stop it with Ctrl-C or 'kill {held.pid}', or choose another folder"
    return EnvironmentProblem(asked, found, do)


def _listed(entries: list[Path]) -> str:
    names = ", ".join(entry.name for entry in entries[:_LISTED])
    return names + (f" and {len(entries) - _LISTED} more" if len(entries) > _LISTED else "")


def _remove(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink()
