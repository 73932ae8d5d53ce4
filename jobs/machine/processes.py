"""The supervisor: starts the processes of a pipeline, and again what dies; leaves nothing behind.

::

    start ──► running ──► killed by another ──► start                at once
                 │  └───► ends of itself ──► back-off ──► start     0.5 s, doubling to 10 s, from
                 │                    │                             one start to the next
                 │                    ├──► 5 times in 60 s ──────┬──► given up: `check` raises the
                 │                    └──► 5 times in a row of ──┘    cause
                 │                         itself, each within 2 min of its start
    stop: the last started first; SIGTERM, wait, SIGKILL; then whatever it had started itself

Each process leads its own session, so that Ctrl-C reaches the supervisor alone and the order of
stopping is ours. What outlives its process (a Java gateway whose Python was killed) is ended
before the process is started again, for two of them would do the work twice. When the supervisor
itself is killed the warden (`warden.py`) ends everything.

Those that are ours are forked from a process that has imported what they need (`forkserver.py`).
"""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, Any, Literal, NoReturn

from headrace.jobs.machine.forkserver import Forked, Forks, Imported
from headrace.jobs.machine.rotation import rotate
from headrace.jobs.machine.state import write_json
from headrace.jobs.machine.waiting import wait_until
from headrace.jobs.machine.warden import NAME, TAG, end, tagged
from headrace.operators.errors import EnvironmentProblem, HeadraceError

__all__ = ["CrashLoop", "Process", "State", "Status", "Supervisor", "peak_rss_bytes"]

State = Literal["running", "waiting", "finished", "failed", "stopped"]

