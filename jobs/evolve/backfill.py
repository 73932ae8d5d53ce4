"""headrace backfill: the history of views, from files and from raw topics, for the store to take.

::

    files, raw topics ─► DuckDB ─► tiles that end by B ─► backfills/<version>/ ─► the store
                            └────► B: how far all that a view is made of is complete

B is a function of the log. A partition whose greatest `at` is h is complete to h − lateness: what
comes later and is earlier is late by the rule, in no view. A source is complete to the least of its
partitions, and before its hand-over by its files; a view to the least of its sources, cut to a
step's end. So no tile of a backfill ever changes, and the stream's panes after B have the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from headrace.feature_store import backfill, files
from headrace.feature_store.backfill import EVENTS, FOREVER, TILES, Backfill
from headrace.feature_store.history import History
from headrace.feature_store.versions import rows_version
from headrace.jobs import assembly
from headrace.jobs.source_rows import loaded
from headrace.operators.engines.duckdb import quote
from headrace.operators.engines.duckdb_log import kept_sql
from headrace.operators.errors import EnvironmentProblem, UnknownName
from headrace.operators.identity import version
from headrace.operators.source import FILE_PARTITION, FROM_TOPIC, Source
from headrace.operators.streams.stream import Origin, live, roots, starts_ms
from headrace.operators.view import END, View
from headrace.pipelines.pipeline import Pipeline

__all__ = [
    "Done",
    "Log",
    "backfilled",
    "chosen",
    "complete",
    "complete_to",
    "history_of",
    "refused",
    "timed",
    "until",
]

Log = Callable[[Source], tuple[pa.Table, int]]
"""Gives a source's topic as it is now, and how many partitions it has."""


@dataclass(frozen=True)
class Done:
    """What was computed: a view's, or a source's refused rows; and how long all of it took."""

    name: str
    backfill: Backfill
    seconds: float


def chosen(pipeline: Pipeline, names: Collection[str]) -> dict[str, View]:
    """Give the views of these names; all of them where there are none."""
    for name in names:
        if name not in pipeline.views:
            raise UnknownName(kind="view", name=name, known=pipeline.views)
    return {name: view for name, view in pipeline.views.items() if not names or name in names}


def backfilled(
    pipeline: Pipeline, views: Mapping[str, View], log: Log, folder: Path, *, to: int | None = None
) -> list[Done]:
    """Compute views' history into `folder`; of every source with files its refused rows, too.

    Parameters
    ----------
    pipeline
        The declaration.
    views
        Those that are wanted.
    log
        Reads the topics.
    folder
        Where backfills are kept.
    to
        No later than this time, ms, UTC, the stream takes over; of files alone all is taken.

    Raises
    ------
    EnvironmentProblem
        Where a view would be handed over before all its files count.

    """
    began = time.monotonic()
    of_files = [name for name, source in pipeline.sources.items() if source.files is not None]
    history, partitions = history_of(pipeline, views, log, sources=of_files)
    done = []
    with history:
        for view in views.values():
            complete = {
                root.name: complete_to(history, root, partitions[root.name])
                for root in roots(view.source)
            }
            done.append(_view(history, view, until(view, complete, to), folder))
        done += refused(history, pipeline, folder)
    return timed(done, began)


def timed(done: Sequence[Backfill], began: float) -> list[Done]:
    """Name what was done since a time of the monotonic clock."""
    seconds = time.monotonic() - began
    return [Done(each.version.rpartition("-")[0], each, seconds) for each in done]


def history_of(
    pipeline: Pipeline,
    views: Mapping[str, View],
    log: Log,
    *,
    sources: Collection[str] = (),
    most_files: int | None = None,
) -> tuple[History, dict[str, int]]:
    """Compute views' history in memory; give how many partitions the topics have, too.

    `sources` are read besides those below the views, and no more than `most_files` of each.
    """
    wanted = {root.name for view in views.values() for root in roots(view.source)}
    wanted |= {*sources}
    declared = replace(assembly.declared(pipeline), views=dict(views))
    history = History(declared, pipeline.sources)
    partitions = dict.fromkeys(wanted, 0)

    def rows(source: Source) -> pa.Table:
        found, partitions[source.name] = log(source)
        return found

    try:
        for _ in loaded(history, pipeline, rows, names=wanted, most_files=most_files):
            pass
    except BaseException:
        history.__exit__(None, None, None)
        raise
    return history, partitions


def complete_to(history: History, source: Source, partitions: int) -> int:
    """Give the time before which no event of a source will come any more."""
    if not source.live:
        return FOREVER
    rows = history.query(
        f'SELECT MAX("at") AS high FROM {quote(f"checked_{source.name}")} '
        f"WHERE partition < {FILE_PARTITION} GROUP BY partition HAVING high IS NOT NULL"
    )
    return complete(source, rows["high"].to_pylist(), partitions)


