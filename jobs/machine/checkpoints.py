"""The checkpoints of a job, in a folder that Flink and this process can reach, by its URI.

::

    <folder>/<job id>/chk-7/_metadata                  written last: with it a checkpoint is whole
    <folder>/savepoints/savepoint-1a2b3c-4d5e/_metadata
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Collection
from pathlib import PurePosixPath
from urllib.parse import quote

import pyarrow as pa
from pyarrow import fs

from headrace.operators.errors import EnvironmentProblem

__all__ = ["SAVEPOINTS", "forget", "newest", "savepoints"]

SAVEPOINTS = "savepoints"
_WHOLE = re.compile(r"[^/]+/(?:chk-(\d+)|savepoint-\w+-\w+)/_metadata")


def newest(folder: str) -> str | None:
    """Give the URI of the newest whole checkpoint below `folder`, over all jobs that wrote there.

    A savepoint is one, too.

    >>> newest("file:///nowhere")

    Raises
    ------
    EnvironmentProblem
        Where the folder cannot be read.
    """
    found = []
    files, base = _opened(folder)
    for each in _listed(files, base, folder):
        match = _WHOLE.fullmatch(each.path[len(base) :].lstrip("/"))
        if match:
            # Where times are whole seconds: a savepoint is the last thing that its job writes.
            number = int(match[1] or sys.maxsize)
            found.append((each.mtime_ns, number, str(PurePosixPath(each.path).parent)))
    if not found:
        return None
    return folder + quote(max(found)[2][len(base) :])


def savepoints(folder: str) -> set[str]:
    """Name the savepoints below `folder`, whole or not."""
    files, base = _opened(f"{folder}/{SAVEPOINTS}")
    known = (each.path[len(base) :].strip("/") for each in _listed(files, base, folder))
    return {path.partition("/")[0] for path in known}


def forget(folder: str, names: Collection[str]) -> None:
    """Remove savepoints; one that cannot be removed stays."""
    files, base = _opened(f"{folder}/{SAVEPOINTS}")
    for name in names:
        with contextlib.suppress(OSError):
            files.delete_dir(f"{base}/{name}")


def _opened(folder: str) -> tuple[fs.FileSystem, str]:
    try:
        files, base = fs.FileSystem.from_uri(folder)
    except (OSError, pa.ArrowInvalid) as error:
        raise _unread(folder, error) from error
    return files, base


def _listed(files: fs.FileSystem, base: str, folder: str) -> list[fs.FileInfo]:
    try:
        found = files.get_file_info(fs.FileSelector(base, allow_not_found=True, recursive=True))
    except OSError as error:
        raise _unread(folder, error) from error
    return [each for each in found if each.type == fs.FileType.File]


def _unread(folder: str, error: Exception) -> EnvironmentProblem:
    asked, do = f"asked for the checkpoints in {folder}", "see that this machine may read it"
    return EnvironmentProblem(asked, str(error).splitlines()[0], do)
