"""headrace verify: the log recomputed by DuckDB against what the stream made of it, cell by cell.

::

    raw topics ─► DuckDB ─► tiles, features, refused rows ─┐
                                                           ├─► every cell that differs
    the store  ─► tiles, predictions, dead letters, late ──┘

Where it is asked for, the store's index, DuckDB and the oracle are asked for features at random
(key, t), too: `headrace.jobs.checks.cells`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from headrace.feature_store.history import History
from headrace.feature_store.store import Declared
from headrace.feature_store.versions import events_version
from headrace.jobs import assembly
from headrace.jobs.checks.cells import Random, compare_cells
from headrace.jobs.checks.verdict import Difference, Verdict, compare
from headrace.jobs.source_rows import loaded, read_log
from headrace.operators.aggregates import Bins, Ends
from headrace.operators.engines.duckdb import quote
from headrace.operators.engines.duckdb_log import kept_sql, kept_types
from headrace.operators.errors import StoreError
from headrace.operators.identity import version
from headrace.operators.source import FILE_PARTITION, Source
from headrace.operators.view import END, View
from headrace.pipelines.pipeline import Pipeline

__all__ = ["Difference", "Random", "Verdict", "verify"]

Ask = Callable[[str], pa.Table]
"""Asks the store a query."""


def verify(
    pipeline: Pipeline, *, bootstrap: str, ask: Ask, random: Random | None = None
) -> Verdict:
    """Compare everything that the stream has made with a recomputation from the raw log.

    Parameters
    ----------
    pipeline
        The declaration.
    bootstrap
        The broker that has the raw topics.
    ask
        Runs a query on the store.
    random
        Which features to ask of all engines at random (key, t); none unless given.

    Raises
    ------
    StoreError
        Where there is nothing to compare, or the store has never served a feature.

    """
    verdict = Verdict()
    declared = assembly.declared(pipeline)
    with History(declared, pipeline.sources, pipeline.streams) as history:
        logs: dict[str, pa.Table] = {}
        paths: dict[str, list[Path]] = {}

        def log(source: Source) -> pa.Table:
            return read_log(bootstrap, source.topic)

        for source, rows, paths[source.name] in loaded(history, pipeline, log):
            if random is not None:
                logs[source.name] = rows
            _refused(verdict, history, source.name, ask)
            if source.keep:
                _events(verdict, history, source, ask)
        for name in pipeline.streams:
            _refused_by(verdict, history, name, ask)
        history.decisions()
        for view in pipeline.views.values():
            _view(verdict, history, view, ask)
        _decided(verdict, history, declared, ask)
        if random is not None:
            panes = ask("SELECT name, shard, complete FROM panes").to_pylist()
            named = {version(view): view.name for view in pipeline.views.values()}
            complete = {
                (named.get(row["name"], row["name"]), row["shard"]): row["complete"]
                for row in panes
            }
            compare_cells(
                verdict, history, declared, random, logs=logs, complete=complete, files=paths
            )
    if not verdict.cells and not verdict.mismatches:
        asked = f"asked to verify {pipeline.name!r}"
        found = "there is no cell to compare: no step of the log is complete, nor is a row refused"
        raise StoreError(asked, found, "write to the sources' topics, and run the pipeline first")
    return verdict


def _view(verdict: Verdict, history: History, view: View, ask: Ask) -> None:
    _tiles(verdict, history, view, ask(f"SELECT * FROM views.{quote(view.name)}"))
    for rows in view.rows:
        stream = ask(f"SELECT * FROM views.{quote(view.companion(rows))}")
        _rows(verdict, history, view, rows, stream)


def _decided(verdict: Verdict, history: History, declared: Declared, ask: Ask) -> None:
    """Compare the decisions, and each view's features as they were served."""
    later = ask("SELECT DISTINCT name FROM versions WHERE kind = 'column'")["name"].to_pylist()
    names = declared.decision_schema.names
    columns = [name for name in names if name not in later]
    query = f"SELECT {', '.join(map(quote, columns))} FROM decisions"
    stream, truth = ask(query), history.query(query)
    compare(verdict, history, "decisions", ["seq"], columns, stream=stream, truth=truth)
    for name in (name for name in names if name in later):  # from the first decision that has it
        has = f"SELECT MIN(seq) AS seq FROM decisions WHERE {quote(name)} IS NOT NULL"
        first = ask(has)["seq"][0].as_py()
        if first is not None:
            query = f"SELECT seq, {quote(name)} FROM decisions WHERE seq >= {first}"
            stream, truth = ask(query), history.query(query)
            compare(verdict, history, "decisions", ["seq"], [name], stream=stream, truth=truth)
    predictions = ask("SELECT * FROM predictions")
    since = ask(
        "SELECT name, MAX(since) AS since FROM versions WHERE kind = 'feature' GROUP BY ALL"
    )
    first = {row["name"]: row["since"] for row in since.to_pylist()}
    made = {f"features of {name}": history.features(name) for name in declared.views}
    if declared.computed:
        made["computed features"] = history.computed(list(made.values()))
    for where, truth in made.items():
        _features(verdict, history, where, predictions, truth, first)


