"""One writer to a folder, held by the process and let go by its end, however it ends."""

from __future__ import annotations

import fcntl
import os
import socket
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from headrace.operators.errors import EnvironmentProblem

__all__ = ["Holder", "Lock", "waiting"]

_NAMED_BYTES = 512


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that has a folder, so that people find it.

    >>> print(Holder(123, "wheel", "2026-11-29T20:15:00+00:00"))
    the process 123 on wheel, since 2026-11-29T20:15:00+00:00
    """

    pid: int
    host: str
    since: str

    @classmethod
    def here(cls) -> Holder:
        """Name this process, from now on."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        return cls(os.getpid(), socket.gethostname(), now)

    def __str__(self) -> str:
        return f"the process {self.pid} on {self.host}, since {self.since}"


class Lock:
    """The right to write to a folder, which is made if it is not there; `holder` is who has it.

    Raises
    ------
    EnvironmentProblem
        When another process, or another lock of this one, has it.

    Examples
    --------
    >>> import tempfile
    >>> lock = Lock(Path(tempfile.mkdtemp()))
    >>> lock.release()
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "LOCK"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            said = os.pread(descriptor, _NAMED_BYTES, 0).decode(errors="replace")
            os.close(descriptor)
            raise EnvironmentProblem(
                asked=f"asked to write to '{folder}'",
                found=f"{said or 'a process that did not say who it is'} writes there",
                do="stop it, or give another folder",
            ) from error
        self.holder = Holder.here()
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(self.holder).encode()[:_NAMED_BYTES], 0)
        self.release = weakref.finalize(self, os.close, descriptor)


@contextmanager
def waiting(path: Path) -> Iterator[None]:
    """Hold a lock file for as long as the context lasts; who comes second waits.

    For what is done in no time, as a small file read, changed and put back.

    >>> import tempfile
    >>> with waiting(Path(tempfile.mkdtemp()) / "lock"):
    ...     pass
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
