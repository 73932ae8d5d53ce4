"""A process that has imported everything and forks: ours start in a fraction of a second.

::

    supervisor ──► arguments, environment, log, files ──► fork server ──fork──► store, learner, …
         ▲                                                  │ one thread; opens, computes nothing
         └────── a descriptor of each, how each ended ◄─────┘

Python, DuckDB, numba and torch take seconds of a CPU to come up, and a fork of them nothing; their
memory is shared, too. So a process that was killed is back before one could import anything, and
however often it is killed, for it is the fork server that has to live.

Should that be killed, what it forked is killed with it: how they would end could not be known. It
is started again with the next process. Linux only, as the warden: a process is signalled by a
descriptor, so that never another one is that has its number.

`multiprocessing` has such a server, too: one for all of a Python process, which outlives a
supervisor and does not carry its token, and it pickles.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.jobs.machine.warden import NAME
from headrace.operators.compiled import ready
from headrace.operators.errors import EnvironmentProblem

__all__ = ["Forked", "Forks", "Imported", "main"]

_MOST_BYTES = 1 << 16
_MOST_FILES = 8
_TIMES = 5
_KERNEL_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1
_SERVED = "HEADRACE_FORKS"
"""The variable with the number of the server's end of the socket."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What forked processes come up with: modules, of which the first has the `main` that they run.

    `log` has what goes wrong when they are imported.
    """

    modules: Sequence[str]
    log: Path


class Forks:
    """The fork server that there is, or the next one where it was killed.

    Not safe for several threads at once.

    Parameters
    ----------
    imported
        What it imports.
    env
        Variables that it and what it forks have beside ours.

    """

    def __init__(self, imported: Imported, env: Mapping[str, str]) -> None:
        self._imported, self._env = imported, env
        self._server: _Server | None = None

    def fork(
        self, argv: Sequence[str], env: Mapping[str, str], log: int, files: Mapping[str, int]
    ) -> Forked:
        """Start a process: `argv` in its own session, its output to `log`.

        Parameters
        ----------
        argv
            What it takes for `sys.argv`.
        env
            Variables beside those of the server.
        log
            A descriptor of the file that its output goes to.
        files
            Descriptors that it has, too, by the variable with which it is told each.

        Raises
        ------
        EnvironmentProblem
            Where the server ends of itself, as when a module is missing, or is killed all the time.

        """
        for _ in range(_TIMES):
            if forked := self.server().fork(argv, env, log, files):
                return forked
        asked = f"asked to start {' '.join(argv)}"
        found = f"its fork server was killed {_TIMES} times, one after another"
        raise EnvironmentProblem(asked, found, "see what kills it: is there memory enough?")

    def server(self) -> _Server:
        """Give the server; it may still be importing."""
        if self._server is None or self._server.gone:
            env = {"PYTHONUNBUFFERED": "1", **os.environ, **self._env}
            self._imported.log.parent.mkdir(parents=True, exist_ok=True)
            with self._imported.log.open("ab") as log:
                self._server = _Server(self._imported.modules, env, log.fileno())
        return self._server

    def close(self) -> None:
        """End it."""
        if self._server is not None:
            self._server.close()
            self._server = None


class _Server:
    """A fork server as whoever started it has it: asks it for processes, hears how they end."""

    def __init__(self, modules: Sequence[str], env: Mapping[str, str], log: int) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._modules = modules
        self._forked: dict[int, Forked] = {}  # those that have not ended
        self._started: Forked | None
        self._asked, self._started = 0, None
        number = theirs.fileno()
        with theirs:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", __name__, *modules],
                env={**env, _SERVED: str(number)},
                pass_fds=(number,),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def gone(self) -> bool:
        """Whether it has ended; what it forked is then killed."""
        self.hear()
        return self._ours.fileno() < 0

    def fork(
        self, argv: Sequence[str], env: Mapping[str, str], log: int, files: Mapping[str, int]
    ) -> Forked | None:
        """Fork a process; None where the server was killed instead."""
        self._asked, self._started = self._asked + 1, None
        told = {"number": self._asked, "argv": list(argv), "env": dict(env), "files": list(files)}
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            given = [log, *files.values()]
            socket.send_fds(self._ours, [json.dumps(told).encode()], given)
        while not self.gone:
            if self._started is not None:
                return self._started
            self.hear(None)
        if (status := self._popen.wait()) < 0:
            return None
        wanted, do = f"asked to import {', '.join(self._modules)}", "see the end of its log"
        raise EnvironmentProblem(wanted, f"that ended with exit status {status}", do)

    def hear(self, seconds: float | None = 0.0) -> None:
        """Take in what the server says; wait up to so long for it to say something.

        When it has ended, end what it forked.
        """
        while self._ours.fileno() >= 0 and select.select([self._ours], [], [], seconds)[0]:
            seconds = 0.0
            text, descriptors = b"", list[int]()
            with contextlib.suppress(ConnectionResetError):
                text, descriptors, _, _ = socket.recv_fds(self._ours, _MOST_BYTES, 1)
            if not text:
                self._end()
                return
            told = json.loads(text)
            if descriptors:
                forked = Forked(self, told["pid"], descriptors[0])
                self._forked[forked.pid] = forked
                if told["number"] == self._asked:  # else who asked was interrupted
                    self._started = forked
            else:
                self._forked.pop(told["pid"]).ended(told["status"])

    def _end(self) -> None:
        self._ours.close()
        self._popen.wait()
        for each in self._forked.values():  # the kernel has killed them
            each.ended(-signal.SIGKILL)
        self._forked.clear()

    def close(self) -> None:
        """End it, and what is left of what it forked."""
        if self._ours.fileno() >= 0:
            self._popen.kill()
            self._end()


class Forked:
    """A process that was forked, as `subprocess.Popen` has one."""

    def __init__(self, server: _Server, pid: int, descriptor: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._server, self._descriptor = server, descriptor

    def poll(self) -> int | None:
        """Give how it ended, if it has: an exit status, or a signal's number less than 0."""
        self._server.hear()
        return self.returncode

    def wait(self) -> int:
        """Wait for that."""
        while self.returncode is None:
            self._server.hear(None)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it is there."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)

    def ended(self, status: int) -> None:
        """Note how it ended, once it has."""
        select.select([self._descriptor], [], [], _KERNEL_SECONDS)
        self.returncode = status
        os.close(self._descriptor)