def _features(
    verdict: Verdict,
    history: History,
    where: str,
    served: pa.Table,
    made: pa.Table,
    first: Mapping[str, int],
) -> None:
    """Compare features, each from the first prediction that has it as it is now."""
    names = made.column_names[1:]
    for name in names:
        if name not in first:
            asked = f"asked to verify the feature {name!r}"
            found = "the store has never served it"
            raise StoreError(asked, found, "start the pipeline as it is declared now")
    for seq in sorted({first[name] for name in names}):
        columns = [name for name in names if first[name] == seq]
        stream, truth = (
            rows.filter(pc.greater_equal(rows["seq"], seq)).select(["seq", *columns])
            for rows in (served, made)
        )
        compare(verdict, history, where, ["seq"], columns, stream=stream, truth=truth)


def _events(verdict: Verdict, history: History, source: Source, ask: Ask) -> None:
    """Compare the events that are kept, as far as they were read here and there."""
    kept = ask(f"SELECT partition, next FROM offsets WHERE topic = '{events_version(source)}'")
    stream = ask(f"SELECT * FROM events.{quote(source.name)}")
    checked = quote(f"checked_{source.name}")
    last = f'SELECT partition, MAX("offset") AS last FROM {checked} GROUP BY ALL'
    both = (
        "SELECT * EXCLUDE (next, last) FROM ({}) LEFT JOIN kept USING (partition) "
        f"LEFT JOIN ({last}) USING (partition) "
        f'WHERE partition >= {FILE_PARTITION} OR ("offset" < next AND "offset" <= last)'
    )
    truth = history.query(both.format(kept_sql(source, checked)), kept=kept)
    stream = history.query(both.format("SELECT * FROM told"), kept=kept, told=stream)
    key = ["partition", "offset"]
    columns = [name for name in kept_types(source) if name not in key]
    where = f"events of {source.name}"
    compare(verdict, history, where, key, columns, stream=stream, truth=truth)


def _refused(verdict: Verdict, history: History, name: str, ask: Ask) -> None:
    stream = ask(
        'SELECT DISTINCT partition, "offset", reason FROM ('
        f'SELECT source, partition, "offset", reason FROM dead_letters '
        f"WHERE NOT starts_with(reason, 'stream ') UNION ALL "
        f"SELECT source, partition, \"offset\", 'late' FROM late_rows) WHERE source = '{name}'"
    )
    key = ["partition", "offset"]
    where = f"refused rows of {name}"
    compare(verdict, history, where, key, ["reason"], stream=stream, truth=history.refused(name))


def _refused_by(verdict: Verdict, history: History, name: str, ask: Ask) -> None:
    """Compare the rows that a stream refuses, which carry the places of their sources."""
    key = ["source", "partition", "offset"]
    each = f"""SELECT source, partition, "offset", string_agg(DISTINCT reason, '; ' ORDER BY reason)
        AS reason FROM {{}} WHERE starts_with(reason, 'stream {name}: ') GROUP BY ALL"""
    where = f"rows refused by the stream {name}"
    made = history.refused_by(name)
    truth = history.query(each.format("made"), made=made)
    stream = ask(each.format("dead_letters"))
    compare(verdict, history, where, key, ["reason"], stream=stream, truth=truth)


def _tiles(verdict: Verdict, history: History, view: View, stream: pa.Table) -> None:
    key = [*view.key, END]
    columns = [name for name in view.tile_schema.names if name not in key]
    truth = history.query(f"SELECT * FROM {quote(f'tiles_{view.name}')}")
    compare(verdict, history, f"tiles of {view.name}", key, columns, stream=stream, truth=truth)


def _rows(
    verdict: Verdict, history: History, view: View, rows: Bins | Ends, stream: pa.Table
) -> None:
    """Compare a companion table; bins are told apart by key, tile and bin, ends by their place."""
    own = [name for name, _ in rows.fields]
    compared = own[-1:]
    key = [*view.key, END, *own[:-1]]
    truth = history.query(f"SELECT * FROM {quote(f'tiles_{view.companion(rows)}')}")
    where = f"{rows.name} of {view.name}"
    compare(verdict, history, where, key, compared, stream=stream, truth=truth)