_WARDEN = Path(__file__).with_name("warden.py")
_FIRST_BACK_OFF_SECONDS = 0.5
_LONGEST_BACK_OFF_SECONDS = 10.0
_FROM_OUTSIDE = frozenset((signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
"""Signals that a process does not come by of itself, as it does by SIGSEGV or SIGABRT."""
_FAILURES = 5
_WITHIN_SECONDS = 60.0
# A Flink job that cannot run needs half a minute to say so: five of these take longer than that.
_OWN_END_SECONDS = 120.0
_LOOK_SECONDS = 0.1
_MEMORY_SECONDS = 1.0
_SWEEP_SECONDS = 2.0
_TOLD_LINES = 5
_NO_CAUSE = ("at ", "... ", "- leaked ", "- ... skipped", "nanobind: ", "See https://nanobind")
_TOLD_CHARACTERS = 1000


@dataclass(frozen=True, slots=True)
class Process:
    """A process as it is to be run.

    Parameters
    ----------
    name
        What it is called in reports.
    argv
        The program and its arguments.
    log
        The file that its output is appended to.
    env
        Variables beside those of the supervisor's own environment.
    ready
        True when it can be used; looked at until it is, by `Supervisor.wait_ready`.
    ready_seconds
        How long that may take, with what it needed to start again.
    stop_seconds
        How long it may take to stop before it is killed.
    finishes
        Whether it has an end of its own: then exit status 0 is not a failure.
    files
        Descriptors of ours that it has, too, by the variable with which it is told each.
    forked
        Whether it is a fork of what the supervisor has imported, which takes `argv` as its own.

    Examples
    --------
    >>> Process("hello", ["echo", "hello"], Path("hello.log"), finishes=True).name
    'hello'
    """

    name: str
    argv: Sequence[str]
    log: Path
    env: Mapping[str, str] = field(default_factory=dict)
    ready: Callable[[], object] | None = None
    ready_seconds: float = 60.0
    stop_seconds: float = 15.0
    finishes: bool = False
    files: Mapping[str, int] = field(default_factory=dict)
    forked: bool = False


@dataclass(frozen=True, slots=True)
class Status:
    """What became of a process: `pid` while it runs, `exit_status` of its latest end.

    `since` is when it was started last, in seconds since 1970; `cause` how it failed last, with
    what it wrote then.
    """

    state: State
    pid: int | None
    restarts: int
    exit_status: int | None
    peak_rss_bytes: int
    since: float = 0.0
    cause: str = ""


@dataclass(eq=False)
class CrashLoop(HeadraceError):
    """A process that ended too often to be started again, with the last lines that it wrote.

    >>> print(CrashLoop("store", 5, 60.0, "exit status 1", "disk full", Path("store.log")))
    asked for the process 'store' to run; it ended 5 times within 60 s, at last with exit status \
1: disk full; repair the cause and start again; its whole log is store.log
    """

    name: str
    failures: int
    within_seconds: float
    how: str
    tail: str
    log: Path
    asked: str = field(init=False)
    found: str = field(init=False)
    do: str = field(init=False)

    def __post_init__(self) -> None:
        self.asked = f"asked for the process {self.name!r} to run"
        self.found = (
            f"it ended {self.failures} times within {self.within_seconds:g} s,"
            f" at last with {self.how}: {self.tail or 'it wrote nothing'}"
        )
        self.do = f"repair the cause and start again; its whole log is {self.log}"


class Supervisor(AbstractContextManager["Supervisor"]):
    """Runs processes as a context; at its end, or on SIGINT or SIGTERM, all of them are stopped.

    A thread of its own looks after them, so the caller may be busy; it learns of what was given
    up from `check`. In the main thread SIGINT raises `KeyboardInterrupt` and SIGTERM `SystemExit`;
    a second signal, while stopping, kills what is left at once.

    Parameters
    ----------
    told
        A file that says what became of each process, for those who ask from outside.
    imported
        What forked processes come up with; it is imported from the start on.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, Supervisor() as supervisor:
    ...     log = Path(folder) / "hello.log"
    ...     supervisor.start(Process("hello", ["echo", "hello"], log, finishes=True))
    ...     supervisor.wait_ready("hello")
    ...     supervisor.wait_finished("hello")
    ...     print(log.read_text().strip(), supervisor.status()["hello"].exit_status)
    hello 0
    """

    def __init__(self, told: Path | None = None, *, imported: Imported | None = None) -> None:
        self._told = told
        self._last_told: dict[str, Any] = {}
        self._token = secrets.token_hex(16)
        self._forks = Forks(imported, {TAG: self._token}) if imported else None
        self._children: dict[str, _Child] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._hurry = threading.Event()
        self._thread = threading.Thread(target=self._look_after, name="supervisor", daemon=True)
        self._warden: subprocess.Popen[bytes] | None = None
        self._handlers: dict[int, Any] = {}
        self._problem: HeadraceError | None = None

    def __enter__(self) -> Supervisor:
        self._warden = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_WARDEN), self._token],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        if self._forks is not None:
            self._forks.server()
        self._thread.start()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._handlers[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, process: Process) -> None:
        """Start a process and return at once; from now on it is started again when it dies.

        One of a name that was stopped may be started anew, as another.
        """
        if self._warden is None or self._stopping.is_set():
            asked = f"asked to start {process.name!r}"
            raise EnvironmentProblem(asked, "the supervisor does not run", "use it as a context")
        with self._lock:
            known = self._children.get(process.name)
            if known is not None and known.state != "stopped":
                asked, do = f"asked to start {process.name!r}", "give it another name"
                raise EnvironmentProblem(asked, "a process of that name was started", do)
            self._children[process.name] = _Child(process, self._token, self._forks)

    def wait_ready(self, *names: str) -> None:
        """Wait until these processes, or all, are ready or have finished.

        Raises
        ------
        CrashLoop
            When one of them, or any other, was given up.
        EnvironmentProblem
            When the deadline passed; says the last lines that the process wrote.
        """
        for name in names or tuple(self._children):
            child = self._children[name]
            process = child.process

            def settled(child: _Child = child) -> object:
                self.check()
                return child.state == "finished" or (child.state == "running" and child.ready())

            try:
                wait_until(settled, process.ready_seconds, name, every_seconds=0.05)
            except EnvironmentProblem as problem:
                asked = f"asked for the process {name!r} to be ready"
                wrote = child.tail() or "it wrote nothing"
                found = f"it was not in {process.ready_seconds:g} s: {wrote}"
                do = f"look at its log {process.log}"
                raise EnvironmentProblem(asked, found, do) from problem

    def wait_finished(self, name: str, *, deadline_seconds: float = 60.0) -> None:
        """Wait until a process that has an end of its own has come to it."""

        def finished() -> bool:
            self.check()
            return self._children[name].state == "finished"

        wait_until(finished, deadline_seconds, f"the end of the process {name!r}")

    def check(self) -> None:
        """Raise what made a process be given up, if one was."""
        if self._problem is not None:
            raise self._problem

    def status(self) -> dict[str, Status]:
        """What became of each process, in the order in which they were started."""
        with self._lock:
            return {name: child.status() for name, child in self._children.items()}

    def memory(self) -> dict[str, int]:
        """The peak memory of each process, in bytes; see `peak_rss_bytes`."""
        return {name: status.peak_rss_bytes for name, status in self.status().items()}

    def signal(self, name: str, number: int) -> None:
        """Send a signal to a process; it is not told that this was wanted."""
        with self._lock:
            child = self._children[name]
            if child.popen.poll() is None:
                child.popen.send_signal(number)

    def stop(self, *names: str) -> None:
        """Stop these processes, or all and the supervisor too: the last started first."""
        if not names:
            self._stopping.set()
            if self._thread.is_alive() and threading.current_thread() is not self._thread:
                self._thread.join()
        with self._lock:
            for name, child in reversed(self._children.items()):
                if not names or name in names:
                    child.stop(self._hurry)
        if not names:
            self._tell()
            self._dismiss()

    def _dismiss(self) -> None:
        if self._forks is not None:
            self._forks.close()
        if self._warden is not None:
            with contextlib.suppress(OSError):
                if self._warden.stdin is not None:
                    self._warden.stdin.close()
            self._warden.wait()
            self._warden = None
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if self._stopping.is_set():
            self._hurry.set()
            return
        _interrupt(number)

    def _look_after(self) -> None:
        measure_at = time.monotonic()
        while not self._stopping.wait(_LOOK_SECONDS):
            with self._lock:
                for child in self._children.values():
                    try:
                        child.look()
                    except HeadraceError as problem:
                        self._problem = self._problem or problem
                if time.monotonic() >= measure_at:
                    measure_at = time.monotonic() + _MEMORY_SECONDS
                    for child in self._children.values():
                        child.measure()
                    self._keep_logs_small()
            self._tell()

    def _keep_logs_small(self) -> None:
        """Rotate the logs of the processes, and those beside them."""
        folders = {child.process.log.parent for child in self._children.values()}
        for log in (path for folder in folders for path in folder.glob("*.log")):
            rotate(log)

    def _tell(self) -> None:
        """Say in the file what has changed."""
        if self._told is None:
            return
        now = {name: asdict(status) for name, status in self.status().items()}
        if now != self._last_told:
            self._last_told = now
            with contextlib.suppress(EnvironmentProblem):  # a full disk is others' to complain of
                write_json(self._told, now)


