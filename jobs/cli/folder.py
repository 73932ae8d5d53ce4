"""Which state folder a command is about, where nobody says."""

from __future__ import annotations

from pathlib import Path

from headrace.jobs.machine.state import LOCK, holder
from headrace.operators.errors import EnvironmentProblem

__all__ = ["HOME", "chosen", "of_pipeline"]

HOME = Path(".headrace")
_MOST_NAMED = 5


def chosen(given: Path | None, asked: str) -> Path:
    """Give the folder that is given; else the only one below `.headrace`, or the only one in use.

    Raises
    ------
    EnvironmentProblem
        Where there is none, or more than one.

    """
    if given is not None:
        return given
    found = sorted(lock.parent for lock in HOME.glob(f"*/{LOCK}"))
    used = [folder for folder in found if holder(folder) is not None]
    for folders in (used, found):
        if len(folders) == 1:
            return folders[0]
    if not found:
        what = f"there is no state folder in {HOME.absolute()}"
        raise EnvironmentProblem(asked, what, "run `headrace up PIPELINE`, or give --state")
    named = ", ".join(str(folder) for folder in (used or found)[:_MOST_NAMED])
    raise EnvironmentProblem(asked, f"there is more than one: {named}", "give --state")


def of_pipeline(given: Path | None, name: str) -> Path:
    """Give the folder that is given; else that of `up`, where it is; else the demo's.

    >>> of_pipeline(Path("there"), "shop")
    PosixPath('there')
    """
    own = HOME / name
    return given or (own if own.exists() else HOME / "demo")
