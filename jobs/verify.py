"""headrace verify: the log recomputed by DuckDB against what the stream made of it, cell by cell.

::

    raw topics ─► DuckDB ─► tiles, features, refused rows ─┐
                                                           ├─► every cell that differs
    the store  ─► tiles, predictions, dead letters, late ──┘

Numbers are equal when their bits are; there is no tolerance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pyarrow as pa

from headrace.feature_store.history import LOG, History
from headrace.jobs import assembly, transport
from headrace.jobs.transport import Reader
from headrace.operators.aggregates import Bins, Ends
from headrace.operators.engines.duckdb import quote
from headrace.operators.view import END, View
from headrace.pipelines.pipeline import Pipeline

__all__ = ["Difference", "Verdict", "read_log", "verify"]

Ask = Callable[[str], pa.Table]
"""Asks the store a query."""
_SHOWN = 20


@dataclass(frozen=True)
class Difference:
    """One cell that differs."""

    where: str
    key: str
    column: str
    stream: object
    history: object


@dataclass
class Verdict:
    """How many cells were compared, and those that differ (the first ones of each kind)."""

    cells: int = 0
    mismatches: int = 0
    tables: dict[str, int] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)

    def note(self, difference: Difference) -> None:
        """Count a difference, and keep it if it is one of the first."""
        self.mismatches += 1
        if len(self.differences) < _SHOWN:
            self.differences.append(difference)


def read_log(bootstrap: str, topic: str) -> pa.Table:
    """Read a whole topic, as it ends now."""
    ends = transport.ends(bootstrap, [topic])
    columns: dict[str, list[object]] = {name: [] for name in LOG.names}
    starts = transport.begins(bootstrap, [topic])
    missing = sum(ends.values()) - sum(starts.values())
    with Reader(bootstrap, starts, max_records=50_000) as reader:
        while missing > 0:
            for (_, partition), messages in reader.poll(1_000, 50_000).items():
                known = [m for m in messages if m.offset < ends[topic, partition]]
                columns["partition"] += [partition] * len(known)
                columns["offset"] += [message.offset for message in known]
                columns["timestamp"] += [message.timestamp for message in known]
                columns["payload"] += [message.value for message in known]
                missing -= len(known)
    return pa.table(columns, LOG)


def verify(pipeline: Pipeline, *, bootstrap: str, ask: Ask) -> Verdict:
    """Compare everything that the stream has made with a recomputation from the raw log.

    Parameters
    ----------
    pipeline
        The declaration.
    bootstrap
        The broker that has the raw topics.
    ask
        Runs a query on the store.

    """
    verdict = Verdict()
    declared = assembly.declared(pipeline)
    with History(declared, pipeline.sources, pipeline.streams) as history:
        for name, source in pipeline.sources.items():
            history.load(name, read_log(bootstrap, source.topic))
            _refused(verdict, history, name, ask)
        for name in pipeline.streams:
            _refused_by(verdict, history, name, ask)
        history.decisions()
        for view in pipeline.views.values():
            stream = ask(f"SELECT * FROM views.{quote(view.name)}")
            _tiles(verdict, history, view, stream)
            for rows in view.rows:
                stream = ask(f"SELECT * FROM views.{quote(view.companion(rows))}")
                _rows(verdict, history, view, rows, stream)
        names = ", ".join(map(quote, declared.decision_schema.names))
        _compare(
            verdict,
            history,
            "decisions",
            ["seq"],
            declared.decision_schema.names,
            stream=ask(f"SELECT {names} FROM decisions"),
            truth=history.query(f"SELECT {names} FROM decisions"),
        )
        predictions = ask("SELECT * FROM predictions")
        for view in pipeline.views.values():
            columns = [feature.name for feature in view.features]
            _compare(
                verdict,
                history,
                f"features of {view.name}",
                ["seq"],
                columns,
                stream=predictions.select(["seq", *columns]),
                truth=history.features(view.name),
            )
    return verdict


def _refused(verdict: Verdict, history: History, name: str, ask: Ask) -> None:
    stream = ask(
        'SELECT DISTINCT partition, "offset", reason FROM ('
        f'SELECT source, partition, "offset", reason FROM dead_letters '
        f"WHERE NOT starts_with(reason, 'stream ') UNION ALL "
        f"SELECT source, partition, \"offset\", 'late' FROM late_rows) WHERE source = '{name}'"
    )
    key = ["partition", "offset"]
    where = f"refused rows of {name}"
    _compare(verdict, history, where, key, ["reason"], stream=stream, truth=history.refused(name))


def _refused_by(verdict: Verdict, history: History, name: str, ask: Ask) -> None:
    """Compare the rows that a stream refuses, which carry the places of their sources."""
    key = ["source", "partition", "offset"]
    each = f"""SELECT source, partition, "offset", string_agg(DISTINCT reason, '; ' ORDER BY reason)
        AS reason FROM {{}} WHERE starts_with(reason, 'stream {name}: ') GROUP BY ALL"""
    where = f"rows refused by the stream {name}"
    made = history.refused_by(name)
    truth = history.query(each.format("made"), made=made)
    stream = ask(each.format("dead_letters"))
    _compare(verdict, history, where, key, ["reason"], stream=stream, truth=truth)


def _tiles(verdict: Verdict, history: History, view: View, stream: pa.Table) -> None:
    key = [*view.key, END]
    columns = [name for name in view.tile_schema.names if name not in key]
    truth = history.query(f"SELECT * FROM {quote(f'tiles_{view.name}')}")
    _compare(verdict, history, f"tiles of {view.name}", key, columns, stream=stream, truth=truth)


def _rows(
    verdict: Verdict, history: History, view: View, rows: Bins | Ends, stream: pa.Table
) -> None:
    """Compare a companion table; bins are told apart by key, tile and bin, ends by their place."""
    own = [name for name, _ in rows.fields]
    compared = own[-1:]
    key = [*view.key, END, *own[:-1]]
    truth = history.query(f"SELECT * FROM {quote(f'tiles_{view.companion(rows)}')}")
    where = f"{rows.name} of {view.name}"
    _compare(verdict, history, where, key, compared, stream=stream, truth=truth)


def _compare(
    verdict: Verdict,
    history: History,
    where: str,
    key: list[str],
    columns: list[str],
    *,
    stream: pa.Table,
    truth: pa.Table,
) -> None:
    """Join two tables by key and count the cells that differ; a missing row is all its cells."""
    on = " AND ".join(f"s.{quote(k)} IS NOT DISTINCT FROM h.{quote(k)}" for k in key)
    pairs = "".join(
        f", s.{quote(c)} AS {quote('s_' + c)}, h.{quote(c)} AS {quote('h_' + c)}" for c in columns
    )
    text = ", ".join(f"COALESCE(s.{quote(k)}, h.{quote(k)})" for k in key)
    # Doubles are compared as they are: NaN is refused at the door and −0.0 is made 0.0.
    cells_differ = (f"s.{quote(c)} IS DISTINCT FROM h.{quote(c)}" for c in columns)
    differs = " OR ".join(["FALSE", *cells_differ])
    alone = f"s.{quote(key[0])} IS NULL OR h.{quote(key[0])} IS NULL"
    rows = history.query(
        f"SELECT concat_ws(' ', {text}) AS key, {alone} AS alone, "
        f"s.{quote(key[0])} IS NULL AS missing{pairs} FROM stream AS s "
        f"FULL JOIN truth AS h ON {on} WHERE {alone} OR {differs}",
        stream=stream,
        truth=truth,
    )
    names = ", ".join(map(quote, key))
    twice = f"SELECT {names}, COUNT(*) AS n FROM stream GROUP BY ALL HAVING COUNT(*) > 1"
    for row in history.query(twice, stream=stream).to_pylist():
        where_twice = " ".join(str(row[name]) for name in key)
        verdict.note(Difference(where, where_twice, "*", f"{row['n']} rows", "1 row"))
    cells = truth.num_rows * len(columns)
    verdict.cells += cells
    verdict.tables[where] = cells
    for row in rows.to_pylist():
        if not columns:
            there = (None, "1 row") if row["missing"] else ("1 row", None)
            verdict.note(Difference(where, row["key"], "*", *there))
        for column in columns:
            ours, theirs = row[f"s_{column}"], row[f"h_{column}"]
            if row["alone"] or ours != theirs:
                verdict.note(Difference(where, row["key"], column, ours, theirs))
