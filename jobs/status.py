"""headrace status: how a running pipeline is, put together from its state folder and its store."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from headrace.jobs.machine.local import PROCESSES
from headrace.jobs.machine.state import holder, read_json
from headrace.jobs.serving.client import Client
from headrace.operators.errors import EnvironmentProblem, StoreError

__all__ = ["status"]

_ROWS = ("decisions", "predictions", "examples", "waiting", "late", "dead_letters")
_OWN = ("prequential", "served", "prequential_all", "served_all", "staleness")
_NEWEST = """
    SELECT name, value, "at" FROM metrics WHERE starts_with(name, 'window.') AND slice_of IS NULL
    AND "at" = (SELECT MAX("at") FROM metrics WHERE starts_with(name, 'window.')) ORDER BY name
"""


def status(state: Path, now_ms: int) -> dict[str, Any]:
    """Say how the pipeline in a state folder is, in words of JSON.

    Parameters
    ----------
    state
        The state folder.
    now_ms
        The clock, ms UTC: `behind_ms` of a view and of the model is from there. In a replay of the
        past it is years.

    Raises
    ------
    EnvironmentProblem
        Where nothing runs there.
    """
    run = holder(state)
    if run is None:
        asked, do = f"asked how the pipeline in {state} is", "start it, or give its --state"
        raise EnvironmentProblem(asked, "nothing runs there", do)
    processes: Mapping[str, Any] = {}
    with contextlib.suppress(FileNotFoundError):
        processes = read_json(state / PROCESSES)
    found = {"run": {"what": run[1], "pid": run[0]}, "processes": processes}
    try:
        with closing(Client(state / "store" / "address.json")) as client:
            told = client.status()
            newest = client.sql(_NEWEST).to_pylist()
    except StoreError as error:
        return {**found, "store": None, "problem": str(error)}
    return {**found, "store": _store(told, now_ms), "problem": None, **_learned(told, newest)}


def _store(told: Mapping[str, Any], now_ms: int) -> dict[str, Any]:
    views = {
        name: {"complete": view["complete"], "behind_ms": now_ms - view["complete"]}
        for name, view in told["views"].items()
    }
    lag = [each for each in told["lag"] if each["messages"]]
    return {**{name: told[name] for name in _ROWS}, "views": views, "lag": lag}


def _learned(told: Mapping[str, Any], newest: list[dict[str, Any]]) -> dict[str, Any]:
    """Say what serves, and what the learner told last: scores by name, and counts."""
    scores: dict[str, dict[str, float]] = {}
    for name, value in told["metrics"].items():
        score, _, of = name.rpartition(".")
        scores.setdefault(score, {})[of] = value
    counts = scores.pop("learner", {})
    window = {row["name"].removeprefix("window."): row["value"] for row in newest}
    return {
        "model": {"version": told["model_version"], "through": told["model_through"]},
        "learner": {
            "through": told["metrics_at"] or None,
            "counts": counts,
            "scores": {name: scores[name] for name in _OWN if name in scores},
            "rivals": {name: score for name, score in scores.items() if name not in _OWN},
            "window": {"end": newest[0]["at"] if newest else None, "scores": window},
        },
    }