def complete(source: Source, highs: Sequence[int], partitions: int) -> int:
    """Give it by the greatest `at` of each partition of the topic that has a row."""
    if not source.live:
        return FOREVER
    # A partition without rows says nothing, unless its being idle is declared to say it.
    known = bool(highs) and (len(highs) == partitions or source.idle_ms > 0)
    return max(source.starts_ms, min(highs) - source.lateness_ms if known else 0)


def until(view: View, complete: Mapping[str, int], to: int | None) -> int:
    """Give the step's end to which a view is made, by how far its sources are complete.

    Raises
    ------
    EnvironmentProblem
        Where that is before the hand-over.

    """
    every = view.every_ms
    until = min(complete.values(), default=0) // every * every
    until = until if to is None or not live(view.source) else min(until, to // every * every)
    if until < starts_ms(view.source):
        least = min(complete, key=lambda name: complete[name])
        asked = f"asked for the history of the view {view.name!r}"
        found = (
            f"its hand-over is at {starts_ms(view.source)} ms, and the backfill ends at {until} ms"
        )
        do = (
            f"wait until the topic of {least!r} has come so far"
            if to is None
            else "give a later --to"
        )
        raise EnvironmentProblem(asked, found, do)
    return until


def _view(history: History, view: View, until: int, folder: Path) -> Backfill:
    tables = [(TILES, f"tiles_{view.name}", view.tile_schema)]
    tables += [
        (rows.name, f"tiles_{view.companion(rows)}", view.rows_schema(rows)) for rows in view.rows
    ]
    ended = f"SELECT * FROM {{}} WHERE {quote(END)} <= {until}"
    batches = (
        (name, history.batches(ended.format(quote(table)), schema))
        for name, table, schema in tables
    )
    count, unkeyed = _counts(history, view, until)
    return backfill.write(folder, version(view), batches, until=until, rows=count, unkeyed=unkeyed)


def _counts(history: History, view: View, until: int) -> tuple[int, int]:
    """Count the rows before `until`, progress events aside, and those of them that have no key."""
    said = " OR ".join(f"{quote(name)} IS NOT NULL" for name in _written(view.source))
    missing = " OR ".join(f"{quote(part)} IS NULL" for part in view.key)
    row = history.query(
        f"SELECT COUNT(*) AS n, COUNT(*) FILTER (WHERE {missing}) AS unkeyed "
        f'FROM {quote(f"events_{view.source.name}")} WHERE "at" < {until} AND ({said})'
    ).to_pylist()[0]
    return row["n"], row["unkeyed"]


def _written(origin: Origin) -> list[str]:
    if isinstance(origin, Source):
        return [column.name for column in origin.columns]
    return [name for name in origin.types if name != "at"]


def refused(history: History, pipeline: Pipeline, folder: Path) -> list[Backfill]:
    """Keep what is no event of the files of sources."""
    base = pipeline.path.parent
    sources = [source for source in pipeline.sources.values() if source.files is not None]
    return [_refused(history, source, folder, base) for source in sources]


def _refused(history: History, source: Source, folder: Path, base: Path) -> Backfill:
    """Keep what is no event of a source's files, with its file, for the store's tables."""
    paths = files.found(source, base)
    names = [
        str(path.relative_to(base)) if path.is_relative_to(base) else str(path) for path in paths
    ]
    numbers = pa.array([FILE_PARTITION + n for n in range(len(paths))], pa.int32())
    checked, refused = (quote(f"{what}_{source.name}") for what in ("checked", "refused"))
    place = f"SELECT '{source.name}' AS source, topic, partition, \"offset\""
    of_files = f"{refused} JOIN file_names USING (partition)"
    dead = f"{place}, reason, payload FROM {of_files} WHERE reason NOT IN ('late', '{FROM_TOPIC}')"
    late = (
        f'{place}, "at", high - {source.lateness_ms} AS watermark, payload FROM {of_files} JOIN '
        f'(SELECT partition, "offset", "at", MAX("at") OVER (PARTITION BY partition '
        f'ORDER BY "offset") AS high FROM {checked}) USING (partition, "offset") '
        f"WHERE reason = 'late'"
    )
    passed = f"SELECT * FROM {refused} WHERE reason = '{FROM_TOPIC}'"
    named = pa.table({"partition": numbers, "topic": pa.array(names, pa.string())})
    kept = [("dead_letters", dead), ("late_rows", late)]
    if source.keep:
        kept.append((EVENTS, f"{kept_sql(source, checked)} AND partition >= {FILE_PARTITION}"))
    tables = ((name, history.query(query, file_names=named).to_reader()) for name, query in kept)
    return backfill.write(
        folder,
        rows_version(source),
        tables,
        until=source.live_from_ms or FOREVER,
        rows=history.query(passed).num_rows,
        unkeyed=0,
    )
