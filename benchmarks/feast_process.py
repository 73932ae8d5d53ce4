"""Runs one way of `feast.py` in a process of its own, and of its own environment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson

from benchmarks.environment import python_of

__all__ = ["ran"]

_HERE = Path(__file__).parent
_DEADLINE_SECONDS = 900


def ran(way: str, task: dict[str, object], folder: Path) -> dict[str, Any]:
    """Run a task; give what it tells."""
    files = folder / f"{way}.json", folder / f"{way}.result.json"
    files[0].write_bytes(orjson.dumps({**task, "way": way}))
    python = str(python_of("feast")) if way == "feast" else sys.executable
    script = _HERE / ("peer_feast.py" if way == "feast" else "feast_job.py")
    argv = [python, str(script), *map(str, files)]
    done = subprocess.run(
        argv, check=False, capture_output=True, text=True, timeout=_DEADLINE_SECONDS
    )
    if done.returncode:
        message = f"{way} failed:\n{done.stderr[-2_000:]}"
        raise SystemExit(message)
    found: dict[str, Any] = orjson.loads(files[1].read_bytes())
    return found
