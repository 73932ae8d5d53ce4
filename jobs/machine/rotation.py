"""A log that grows no further: what is old goes to a second file, what is older goes.

The one who writes has the file open to append, so it is emptied and not renamed: what is written
next stands at its beginning.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

__all__ = ["before", "rotate"]

_MOST_BYTES = 16 << 20
"""Of a log; the one before it has about as many."""


def before(log: Path) -> Path:
    """Give where the older half of a log is.

    >>> before(Path("logs/store.log"))
    PosixPath('logs/store.log.1')
    """
    return log.with_name(f"{log.name}.1")


def rotate(log: Path, most_bytes: int = _MOST_BYTES) -> bool:
    """Put what a log has beside it where that is too much; say whether it was.

    A line that is written in the very moment between the copy and the emptying is lost. A disk that
    is full or a log that is gone is left to others to complain of.
    """
    with contextlib.suppress(OSError):
        if log.stat().st_size <= most_bytes:
            return False
        beside = log.with_name(f".{log.name}.tmp")
        try:
            with log.open("rb") as old, beside.open("wb") as new:
                shutil.copyfileobj(old, new, 1 << 20)  # to the end, also of what comes meanwhile
                os.truncate(log, 0)
            beside.replace(before(log))
        finally:
            beside.unlink(missing_ok=True)
        return True
    return False
