"""Runs one way of `feast.py` in a process of its own, and of its own environment."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import orjson

from benchmarks.environment import python_of
from benchmarks.measure import apart

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
    apart(way, argv, _DEADLINE_SECONDS)
    found: dict[str, Any] = orjson.loads(files[1].read_bytes())
    return found