def main(modules: Sequence[str]) -> None:
    """Be the fork server; in a process that is forked, run the `main` of the first module."""
    program, *_ = map(importlib.import_module, modules)
    ready()
    gc.freeze()  # what is there stays shared
    # OpenBLAS and jemalloc have a thread as soon as they are there, and look to it in a fork.
    warnings.filterwarnings("ignore", ".* is multi-threaded", DeprecationWarning)
    with socket.socket(fileno=int(os.environ.pop(_SERVED))) as asking:
        serving = _serve(asking)
    if not serving:
        program.main()


def _serve(asking: socket.socket) -> bool:
    """Fork for whoever asks until nobody can any more; False in a process that was forked."""
    woken, wakes = socket.socketpair()
    for each in (woken, wakes):
        each.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
    with woken, wakes:
        while True:
            ready, _, _ = select.select([asking, woken], [], [])
            if woken in ready:
                woken.recv(_MOST_BYTES)
                _tell_ends(asking)
            if asking in ready:
                text, files, _, _ = socket.recv_fds(asking, _MOST_BYTES, _MOST_FILES)
                if not text:
                    return True
                if not _fork(asking, json.loads(text), files):
                    return False


def _fork(asking: socket.socket, asked: Mapping[str, Any], files: list[int]) -> bool:
    """Fork; True in the server."""
    server = os.getpid()
    pid = os.fork()
    if pid:
        descriptor, told = os.pidfd_open(pid), {"pid": pid, "number": asked["number"]}
        socket.send_fds(asking, [json.dumps(told).encode()], [descriptor])
        for each in (descriptor, *files):
            os.close(each)
        return True
    # Ended with the server, also where nobody was told of it yet.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server:
        os.kill(os.getpid(), signal.SIGKILL)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    log, *others = files
    for number in (1, 2):
        os.dup2(log, number)
    os.close(log)
    os.environ.update(asked["env"])
    os.environ.update(zip(asked["files"], map(str, others), strict=True))
    sys.argv[:] = asked["argv"]
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(os.environ.get(NAME, ""))
    return False


def _tell_ends(asking: socket.socket) -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            told = {"pid": pid, "status": os.waitstatus_to_exitcode(status)}
            asking.send(json.dumps(told).encode())


if __name__ == "__main__":
    main(sys.argv[1:])
