"""The declarations that a state folder had: what each file said, by its number.

::

    apply, up ─► noted ─► declarations.json: 1, 2, 3 …, the newest fifty
    rollback  ◄─ one of them, read as if it stood in the file

A file has no secrets, only where they are; what it names beside itself (tables, files of events) is
not kept. One that never was applied is kept where `rollback` has written over it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from headrace.jobs.machine.state import read_json, write_json
from headrace.operators.errors import CorruptError, EnvironmentProblem

__all__ = ["Declaration", "before", "kept", "noted", "numbered"]

_FILE = "declarations.json"
_MOST = 50


@dataclass(frozen=True)
class Declaration:
    """What a file said: `at`, in seconds since 1970, it was applied, or else was written over."""

    number: int
    at: float
    path: str
    text: str
    applied: bool = True

    @property
    def digest(self) -> str:
        """Hash the text.

        >>> Declaration(1, 0.0, "shop.yaml", "pipeline: shop").digest
        '558c487c06a8'
        """
        return hashlib.sha256(self.text.encode()).hexdigest()[:12]


def kept(state: Path) -> list[Declaration]:
    """List them, the oldest first; none where nothing was applied since headrace keeps them.

    >>> kept(Path("/nowhere"))
    []
    """
    path = state / _FILE
    if not path.exists():
        return []
    told = read_json(path)
    try:
        return [Declaration(**each) for each in told]
    except TypeError as error:
        do = "remove the file: what is applied from then on is kept anew"
        raise CorruptError(path, "asked for declarations", str(error), do) from error


def noted(
    state: Path,
    path: Path,
    text: str,
    *,
    applied: bool = True,
    now: Callable[[], float] = time.time,
) -> Declaration:
    """Keep what a file says, and give it with its number; the newest is not kept twice."""
    found = kept(state)
    last = found[-1] if found else None
    if last is not None and last.text == text and (last.applied or not applied):
        return last
    number = 1 if last is None else last.number + 1
    new = Declaration(number, now(), str(path.absolute()), text, applied)
    write_json(state / _FILE, [asdict(each) for each in [*found, new][-_MOST:]])
    return new


def before(found: Sequence[Declaration]) -> Declaration:
    """Give the one that was applied before the newest.

    >>> from dataclasses import replace
    >>> first = Declaration(1, 0.0, "shop.yaml", "every: 1s")
    >>> second = replace(first, number=2, text="every: 5s")
    >>> before([first, second, replace(first, number=3, applied=False)]).number
    1

    Raises
    ------
    EnvironmentProblem
        Where there is none.

    """
    applied = [each for each in found if each.applied]
    if len(applied) > 1:
        return applied[-2]
    asked = "asked for the declaration before the one that was applied last"
    what = f"{len(applied)} is kept in {_FILE}" if applied else f"there is no {_FILE}"
    raise EnvironmentProblem(asked, what, "apply the file of before: `headrace apply`")


def numbered(found: Sequence[Declaration], number: int) -> Declaration:
    """Give the one of a number.

    Raises
    ------
    EnvironmentProblem
        Where it is not kept, or not any more.

    """
    for each in found:
        if each.number == number:
            return each
    kept_ones = ", ".join(str(each.number) for each in found) or "none"
    asked = f"asked for declaration {number}"
    raise EnvironmentProblem(asked, f"kept: {kept_ones}", "see them by `headrace rollback --list`")
