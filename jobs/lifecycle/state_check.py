"""What a doctor looks at in a state folder: its form, its files against their checksums, its disk.

What runs goes on meanwhile: a file that went since is not missed.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from headrace.feature_store import backfill, upkeep
from headrace.jobs.lifecycle.finding import Finding, examined
from headrace.jobs.machine.state import check_form
from headrace.online_learning import snapshot
from headrace.online_learning.registry import Registry
from headrace.operators.errors import CorruptError, EnvironmentProblem

__all__ = ["folder", "store_file"]

_GIB = 1 << 30


def folder(state: Path) -> list[Finding]:
    """Look at everything that can be read beside a run."""
    return [
        examined("state folder", lambda: _form(state)),
        examined("disk", lambda: _disk(state)),
        examined("snapshots", lambda: _snapshots(state / "learner" / snapshot.FOLDER)),
        examined("versions", lambda: _versions(state / "learner" / "versions")),
        examined("backfills", lambda: _backfills(state / "store" / "backfills")),
    ]


def store_file(state: Path) -> Finding:
    """Look at the whole of the store's file, which nobody has open."""

    def look() -> str:
        path = state / "store" / "store.duckdb"
        if not path.exists():
            return "there is none yet"
        problems = upkeep.check(path)
        if problems:
            raise problems[0]
        return "it is whole"

    return examined("store's file", look)


def _form(state: Path) -> str:
    check_form(state)
    return "this headrace reads it"


def _disk(state: Path) -> str:
    usage = shutil.disk_usage(state)
    store = state / "store" / "store.duckdb"
    # What `store rebuild` and `store compact` write beside the file, and changes not taken in yet.
    needed = max(_GIB, 2 * store.stat().st_size if store.exists() else 0)
    said = f"{usage.free / 1e9:,.1f} GB of {usage.total / 1e9:,.0f} are free"
    if usage.free < needed:
        asked = f"asked for {needed / 1e9:,.1f} GB of room on the disk"
        do = "free some space, or move the folder to another disk while it is stopped"
        raise EnvironmentProblem(asked, said, do)
    return said


def _snapshots(snapshots: Path) -> str:
    return f"{snapshot.whole(snapshots)} are what their sha256 says"


def _versions(versions: Path) -> str:
    registry = Registry(versions)
    numbers = registry.numbers()
    for number in numbers:
        try:
            registry.version(number).arrays()
        except CorruptError:
            if number in registry.numbers():  # and not pruned meanwhile
                raise
    champion = registry.champion()
    served = f", {champion.number} is the champion" if champion else ""
    return f"{len(numbers)} are whole{served}"


def _backfills(backfills: Path) -> str:
    if not backfills.exists():
        return "there are none"
    made = backfill.found(backfills)
    for each in made.values():
        for _ in backfill.tables(backfills, each):
            pass
    return f"{len(made)} are what their sha256 says"
