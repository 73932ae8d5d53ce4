"""How a pipeline is shown: a live view on a terminal, plain lines elsewhere, JSON for programs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from headrace.jobs.lifecycle.board import STOPPED, Posted
from headrace.jobs.lifecycle.clock import clock
from headrace.jobs.lifecycle.status import Standing
from headrace.jobs.lifecycle.up import Seen, Tell
from headrace.jobs.machine.processes import Status

__all__ = ["counted", "how_to_reach", "showing", "shown"]

_COUNTS = ("decisions", "predictions", "examples", "waiting", "dead_letters", "late")
_OF_BOOLS = ("auc", "log_loss", "ne", "calibration", "ece")
_SCORES = ("n", *_OF_BOOLS, "accuracy", "rmse", "mae", "bias", "pinball")
_TOLD_SECONDS = 10.0
_MIB = 1 << 20


@contextmanager
def showing(console: Console, *, as_json: bool) -> Iterator[Tell]:
    """Give what is told of each look: a live view, lines, or lines of JSON."""
    if as_json or not console.is_terminal:
        yield _Lines(console, as_json=as_json)
        return
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        lines = _Lines(console, as_json=False)

        def tell(seen: Seen) -> None:
            lines.tell_posted(seen)
            live.update(_live(seen))

        yield tell


class _Lines:
    """Writes a line for each change of a process, and counts now and then when they moved."""

    def __init__(self, console: Console, *, as_json: bool) -> None:
        self._console, self._as_json = console, as_json
        self._processes: Mapping[str, Status] = {}
        self._ready = False
        self._counts: dict[str, int] = {}
        self._counts_at = 0.0

    def __call__(self, seen: Seen) -> None:
        self.tell_posted(seen)
        counts = counted(seen.status)
        due = time.monotonic() >= self._counts_at + _TOLD_SECONDS
        if counts and counts != self._counts and due:
            self._counts, self._counts_at = counts, time.monotonic()
            self._say("counts", ", ".join(f"{n:,} {name}" for name, n in counts.items()), counts)

    def tell_posted(self, seen: Seen) -> None:
        """Tell what changed of the processes, and of the whole."""
        posted = seen.posted
        for name, process in seen.processes.items():
            before = self._processes.get(name)
            if before is None or (before.state, before.pid) != (process.state, process.pid):
                self._say("process", f"{name} {_said(process)}", {"name": name, **asdict(process)})
        self._processes = seen.processes
        if posted.ready and not self._ready:
            self._ready = True
            self._say("ready", "\n".join(how_to_reach(posted)), asdict(posted))
        if posted.ended is not None:
            self._say("ended", f"ended: {posted.ended}", {"ended": posted.ended})

    def _say(self, event: str, text: str, facts: Mapping[str, Any]) -> None:
        said = text
        if self._as_json:
            said = json.dumps({"event": event, "time": round(time.time(), 3), **facts})
        self._console.print(said, markup=False, highlight=False, soft_wrap=True)


def _said(process: Status) -> str:
    if process.state == "running":
        again = f", again for the {process.restarts}. time" if process.restarts else ""
        return f"runs as process {process.pid}{again}"
    return f"{process.state}: {process.cause}" if process.cause else process.state


def how_to_reach(posted: Posted) -> list[str]:
    """Say where a pipeline that is ready is, in lines."""
    return [
        f"{posted.pipeline} is ready",
        f"  Kafka           {posted.kafka}",
        *([f"  Flink           http://{posted.flink}"] if posted.flink else []),
        f"  store           {posted.store}/docs",
    ]


def counted(status: Mapping[str, Any] | None) -> dict[str, int]:
    """Pick what is counted.

    >>> counted(None)
    {}
    """
    return {} if status is None else {name: status[name] for name in _COUNTS}


def _age(seconds: float | None) -> str:
    """Write how long ago something is, in its largest unit.

    >>> _age(None), _age(3.2), _age(150), _age(7200), _age(400_000_000)
    ('', '3 s', '2 min', '2 h', '4630 d')
    """
    if seconds is None or seconds < -1e9:
        return ""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _processes(processes: Mapping[str, Status], now: float) -> Table:
    table = Table("process", "state", "pid", "up", "restarts", "last cause", box=None)
    for name, each in processes.items():
        up = _age(now - each.since) if each.state == "running" else ""
        pid = str(each.pid or "")
        table.add_row(name, each.state, pid, up, str(each.restarts), Text(each.cause[:200]))
    return table


def _live(seen: Seen) -> Group:
    posted, status = seen.posted, seen.status
    parts: list[Any] = [_processes(seen.processes, time.time())]
    if status is not None:
        counts = "  ".join(f"{n:,} {name}" for name, n in counted(status).items())
        views = "  ".join(f"{n} to {clock(v['complete'])}" for n, v in status["views"].items())
        version = f"version {status['model_version']}, learned to {clock(status['model_through'])}"
        parts += [Text(counts), Text(f"complete: {views}"), Text(version)]
    parts.append(Text("\n".join(how_to_reach(posted)) if posted.ready else "it starts …"))
    parts.append(Text("Ctrl-C stops it", style="dim"))
    return Group(*parts)


def shown(found: Standing) -> Group:
    """Draw a status."""
    parts: list[Any] = [Text(_head(found))]
    parts += [Text(problem, style="red") for problem in found.problems]
    if found.processes:
        parts.append(_processes(found.processes, time.time()))
    if found.jobs:
        table = Table("job", "at Flink it is", "since", "parallelism", "last checkpoint", box=None)
        for name, job in found.jobs.items():
            saved = _age(job.checkpoint_age_seconds)
            table.add_row(name, job.state, _age(job.seconds), str(job.parallelism), saved)
        parts.append(table)
    if found.views:
        table = Table("view", "complete to", "behind the clock", "tiles", "keys", box=None)
        for name, v in found.views.items():
            behind = _age(v.age_seconds)
            table.add_row(name, clock(v.complete), behind, f"{v.tiles:,}", f"{v.keys:,}")
        parts.append(table)
    if found.lags:
        table = Table("reader", "topic", "records behind", "the first waits for", box=None)
        for lag in found.lags:
            table.add_row(lag.reader, lag.topic, f"{lag.records:,}", _age(lag.seconds))
        parts.append(table)
    if found.counts:
        parts.append(Text("  ".join(f"{n:,} {name}" for name, n in found.counts.items())))
    if found.version is not None:
        learned = f"version {found.version}, learned to {clock(found.version_through)}"
        parts.append(Text(f"{learned}, {_age(found.version_age_seconds)} behind the clock"))
    if found.scores:
        told = [of for of in _SCORES if any(of in score for score in found.scores.values())]
        if "auc" in told:  # which says more of a bool
            told = [of for of in told if of != "accuracy"]
        table = Table("score", *told, box=None)
        for name, score in found.scores.items():
            table.add_row(name, *(_number(score.get(of)) for of in told))
        parts.append(table)
    disk = "  ".join(f"{name} {size / _MIB:,.0f} MiB" for name, size in found.disk.items())
    return Group(*parts, Text(f"disk: {disk}"))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if value == int(value) else f"{value:.4f}"


def _head(found: Standing) -> str:
    if found.runs is not None:
        flink = f", Flink at {found.flink}" if found.flink else ""
        name = found.pipeline or found.runs
        return f"{name} runs: Kafka at {found.kafka}{flink}, store at {found.store}"
    how = {STOPPED: "it was stopped", None: "it was killed"}.get(found.ended)
    return f"{found.pipeline} does not run: {how or found.ended}"
