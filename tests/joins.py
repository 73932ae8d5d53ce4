r"""Tables of cases for the operators of two sides: as_of and interval_join.

They are read as those of other stream operators are (`tests/streams.py`), but begin with ::

    v: {source: b, key: k, features: {…}}    as_of: the view of b's events, and the columns of a's
    keys: {v: h}                             rows that hold its key; steps are of 10 ms

    join: {ids: [k, h], within: 10ms, outer: both, complete_to: 15}
                                             interval_join: a's rows are the decisions, b's the
                                             outcomes; a row is [at, partition, offset]
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from headrace.operators.engines import in_process
from headrace.operators.engines.duckdb import quote
from headrace.operators.engines.duckdb_streams import DUCKDB
from headrace.operators.event import Event
from headrace.operators.streams.as_of import AsOf
from headrace.operators.streams.interval_join import FOREVER, IntervalJoin
from headrace.operators.view import END
from headrace.pipelines.pipeline import Pipeline
from tests.engines import asked_index, rows_in_process
from tests.streams import Case, Row, by_in_process, cells, history_of, pipeline_of

__all__ = ["ENGINES", "joined"]

_STREAMS = ("mine: {from: a}", "theirs: {from: b}")
_KEYS = re.compile(r"keys: \{v: \[?([\w, ]+?)\]?\}")
_JOIN = re.compile(
    r"join: \{ids: \[(\w+), (\w+)\], within: (\d+)ms(?:, outer: (\w+))?(?:, complete_to: (\d+))?\}"
)


def joined(case: Case) -> tuple[IntervalJoin, int]:
    """Give the join of a case, and what its logs are complete to."""
    match = _JOIN.fullmatch(case.streams[0])
    assert match is not None, case.streams[0]
    outer: Any = match[4] or "neither"
    assert outer in ("neither", "decisions", "outcomes", "both")
    return IntervalJoin((match[1], match[2]), int(match[3]), outer), int(match[5] or FOREVER)


def _pairs_in_process(case: Case, folder: Path) -> list[Row]:
    join, complete_to = joined(case)
    mine, theirs = sides(case, folder)
    return [
        tuple(row and list(row.order) for row in pair)
        for pair in join.of(mine, theirs, complete_to=complete_to)
    ]


def sides(case: Case, folder: Path) -> list[list[Event]]:
    """Give the rows of a and those of b."""
    pipeline = pipeline_of(folder, _STREAMS)
    return [by_in_process(pipeline, each, case.logs)[0] for each in pipeline.streams.values()]


def _pairs_duckdb(case: Case, folder: Path) -> list[Row]:
    join, complete_to = joined(case)
    query = join.sql("events_mine", "events_theirs", DUCKDB, complete_to=complete_to)
    with history_of(pipeline_of(folder, _STREAMS), case.logs) as history:
        order = "ORDER BY outcome NULLS LAST, decision"
        found = history.query(f"SELECT decision, outcome FROM ({query}) {order}").to_pylist()
    return [tuple(place and list(place.values()) for place in row.values()) for row in found]


def _as_of(case: Case, folder: Path) -> tuple[Pipeline, AsOf]:
    view, said = case.streams
    match = _KEYS.fullmatch(said)
    assert match is not None, said
    keys = tuple(match[1].split(", "))
    decided = ", ".join(("user", "ask_id")[: len(keys)])
    pipeline = pipeline_of(
        folder, _STREAMS, every="10ms", views=[f"  {view}"], keys=f"{{v: [{decided}]}}"
    )
    return pipeline, AsOf(pipeline.views["v"], keys)


def _asked(pipeline: Pipeline, case: Case) -> tuple[list[Event], list[Event]]:
    """Give the rows that ask, and the events of the view."""
    rows, _ = by_in_process(pipeline, pipeline.streams["mine"], case.logs)
    return rows, in_process.events(pipeline.sources["b"], case.logs["b"]).events


def _found(case: Case, rows: Sequence[Event], features: Sequence[Mapping[str, Any]]) -> list[Row]:
    found = [
        Event(row.partition, row.offset, {**row.values, **values})
        for row, values in zip(rows, features, strict=True)
    ]
    return cells(found, case.columns)


def _as_of_in_process(case: Case, folder: Path) -> list[Row]:
    pipeline, as_of = _as_of(case, folder)
    rows, events = _asked(pipeline, case)
    return _found(case, rows, as_of.of(rows, events))


def _as_of_duckdb(case: Case, folder: Path) -> list[Row]:
    pipeline, as_of = _as_of(case, folder)
    companions = {r.name: quote(f"tiles_{as_of.view.companion(r)}") for r in as_of.view.rows}
    rows, _ = _asked(pipeline, case)
    numbered = (
        'SELECT *, row_number() OVER (ORDER BY "at", partition, "offset") AS seq FROM events_mine'
    )
    query = as_of.sql(f"({numbered})", "tiles_v", identity="seq", rows=companions)
    with history_of(pipeline, case.logs) as history:
        found = history.query(f"SELECT * FROM ({query}) ORDER BY seq").to_pylist()
    return _found(case, rows, found)


def _as_of_index(case: Case, folder: Path) -> list[Row]:
    pipeline, as_of = _as_of(case, folder)
    rows, events = _asked(pipeline, case)
    view = as_of.view
    tiles = pa.Table.from_pylist(in_process.tiles(view, events), view.tile_schema).sort_by(END)
    asks = [(tuple(row.values[key] for key in as_of.keys), row.at) for row in rows]
    found = asked_index(view, [tiles], asks, rows_in_process(view, events))
    names = [feature.name for feature in view.features]
    return _found(case, rows, [dict(zip(names, each, strict=True)) for each in found])


ENGINES: Mapping[str, Mapping[str, Callable[[Case, Path], list[Row]]]] = {
    "as_of": {
        "in_process": _as_of_in_process,
        "duckdb": _as_of_duckdb,
        "index": _as_of_index,
    },
    "interval_join": {"in_process": _pairs_in_process, "duckdb": _pairs_duckdb},
}
