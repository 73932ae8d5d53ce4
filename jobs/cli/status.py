"""The command that shows how a running pipeline is."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

__all__ = ["register"]

_STATE = Path(".headrace") / "demo"
_SCORES = ("n", "auc", "log_loss", "ne", "calibration", "ece", "rmse", "mae", "bias", "pinball")


def register(application: typer.Typer) -> None:
    """Add the command."""
    application.command()(status)


def status(
    state: Annotated[Path, typer.Option(help="The state folder.")] = _STATE,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show how a running pipeline is: processes, lags, freshness, versions, scores and rivals."""
    from headrace.jobs import status as standing

    told = standing.status(state, time.time_ns() // 1_000_000)
    console = Console()
    if as_json:
        console.print_json(data=told)
        return
    run = told["run"]
    console.print(f"{state}: a {run['what']} runs as process {run['pid']}", markup=False)
    console.print(_processes(told["processes"]))
    if told["store"] is None:
        console.print(told["problem"], markup=False, style="red")
        return
    _store(console, told["store"])
    _learner(console, told["model"], told["learner"])


def _processes(processes: Mapping[str, Any]) -> Table:
    table = Table("process", "state", "pid", "restarts", "peak MiB")
    for name, each in processes.items():
        pid, peak = each["pid"], each["peak_rss_bytes"] >> 20
        shown = (each["state"], "" if pid is None else pid, each["restarts"], peak)
        table.add_row(name, *map(str, shown))
    return table


def _store(console: Console, store: Mapping[str, Any]) -> None:
    names = ("decisions", "predictions", "examples", "waiting", "late", "dead_letters")
    rows = ", ".join(f"{store[name]:,} {name.replace('_', ' ')}" for name in names)
    console.print(rows, markup=False)
    table = Table("view", "complete to", "behind the clock")
    for name, view in store["views"].items():
        table.add_row(name, _clock(view["complete"]), _long(view["behind_ms"]))
    console.print(table)
    for each in store["lag"]:
        place = f"{each['topic']} partition {each['partition']}"
        console.print(f"{each['messages']:,} messages of {place} are not committed", markup=False)


def _learner(console: Console, model: Mapping[str, Any], learner: Mapping[str, Any]) -> None:
    serves = f"version {model['version']}" if model["version"] else "no version yet"
    console.print(
        f"{serves} serves, learned to {_clock(model['through'])}; "
        f"the learner told last at {_clock(learner['through'])}",
        markup=False,
    )
    window, name = learner["window"], f"to {_clock(learner['window']['end'])}"
    shown = learner["scores"] | {f"rival {n}": score for n, score in learner["rivals"].items()}
    for said in ("prequential", "served", "staleness"):
        of = {k.partition(".")[2]: v for k, v in window["scores"].items() if k.startswith(said)}
        shown |= {f"window {name}, {said}": of} if of else {}
    of_these = [of for of in _SCORES if any(of in score for score in shown.values())]
    table = Table("score", *of_these)
    for each, score in shown.items():
        table.add_row(each, *(_number(score.get(of)) for of in of_these))
    if shown:
        console.print(table)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if value == int(value) else f"{value:.4f}"


def _clock(at: int | None) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S") if at else "never"


def _long(ms: int) -> str:
    """Say a duration in its largest unit.

    >>> _long(90_000), _long(-5), _long(200_000_000)
    ('90 s', '0 s', '2.3 d')
    """
    for unit, size in (("d", 86_400_000), ("h", 3_600_000)):
        if ms >= 2 * size:
            return f"{ms / size:.1f} {unit}"
    return f"{max(0, ms) // 1000} s"
