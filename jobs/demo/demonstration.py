"""headrace demo: a year of flights through the whole way, at once, with a report at the end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from headrace.jobs import examples
from headrace.jobs.checks.verify import Verdict, verify
from headrace.jobs.demo import flights, groups
from headrace.jobs.lifecycle.sending import caught_up
from headrace.jobs.machine import local
from headrace.jobs.machine.local import Local
from headrace.jobs.machine.state import StateFolder, read_json
from headrace.jobs.machine.waiting import wait_until
from headrace.jobs.roles import rest_ms
from headrace.online_learning.prequential import Prequential
from headrace.online_learning.rivals import RIVALS
from headrace.operators.errors import (
    EnvironmentProblem,
    HeadraceError,
    StoreError,
    UnknownName,
)
from headrace.pipelines.load import load
from headrace.pipelines.pipeline import Pipeline

__all__ = ["PIPELINE", "QUERY", "Result", "check_topics", "follow", "report", "run"]

PIPELINE = Path(str(files("headrace.pipelines") / "examples" / "flight_delay.yaml"))
QUERY = """
SELECT carrier, COUNT(*) AS flights, ROUND(AVG(CASE WHEN label THEN 1 ELSE 0 END), 3) AS late,
       ROUND(AVG(p), 3) AS predicted
