"""The warden: a small process that ends what a supervisor leaves behind when it is killed itself.

::

    supervisor ──pipe──► warden         the pipe closes when the supervisor is gone, however it went
        │ starts, with TAG=token in the environment
        ▼
      store, learner, python ──► java    all that carry the token are told to stop, then killed

A tag in the environment is inherited by every descendant, also by one that made its own session,
and it is there from a process's first instant. `PR_SET_PDEATHSIG` would reach the children only,
and a Java gateway is a grandchild. Linux only: it reads `/proc`.

This file is run by its path, without site-packages, and imports the standard library only: it
needs 10 MB and cannot break when the rest does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Sequence

__all__ = ["NAME", "TAG", "end", "main", "tagged"]

TAG = "HEADRACE_SUPERVISOR"
NAME = "HEADRACE_PROCESS"
_GRACE_SECONDS = 2.0
_KERNEL_SECONDS = 10.0


def tagged(token: str, name: str = "") -> list[int]:
    """The living processes started under the supervisor `token`, as `name` if one is given.

    >>> tagged("no such token")
    []
    """
    mark, called = f"{TAG}={token}".encode(), f"{NAME}={name}".encode()
    found = []
    for entry in os.listdir("/proc"):  # noqa: PTH208 - this file stays without imports
        if not entry.isdecimal():
            continue
        try:
            with open(f"/proc/{entry}/environ", "rb") as file:  # noqa: PTH123
                environment = file.read().split(b"\0")
        except OSError:  # another user's, or gone since
            continue
        if mark in environment and (not name or called in environment):
            found.append(int(entry))
    return found


def end(token: str, name: str = "", *, grace_seconds: float = _GRACE_SECONDS) -> list[int]:
    """Tell those processes to stop, kill them when they have not; return their ids.

    Zombies are not among them: a dead process has no environment. One that survives SIGKILL,
    because the kernel holds it, is left after a while.
    """
    told: dict[int, None] = {}
    killing = time.monotonic() + grace_seconds
    while (left := tagged(token, name)) and time.monotonic() < killing + _KERNEL_SECONDS:
        late = time.monotonic() >= killing
        for pid in left:
            if late or pid not in told:
                told[pid] = None
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
        time.sleep(0.02)
    return list(told)


def main(arguments: Sequence[str]) -> int:
    """Wait for the end of standard input, then end all that carries the token."""
    token = arguments[0]
    while os.read(0, 4096):
        pass
    end(token)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
