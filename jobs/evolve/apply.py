"""headrace apply: the history of what is new, while what runs serves; then a start at its seam.

::

    new views ─► backfills/<version>/, complete to B ──► taken in when the store opens
    C = the least that any view, or the decisions, are complete to
    raw topics ─► first row at or after C ─► back to the row that set its partition's high ─► start

The views job of another SQL cannot take up the old one's state, so it reads its topics again; not
from their beginning, but from where nothing that it will make is different for it:

- every row with `at` ≥ C stands at or behind the first such row of its partition, so every pane
  that ends after C is whole, and the store passes over those before;
- lateness hangs on the running maximum alone, and the start is the row that set it, so each row
  is as late as it was;
- no row is behind what the old job had written for good, so no dead letter is lost. Some come a
  second time, as after any failure.

A stream that looks back (`dedup`, `session`) starts at the beginning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from headrace.feature_store.catalogue import Catalogue
from headrace.feature_store.history import History
from headrace.jobs import transport, views
from headrace.jobs.evolve import handover, plan, raw_log
from headrace.jobs.evolve.backfill import Done, backfilled, history_of
from headrace.jobs.evolve.plan import Plan
from headrace.jobs.evolve.raw_log import Topics
from headrace.jobs.lifecycle.clock import clock
from headrace.jobs.machine import kafka
from headrace.jobs.serving.client import Client
from headrace.jobs.transport import Place
from headrace.operators.engines.duckdb import quote
from headrace.operators.errors import EnvironmentProblem
from headrace.operators.identity import version
from headrace.operators.source import FILE_PARTITION, Source
from headrace.pipelines.pipeline import Pipeline

__all__ = [
    "Applied",
    "Carried",
    "apply",
    "carried_out",
    "living",
    "panes_of",
    "planned_in",
    "starts_at",
]


@dataclass(frozen=True)
class Applied:
    """What was done: histories, and where a views job of new SQL starts; None at the beginning."""

    done: tuple[Done, ...]
    starts: Mapping[Place, int] | None


@dataclass(frozen=True)
class Carried:
    """What was planned and done, and whether a pipeline that is up has taken over."""

    planned: Plan
    applied: Applied
    taken_over: bool


def planned_in(pipeline: Pipeline, state: Path, topics: Topics) -> Plan:
    """Plan against what ran last in a state folder, and what its store has."""
    before = plan.applied(state)
    return plan.plan(pipeline, before, topics, living=living(panes_of(state)))


def carried_out(
    pipeline: Pipeline, state: Path, what: str, *, ready: Callable[[], None] = lambda: None
) -> Carried:
    """Plan, apply, and have a pipeline that is up take over, as `what`.

    Parameters
    ----------
    pipeline, state
        What is declared now, and where it ran.
    what
        Is done: the command's name.
    ready
        Is called when all is ready, before anything takes over.

    Raises
    ------
    EnvironmentProblem
        As `apply` and `handover.wait`, or where nothing ever ran there.

    """
    plan.applied(state)  # before a broker is started
    with raw_log.bootstrap(pipeline, state, what) as address:
        topics = Topics(address)
        planned = planned_in(pipeline, state, topics)
        applied = apply(pipeline, planned, state, topics)
    ready()
    taken = bool(planned.changes) and handover.ask(pipeline, state)
    if taken:
        handover.wait(pipeline, state)
    return Carried(planned, applied, taken)


def apply(pipeline: Pipeline, planned: Plan, state: Path, topics: Topics) -> Applied:
    """Make everything ready for the next start of the pipeline as it is declared now.

    Raises
    ------
    EnvironmentProblem
        Where a change cannot be applied, or a new source has no topic: nothing is done then.

    """
    for change in planned.changes:
        if change.refused:
            asked = f"asked to apply {pipeline.path.name}"
            found = f"its {change.name} {change.says.partition(':')[0]}"
            raise EnvironmentProblem(asked, found, change.says.rpartition(": ")[2])
    if topics.address is not None:
        own = kafka.elsewhere(pipeline, state) is None
        kafka.make_topics(pipeline, topics.address, own=own, create_sources=False)
    wanted = {name: pipeline.views[name] for name in planned.to_compute}
    folder = state / "store" / "backfills"
    done = backfilled(pipeline, wanted, topics.log, folder) if wanted else []
    starts = None
    if any(change.name == "views job" for change in planned.changes):
        complete = _complete(pipeline, panes_of(state), done)
        starts = _starts(pipeline, topics, complete)
        views.note_starts(pipeline, state / "views", starts)
    return Applied(tuple(done), starts)


def living(panes: pa.Table) -> dict[str, int]:
    """Give the versions of views that have panes, with the time to which each is complete."""
    least = panes.group_by("name").aggregate([("complete", "min")]).to_pylist()
    return {row["name"]: row["complete_min"] for row in least}


def panes_of(state: Path) -> pa.Table:
    """Read how far everything is complete: of the store that serves, or of its file."""
    query = "SELECT name, shard, complete FROM panes"
    with closing(Client(state / "store" / "address.json")) as client:
        if client.healthy():
            return client.sql(query)
    path = state / "store" / "store.duckdb"
    if not path.exists():
        return pa.table({"name": pa.array([], pa.string()), "shard": [], "complete": []})
    with closing(Catalogue(path)) as catalogue:
        return catalogue.read(query)


def _complete(pipeline: Pipeline, panes: pa.Table, done: list[Done]) -> int:
    """Give C: nothing that ends by it will be asked of the new job."""
    known = {(row["name"], row["shard"]): row["complete"] for row in panes.to_pylist()}
    made = {each.backfill.version: each.backfill.until for each in done}
    found = [known.get(("decisions", 0), 0)]
    for view in pipeline.streamed.values():
        name = version(view)
        found += [known.get((name, shard), made.get(name, 0)) for shard in range(view.shards)]
    return int(min(found))


def _starts(pipeline: Pipeline, topics: Topics, complete: int) -> dict[Place, int] | None:
    looks_back = any(s.remembers for each in pipeline.streams.values() for s in each.steps)
    if complete == 0 or looks_back or topics.address is None:
        return None
    live = [source for source in pipeline.sources.values() if source.live]
    group = views.group(pipeline)
    written = transport.committed(topics.address, group)
    history, _ = history_of(pipeline, {}, topics.log, sources=[source.name for source in live])
    starts: dict[Place, int] = {}
    with history:
        for source in live:
            starts |= starts_at(history, source, complete, written)
    return starts


def starts_at(
    history: History, source: Source, complete: int, written: Mapping[Place, int]
) -> dict[Place, int]:
    """Give the offset of each partition from which all panes that end after `complete` are whole.

    `written` are the offsets before which all that the old job refused is written for good.

    Raises
    ------
    EnvironmentProblem
        Where the topic does not reach back that far any more.

    """
    rows = (
        f'(SELECT partition, "offset", "at" FROM {quote(f"checked_{source.name}")} '
        f"WHERE partition < {FILE_PARTITION})"
    )
    firsts = history.query(
        f'SELECT partition, MIN("offset") AS begin, MAX("offset") + 1 AS stop, '
        f'MIN("offset") FILTER (WHERE "at" >= {complete}) AS first FROM {rows} GROUP BY partition'
    ).to_pylist()
    starts = {}
    for row in firsts:
        place = (source.topic, row["partition"])
        stop = min(row["stop"] if row["first"] is None else row["first"], written.get(place, 0))
        high = history.query(
            f'SELECT "offset" FROM {rows} WHERE partition = {row["partition"]} AND '
            f'"offset" < {stop} AND "at" IS NOT NULL ORDER BY "at" DESC, "offset" LIMIT 1'
        )["offset"].to_pylist()
        if not high and row["begin"] > 0:
            asked = f"asked for {source.topic} {row['partition']} from {clock(complete)} on"
            found = f"it begins at offset {row['begin']}, and what was before is gone"
            do = "start in a fresh state folder, and let the topic keep what it has for longer"
            raise EnvironmentProblem(asked, found, do)
        starts[place] = high[0] if high else row["begin"]
    return starts
