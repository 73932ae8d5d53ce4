"""headrace plan: what a changed declaration changes, and what it costs, before anything is done.

::

    applied.json: what runs ─┐ view by view, by version   ─► nothing, a window, a view, a version
    the file: what is asked ─┴─ decision, outcome, model  ─► goes on, learns anew, is refused
                                     │
                  what is new ───────┴─► rows to compute; time and disk, from a sample of its log
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from headrace.feature_store import files
from headrace.feature_store.versions import events_version
from headrace.jobs import assembly, labels, views
from headrace.jobs.evolve import backfill, declarations
from headrace.jobs.evolve.raw_log import Topics
from headrace.jobs.lifecycle.clock import clock
from headrace.jobs.machine.flink import FLINK_JOBS
from headrace.jobs.machine.state import read_json, write_json
from headrace.operators.engines.duckdb import quote
from headrace.operators.errors import EnvironmentProblem
from headrace.operators.identity import origin_identity, version
from headrace.operators.streams.stream import roots
from headrace.operators.view import View
from headrace.pipelines.pipeline import Pipeline

__all__ = [
    "Change",
    "Cost",
    "Plan",
    "applied",
    "compared",
    "facts",
    "note_applied",
    "note_rebuilt",
    "plan",
    "ran",
]

_APPLIED = "applied.json"
_SHARDS = "store_shards"
_SAMPLE_ROWS = 50_000


@dataclass(frozen=True)
class Change:
    """One thing that is other than before, in words.

    `refused` says that it cannot be applied, `computes` that the view's history is computed.
    """

    what: str
    name: str
    says: str
    refused: bool = False
    computes: bool = False


@dataclass(frozen=True)
class Cost:
    """What the history of a view takes: its rows, and of the machine, by a sample of them.

    `rows` are those of all sources below it. Without a sample, for there is no row, both are 0.
    """

    view: str
    rows: int
    seconds: float
    size_bytes: int


@dataclass(frozen=True)
class Plan:
    """What changes, which views stay as they are, and what those cost that need their history."""

    changes: tuple[Change, ...] = ()
    unchanged: tuple[str, ...] = ()
    costs: tuple[Cost, ...] = field(default=())

    @property
    def to_compute(self) -> list[str]:
        """Name the views whose history is to be computed."""
        return [cost.view for cost in self.costs]


def ran(state: Path) -> bool:
    """Say whether a pipeline ever ran in a state folder.

    >>> ran(Path("/nowhere"))
    False
    """
    return (state / _APPLIED).exists()


def applied(state: Path) -> dict[str, Any]:
    """Read what was declared when a pipeline ran last in a state folder.

    Raises
    ------
    EnvironmentProblem
        Where none ever has.

    """
    if not ran(state):
        asked, found = f"asked for what runs in {state}", "no pipeline ever ran there"
        raise EnvironmentProblem(asked, found, "run it first, or give its --state")
    known: dict[str, Any] = read_json(state / _APPLIED)
    return known


def note_applied(pipeline: Pipeline, state: Path) -> None:
    """Keep what is declared, for a later plan, and to go back to."""
    declarations.noted(state, pipeline.path, pipeline.text)
    write_json(state / _APPLIED, facts(pipeline))


def note_rebuilt(pipeline: Pipeline, state: Path) -> None:
    """Keep how many shards the store has from now on."""
    if ran(state):
        told = {name: value for name, value in applied(state).items() if name != _SHARDS}
        write_json(state / _APPLIED, {**told, **_sharded(pipeline)})


def _sharded(pipeline: Pipeline) -> dict[str, int]:
    """Say how many shards the store has; nothing where it has none, as before there were any."""
    return {_SHARDS: pipeline.store_shards} if pipeline.store_shards > 1 else {}


def facts(pipeline: Pipeline) -> dict[str, Any]:
    """Say what of a declaration is compared, in values of JSON."""
    outcome = pipeline.outcome
    said = [origin_identity(outcome.source), outcome.id, outcome.said]
    declared = assembly.declared(pipeline)
    return {
        "views": {
            name: {
                "version": version(view),
                "features": {
                    each.name: [declared.features[each.name], str(each.aggregate), each.window_ms]
                    for each in view.features
                },
            }
            for name, view in pipeline.views.items()
        },
        "inputs": {name: kind.value for name, kind in pipeline.inputs.items()},
        "events": {name: events_version(source) for name, source in declared.kept.items()},
        "decision": declared.decision,
        "lasting": declared.lasting,
        "columns": {name: kind.value for name, kind in declared.source.types.items()},
        "outcome": json.loads(json.dumps([*said, outcome.within_ms])),
        "model": assembly.learning(pipeline).digest,
        "views_job": views.digest(pipeline),
        "labels_job": labels.digest(pipeline),
        **_sharded(pipeline),
    }


def plan(
    pipeline: Pipeline,
    before: Mapping[str, Any],
    topics: Topics,
    *,
    living: Mapping[str, int] | None = None,
) -> Plan:
    """Compare a declaration with the one before it, and say what the difference takes.

    `living` are the versions of views that the store has, with the time to which each is complete.
    """
    now = facts(pipeline)
    changes = compared(before, now, living)
    unchanged = [name for name, view in now["views"].items() if before["views"].get(name) == view]
    new = [change.name for change in changes if change.computes]
    costs = tuple(_cost(pipeline, pipeline.views[name], topics) for name in new)
    return Plan(tuple(changes), tuple(unchanged), costs)


def compared(
    before: Mapping[str, Any], now: Mapping[str, Any], living: Mapping[str, int] | None = None
) -> list[Change]:
    """Say in words how two declarations differ; see `plan`."""
    changes: list[Change] = []
    for name, view in now["views"].items():
        old = before["views"].get(name)
        if old is None or old["version"] != view["version"]:
            changes.append(_new_view(name, view, old, living or {}))
        else:
            changes += _features(old["features"], view["features"])
    changes += [
        Change("view", name, f"is gone; its tiles stay until `headrace drop {old['version']}`")
        for name, old in before["views"].items()
        if name not in now["views"]
    ]
    changes += _events(before.get("events", {}), now["events"])
    changes += _retyped(before.get("inputs", {}), now["inputs"])
    changes += _others(before, now)
    changes += _resharded(before.get(_SHARDS, 1), now.get(_SHARDS, 1))
    return changes


def _resharded(before: int, now: int) -> list[Change]:
    says = f"has {now} shards, and had {before}: take it down, then run `headrace store rebuild`"
    return [Change("store", "store", says, refused=True)] if before != now else []


def _new_view(
    name: str,
    view: Mapping[str, Any],
    old: Mapping[str, Any] | None,
    living: Mapping[str, int],
) -> Change:
    found = view["version"]
    if found in living:
        says = f"is again {found}, which is there to {clock(living[found])}: nothing is computed"
        return Change("view", name, f"{says}, and the stream goes on from there")
    if old is None:
        return Change("view", name, "is new: its history is computed", computes=True)
    says = f"is another version, {found}: its history is computed, and that of"
    says = f"{says} {old['version']} stays until it is dropped"
    return Change("view", name, says, computes=True)


def _events(before: Mapping[str, str], now: Mapping[str, str]) -> list[Change]:
    """Say how the events that are kept differ: nothing of them is needed by what is served."""
    stays = "those of before stay until `headrace drop {}`"
    found = [
        Change("events", name, f"are read anew from the topic; {stays.format(before[name])}")
        for name, version in now.items()
        if before.get(name, version) != version
    ]
    gone = [name for name in before if name not in now]
    says = "are kept no more; " + stays
    return [*found, *(Change("events", name, says.format(before[name])) for name in gone)]


def _features(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """Say how the features of a view with the same tiles differ: nothing of them is computed."""
    free = "nothing is computed, for the tiles are there"
    found = [
        Change("feature", name, f"is new, {_said(each)}: {free}")
        for name, each in now.items()
        if name not in before
    ]
    found += [
        Change("feature", name, f"was {_said(before[name])} and is {_said(each)}: {free}")
        for name, each in now.items()
        if name in before and before[name][0] != each[0]
    ]
    gone = [name for name in before if name not in now]
    return [*found, *(Change("feature", name, "is gone") for name in gone)]


def _retyped(before: Mapping[str, str], now: Mapping[str, str]) -> list[Change]:
    """Refuse a feature, or a column of decisions, of another type: what was served has the old."""
    return [
        Change(
            "input",
            name,
            f"is {kind} and was {before[name]}, as what was served is kept: give it another name",
            refused=True,
        )
        for name, kind in now.items()
        if before.get(name, kind) != kind
    ]


def _said(feature: list[Any]) -> str:
    _, aggregate, window_ms = feature
    return aggregate if window_ms is None else f"{aggregate} over {window_ms // 1000} s"


def _others(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    found = _decisions(before, now)
    if before["outcome"] != now["outcome"]:
        says = "is another: labels from here on are by it, and those before stay"
        found.append(Change("outcome", "outcome", says))
    if before["model"] != now["model"]:
        says = "is another and learns anew: start in a fresh state folder"
        found.append(Change("model", "model", says, refused=True))
    for job in FLINK_JOBS:
        if before[f"{job}_job"] != now[f"{job}_job"]:
            says = "starts anew: from where all that it makes is complete"
            says = says if job == "views" else "starts anew, from the beginning of the log"
            found.append(Change("job", f"{job} job", says))
    return found


def _decisions(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """Say how the decisions differ: they may get columns that they may lack, and nothing else."""
    if before["decision"] == now["decision"]:
        return []
    had, has = before.get("columns", {}), now["columns"]
    do = "and they are numbered: start in a fresh state folder"
    found = [
        Change(
            "decision", "decisions", f"are others without the column {name!r}, {do}", refused=True
        )
        for name in had
        if name not in has
    ]
    if found:
        return found
    if before.get("lasting") != now["lasting"]:
        return [Change("decision", "decisions", f"are others, {do}", refused=True)]
    says = "is new to the decisions: those of before have null"
    return [Change("column", name, says) for name in has if name not in had]


def _cost(pipeline: Pipeline, view: View, topics: Topics) -> Cost:
    """Compute a view over the first rows of its sources, and take the rest to be like them."""
    below = roots(view.source)
    total = 0
    for source in below:
        total += topics.count(source) if source.live else 0
        total += sum(map(files.count_rows, files.found(source, pipeline.path.parent)))
    began = time.perf_counter()
    sample = replace(topics, most_rows=_SAMPLE_ROWS)
    history, _ = backfill.history_of(pipeline, {view.name: view}, sample.log, most_files=1)
    with history:
        rows = sum(
            history.query(f"SELECT 1 FROM {quote(f'checked_{each.name}')}").num_rows
            for each in below
        )
        names = [f"tiles_{view.name}", *(f"tiles_{view.companion(r)}" for r in view.rows)]
        size = sum(history.query(f"SELECT * FROM {quote(name)}").nbytes for name in names)
    seconds = time.perf_counter() - began
    share = total / rows if rows else 0.0
    return Cost(view.name, total, round(seconds * share, 1), round(size * share))
