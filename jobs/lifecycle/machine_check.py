"""What a doctor looks at on the machine: Python's packages, Java, jars, clock."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from headrace.jobs.lifecycle.finding import Finding, examined
from headrace.jobs.machine.java import java_home, verify_jars
from headrace.operators.errors import EnvironmentProblem

__all__ = ["machine", "packages"]

_PINNED = re.compile(r"([A-Za-z0-9_.-]+)(?:==([^;, ]+))?")
_SECONDS_AHEAD = 5.0


def machine(state: Path) -> list[Finding]:
    """Look at what runs need, whatever the pipeline."""
    return [
        examined("packages", lambda: packages(metadata.requires("headrace") or [])),
        examined("Java", lambda: f"it is in {java_home()}"),
        examined("jars", _jars),
        examined("clock", lambda: _clock(state)),
    ]


def packages(required: Iterable[str]) -> str:
    """Compare what is installed with what headrace asks for: what is pinned, to the version.

    >>> packages(["rich>=1", "nothing; extra == 'x'"])
    '1 are installed as they are pinned'
    """
    wanted = [text for text in required if "extra ==" not in text]
    for text in wanted:
        match = _PINNED.match(text)
        name, pinned = (match[1], match[2]) if match else (text, None)
        asked = f"asked for the package {text.partition(';')[0].strip()}"
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            raise EnvironmentProblem(asked, "it is not installed", "run 'make setup'") from None
        if pinned is not None and found != pinned:
            raise EnvironmentProblem(asked, f"{found} is installed", "run 'make setup'")
    return f"{len(wanted)} are installed as they are pinned"


def _jars() -> str:
    problems = verify_jars()
    if problems:
        raise problems[0]
    return "all are what their sha256 says"


def _clock(state: Path) -> str:
    """Compare the clock with the files' times: a clock that was set back makes them later."""
    now = time.time()
    newest = max((path.stat().st_mtime for path in state.glob("*")), default=0.0)
    if newest > now + _SECONDS_AHEAD:
        asked, found = "asked for the time", f"files are from {newest - now:,.0f} s after now"
        raise EnvironmentProblem(asked, found, "set the clock: timedatectl set-ntp true")
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