FROM examples JOIN predictions USING (seq) JOIN decisions USING (seq)
GROUP BY carrier ORDER BY flights DESC LIMIT 5"""
_SCORE = ("auc", "log_loss", "base_rate_log_loss", "n")
_LONGEST_SECONDS = 1800.0
_LOOK_SECONDS = 0.5
_STALL_SECONDS = 300.0  # on a machine with a load of ten Flink takes over ninety to start


@dataclass(frozen=True)
class Result:
    """What the demo ends with: the report, and what it shows besides."""

    report: dict[str, Any]
    verdict: Verdict
    answer: list[dict[str, Any]]
    example: dict[str, Any]


class Stalled(HeadraceError):
    """Nothing has moved for minutes although everything runs."""

    def __init__(self, status: Mapping[str, Any], logs: Path) -> None:
        super().__init__(
            asked="waited for the pipeline to finish the replay",
            found=f"nothing moved for {_STALL_SECONDS:.0f} s: {dict(status)}",
            do=f"look at the logs in {logs}",
        )


def run(
    folder: StateFolder,
    *,
    path: Path = PIPELINE,
    days: int,
    console: Console,
    keep_up: bool,
    show: Callable[[Result], None],
) -> Result:
    """Run the demo in a state folder that is ours and `show` the result.

    `path` is a pipeline over topics of the flights; `keep_up` waits for Ctrl-C at the end.
    """
    began = time.monotonic()
    pipeline = load(path)
    check_topics(pipeline)
    events = {name: table.num_rows for name, table in flights.streams(days).items()}
    total = sum(events.values())
    _same_days(folder, days)
    console.print(f"[bold]{pipeline.name}[/]: broker, views, labels, store, learner start")
    with local.running(pipeline, folder.path) as running:
        common = [str(pipeline.path), "--bootstrap", running.bootstrap, "--state", str(folder.path)]
        running.start("replay", ["replay", *common, "--days", str(days)])
        with Live(console=console, refresh_per_second=2, transient=False) as live:
            follow(running, show=lambda status: live.update(_progress(status, total, folder.path)))
        replayed = time.monotonic() - began
        console.print("verify: every tile and feature again, from the raw log, by DuckDB")
        verdict = verify(pipeline, bootstrap=running.bootstrap, ask=running.client.sql)
        console.print("groups: the linear model again, with fewer features and with all")
        scored = _groups(running)
        seconds = time.monotonic() - began, replayed
        result = Result(
            report(running, verdict, events=events, seconds=seconds) | scored,
            verdict,
            running.client.sql(QUERY).to_pylist(),
            _example(running),
        )
        folder.write_json("report.json", result.report)
        show(result)
        if keep_up:
            console.print(f"the pipeline stays up at {running.client.address()}/docs until Ctrl-C")
            with contextlib.suppress(KeyboardInterrupt):
                wait_until(lambda: running.supervisor.check(), float("inf"), "Ctrl-C")
    return result


def check_topics(pipeline: Pipeline) -> None:
    """Refuse a pipeline that reads what the flights do not have, or not all that they have."""
    for source in pipeline.sources.values():
        if source.topic not in flights.TOPICS:
            raise UnknownName(kind="topic of the flights", name=source.topic, known=flights.TOPICS)
    missing = set(flights.TOPICS) - {source.topic for source in pipeline.sources.values()}
    if missing:
        asked = f"asked to replay the flights into {pipeline.path}"
        found = f"no source of it reads {', '.join(sorted(missing))}"
        raise EnvironmentProblem(asked, found, "declare all of the flights' topics as sources")


def _same_days(folder: StateFolder, days: int) -> None:
    """Refuse to go on with a replay of other days: its log ends with their last beats."""
    if folder.resumed and (folder.path / "demo.json").exists():
        before = folder.read_json("demo.json")["days"]
        if before != days:
            asked, found = f"asked to go on with {days} days", f"the demo here has {before}"
            raise EnvironmentProblem(asked, found, f"use --days {before}, or --fresh")
    folder.write_json("demo.json", {"days": days})


def follow(running: Local, *, show: Callable[[Mapping[str, Any]], None] | None = None) -> None:
    """Wait until the replay has ended and all of it has been predicted, labelled and learned."""
    last: tuple[Any, ...] = ()
    moved = time.monotonic()

    def done() -> bool:
        nonlocal last, moved
        running.supervisor.check()
        try:
            status = running.client.status()
        except StoreError as error:  # it is being started again
            status = {"store": str(error)}
        else:
            counts = ("decisions", "predictions", "examples", "through")
            complete = (view["complete"] for view in status["views"].values())
            seen = (*(status[name] for name in counts), *complete)
            if seen != last:
                last, moved = seen, time.monotonic()
            if show is not None:
                show(status)
            if _finished(running, status):
                return True
        if time.monotonic() - moved > _STALL_SECONDS:
            raise Stalled(status, running.state / "logs")
        return False

    wait_until(done, _LONGEST_SECONDS, "the end of the replay", every_seconds=_LOOK_SECONDS)


def _finished(running: Local, status: Mapping[str, Any]) -> bool:
    """Say whether every process has done all there is to do."""
    replayed = running.state / "replay.json"
    if not replayed.exists():
        return False
    pipeline = running.pipeline
    # Of the last two beats the second completes the pane of the first.
    last = read_json(replayed)["last_beat"] - rest_ms(pipeline)
    return caught_up(pipeline, status, last + pipeline.every_ms)


def _progress(status: Mapping[str, Any], events: int, state: Path) -> Table:
    """Draw how far the whole way is: what was sent, decided, learned, and the lag between."""
    table = Table("event time", "events", "decisions", "labels", "lag", "model", "AUC", box=None)
    sending = state / "replaying.json"
    sent = read_json(sending) if sending.exists() else {"events": 0, "at": 0}
    through = status["through"]
    auc = status["metrics"].get("prequential.auc") or status["metrics"].get("prequential_all.auc")
    hours = (sent["at"] - through) / 3_600_000 if through else 0.0
    table.add_row(
        time.strftime("%Y-%m-%d %H:%M", time.gmtime(through / 1000)) if through else "starting",
        f"{sent['events']:,} of {events:,}",
        f"{status['predictions']:,}",
        f"{status['examples']:,}",
        f"{max(hours, 0.0):,.0f} h",
        f"v{status['model_version']}",
        f"{auc:.4f}" if auc else "",
    )
    return table


def report(
    running: Local,
    verdict: Verdict,
    *,
    events: Mapping[str, int],
    seconds: tuple[float, float],
) -> dict[str, Any]:
    """Write down what was done and how well."""
    status = running.client.status()
    metrics = status["metrics"]
    wall, replayed = seconds
    return {
        "events": dict(events),
        "decisions": status["decisions"],
        "predictions": status["predictions"],
        "examples": status["examples"],
        "late": status["late"],
        "dead_letters": status["dead_letters"],
        "prequential": _score(metrics, "prequential"),
        "served": _score(metrics, "served"),
        "prequential_all": _score(metrics, "prequential_all"),
        "served_all": _score(metrics, "served_all"),
        "rivals": {name: _score(metrics, name) for name in RIVALS},
        "equality": {
            "cells": verdict.cells,
            "mismatches": verdict.mismatches,
            "tables": verdict.tables,
            "differences": [asdict(difference) for difference in verdict.differences],
        },
        "model_versions": int(metrics.get("learner.versions", 0)),
        "wall_seconds": round(wall, 1),
        "replay_seconds": round(replayed, 1),
        "events_per_second": round(sum(events.values()) / replayed),
        "peak_memory_mb": {
            name: round(peak / 1e6) for name, peak in running.supervisor.memory().items()
        },
        "restarts": {name: status.restarts for name, status in running.supervisor.status().items()},
    }


def _score(metrics: Mapping[str, float], name: str) -> dict[str, float | None]:
    return {key: metrics.get(f"{name}.{key}") for key in _SCORE}


def _groups(running: Local) -> dict[str, dict[str, Any]]:
    """Score the linear model by group of features: what the stream adds to the schedule."""
    pipeline, ask = running.pipeline, running.client.sql
    found = groups.by_group(groups.groups(pipeline), examples.labelled(pipeline, ask))
    scores = {"groups": Prequential.score, "groups_all": Prequential.score_all}
    return {
        kind: {name: {key: score(one)[key] for key in _SCORE} for name, one in found.items()}
        for kind, score in scores.items()
    }


def _example(running: Local) -> dict[str, Any]:
    """Ask for one prediction as a user would: a flight of the last day, its features beside it."""
    names = ", ".join(f'"{name}"' for name in running.pipeline.decision.source.types)
    rows = running.client.sql(
        f"SELECT {names} FROM decisions ORDER BY seq DESC LIMIT 1"
    ).to_pylist()
    answer = running.client.predict(rows)
    return {
        "row": rows[0],
        "p": answer["predictions"][0],
        "features": answer["features"][0],
        "model_version": answer["model_version"],
    }