class _Child:
    """A process that was started, and when it failed; all of it under the supervisor's lock."""

    def __init__(self, process: Process, token: str, forks: Forks | None) -> None:
        self.process = process
        self._forks = forks
        self.restarts = 0
        self.exit_status: int | None = None
        self._token = token
        self._failures: list[float] = []
        self._own_ends: list[float] = []  # one after another, each soon after its start
        self._cause = ""
        self._again_at = 0.0
        self._back_off_seconds = _FIRST_BACK_OFF_SECONDS
        self._peak_rss_bytes = 0
        self.state: State = "running"
        self.popen = self._spawn()

    def _spawn(self) -> subprocess.Popen[bytes] | Forked:
        process = self.process
        process.log.parent.mkdir(parents=True, exist_ok=True)
        tags = {TAG: self._token, NAME: process.name}
        env = {**process.env, **tags}
        handed = {name: str(number) for name, number in process.files.items()}
        with process.log.open("ab") as log:
            self._log_start = log.tell()
            self._started_at = time.monotonic()
            self._since = time.time()
            if process.forked and self._forks is not None:
                return self._forks.fork(process.argv, env, log.fileno(), process.files)
            try:
                return subprocess.Popen(
                    list(process.argv),
                    env={"PYTHONUNBUFFERED": "1", **os.environ, **env, **handed},
                    pass_fds=tuple(process.files.values()),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                asked = f"asked to start {process.name!r}"
                found = f"{process.argv[0]}: {error.strerror}"
                raise EnvironmentProblem(asked, found, "run 'make setup'") from error

    def look(self) -> None:
        """Note that it has ended; start it again when its time has come."""
        now = time.monotonic()
        if self.state == "running":
            exit_status = self.popen.poll()
            if exit_status is not None:
                self.exit_status = exit_status
                end(self._token, self.process.name, grace_seconds=0.0)
                if exit_status == 0 and self.process.finishes:
                    self.state = "finished"
                else:
                    self._fail(now)
        elif self.state == "waiting" and now >= self._again_at:
            self.restarts += 1
            self.state = "failed"  # should the program be gone
            self.popen = self._spawn()
            self.state = "running"

    def _fail(self, now: float) -> None:
        lived = now - self._started_at
        if lived >= _WITHIN_SECONDS:
            self._back_off_seconds = _FIRST_BACK_OFF_SECONDS
        self._failures = [at for at in self._failures if now - at < _WITHIN_SECONDS]
        self._failures.append(now)
        of_itself = (self.exit_status or 0) >= 0 and lived < _OWN_END_SECONDS  # no signal's
        killed = -(self.exit_status or 0) in _FROM_OUTSIDE
        self._own_ends = [*self._own_ends, now] if of_itself else []
        how, tail = _how(self.exit_status or 0), self.tail()
        self._cause = f"{how}: {tail or 'it wrote nothing'}"
        for ends in (self._failures, self._own_ends):
            if len(ends) >= _FAILURES:
                self.state = "failed"
                within = max(_WITHIN_SECONDS, math.ceil(now - ends[0]))
                name, log = self.process.name, self.process.log
                raise CrashLoop(name, len(ends), within, how, tail, log)
        self.state = "waiting"
        if killed:  # that says nothing of the next start
            self._again_at = now
            return
        self._again_at = max(now, self._started_at + self._back_off_seconds)
        self._back_off_seconds = min(2 * self._back_off_seconds, _LONGEST_BACK_OFF_SECONDS)

    def ready(self) -> bool:
        """Whether it can be used."""
        return self.process.ready is None or bool(self.process.ready())

    def measure(self) -> None:
        """Look at its memory, and that of what it started."""
        if self.state == "running":
            # A fork has the environment of what it was forked from, as far as others see it.
            whole = {self.popen.pid, *tagged(self._token, self.process.name)}
            total = sum(map(peak_rss_bytes, whole))
            self._peak_rss_bytes = max(self._peak_rss_bytes, total)

    def stop(self, hurry: threading.Event) -> None:
        """Stop it, and what it started itself and left behind."""
        self.measure()
        if self.popen.poll() is None:
            self.popen.terminate()

            def gone() -> bool:
                return self.popen.poll() is not None or hurry.is_set()

            with contextlib.suppress(EnvironmentProblem):
                wait_until(gone, self.process.stop_seconds, self.process.name)
            if self.popen.poll() is None:
                self.popen.kill()
            self.exit_status = self.popen.wait()
        end(self._token, self.process.name, grace_seconds=0 if hurry.is_set() else _SWEEP_SECONDS)
        if self.state in ("running", "waiting"):
            self.state = "stopped"

    def status(self) -> Status:
        """The facts, for others to read."""
        pid = self.popen.pid if self.state == "running" else None
        return Status(
            self.state,
            pid,
            self.restarts,
            self.exit_status,
            self._peak_rss_bytes,
            self._since,
            self._cause,
        )

    def tail(self) -> str:
        """The last lines that it wrote since it was last started, in one.

        Without a Java stack's, and what DuckDB's binding says of itself at the end of a process.
        """
        with contextlib.suppress(OSError), self.process.log.open("rb") as log:
            size = _size(log)
            start = self._log_start if self._log_start <= size else 0  # it was emptied
            log.seek(max(start, size - 8192))
            lines = map(str.strip, log.read().decode("utf-8", "replace").splitlines())
            told = [line for line in lines if line and not line.startswith(_NO_CAUSE)]
            return " | ".join(told[-_TOLD_LINES:])[-_TOLD_CHARACTERS:]
        return ""


def peak_rss_bytes(pid: int) -> int:
    """The most memory that the process had resident at any time, in bytes; 0 when it is gone.

    Summed over several processes it counts the pages that they share more than once.

    >>> peak_rss_bytes(os.getpid()) > 1 << 20
    True
    """
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text("ascii", "replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def _size(file: IO[bytes]) -> int:
    return os.fstat(file.fileno()).st_size


def _how(exit_status: int) -> str:
    if exit_status < 0:
        return f"signal {signal.Signals(-exit_status).name}"
    return f"exit status {exit_status}"


def _interrupt(number: int) -> NoReturn:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)
