"""One writer to a folder, held by the process and let go by its end, however it ends."""

from __future__ import annotations

import fcntl
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headrace.operators.errors import EnvironmentProblem

__all__ = ["Lock", "waiting"]


class Lock:
    """The right to write to a folder, which is made if it is not there.

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
            holder = os.pread(descriptor, 32, 0).decode() or "that did not say who it is"
            os.close(descriptor)
            raise EnvironmentProblem(
                asked=f"asked to write to '{folder}'",
                found=f"the process {holder} writes there",
                do="stop it, or give another folder",
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
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
