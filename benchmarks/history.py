"""History by the SQL that headrace prints against DuckDB SQL written by hand, from the raw log.

By hand: DuckDB's own JSON reader with a schema, no check of a value, no dead letter; late rows are
left out, tiles and features are those of the pipeline. Ours is what `headrace verify` runs: every
message is checked, and what is no event gets a table of its own.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import duckdb
import pyarrow as pa

from benchmarks.by_hand import REFERENCE
from benchmarks.measure import Ratio, alternate, cost, equal, say, store
from headrace.feature_store.history import read
from headrace.feature_store.messages import LOG
from headrace.jobs.demo import flights
from headrace.operators.engines.duckdb import features_sql, quote, tiles_sql
from headrace.pipelines.load import load
from headrace.pipelines.pipeline import Pipeline

__all__ = ["features", "log", "run"]

DAYS = 60
STAGES = ("events", "tiles", "features")
_WHAT = ("wall", "cpu")

_LANDED = (
    '"flight_id":"VARCHAR","tailnum":"VARCHAR","origin":"VARCHAR","carrier":"VARCHAR"'
    ',"dest":"VARCHAR"'
)
_SCHEDULE = (
    '"flight_id":"VARCHAR","carrier":"VARCHAR","flight":"BIGINT","origin":"VARCHAR",'
    '"dest":"VARCHAR","tailnum":"VARCHAR","distance":"BIGINT","sched":"BIGINT","hour":"BIGINT",'
    '"weekday":"BIGINT"'
)
_WEATHER = '"origin":"VARCHAR",' + ",".join(f'"{name}":"DOUBLE"' for name in flights.READINGS)
_STEP = 300_000


def log(days: int, pipeline: Pipeline) -> dict[str, pa.Table]:
    """Make the raw log of every source, as a broker would have it."""
    rows: dict[str, list[tuple[int, int, int, bytes]]] = {name: [] for name in pipeline.sources}
    following: dict[tuple[str, int], int] = {}
    for batch in flights.messages(days):
        for topic, key, value, at in batch:
            partition = zlib.crc32(key) % pipeline.sources[topic].partitions
            offset = following.get((topic, partition), 0)
            following[topic, partition] = offset + 1
            rows[topic].append((partition, offset, at, value))
    return {
        name: pa.table(dict(zip(LOG.names, zip(*each, strict=True), strict=True)), LOG)
        for name, each in rows.items()
    }


Stages = Mapping[str, Sequence[Callable[[], object]]]


def connect(tables: dict[str, pa.Table]) -> duckdb.DuckDBPyConnection:
    """Open a database in memory over the log of each source."""
    connection = duckdb.connect(config={"memory_limit": "4GB", "threads": 2})
    for name, table in tables.items():
        connection.register(f"log_{name}", table)
    return connection


def ours(
    pipeline: Pipeline, connection: duckdb.DuckDBPyConnection, tables: dict[str, pa.Table]
) -> Stages:
    """Give what history does, by stage."""
    decision = pipeline.decision
    tiles = [
        f"CREATE OR REPLACE TABLE tiles_{name} AS {tiles_sql(view, f'events_{view.source.name}')}"
        for name, view in pipeline.views.items()
    ]
    made = [
        f"CREATE OR REPLACE TABLE features_{name} AS "
        + features_sql(view, f"tiles_{name}", "decisions", keys=decision.keys[name], identity="seq")
        for name, view in pipeline.views.items()
    ]
    logs = [partial(read, connection, pipeline.sources[name], log) for name, log in tables.items()]
    numbered = partial(connection.execute, _numbered(decision.source.name, decision.id))
    return {
        "events": [*logs, numbered],
        "tiles": [partial(connection.execute, query) for query in tiles],
        "features": [partial(connection.execute, query) for query in made],
    }


def _numbered(source: str, identity: str) -> str:
    return (
        'CREATE OR REPLACE TABLE decisions AS SELECT row_number() OVER (ORDER BY "at", partition, '
        f'"offset") - 1 AS seq, * FROM events_{source} WHERE {quote(identity)} IS NOT NULL'
    )


def by_hand() -> dict[str, list[str]]:
    """Give the statements written by hand, by stage."""
    delay = "LEAST(row.{0}_delay, 180)"
    tables = {
        "schedule": (_SCHEDULE, "NULL"),
        "departure": (f'{_LANDED},"dep_delay":"BIGINT"', delay.format("dep")),
        "arrival": (f'{_LANDED},"arr_delay":"BIGINT"', delay.format("arr")),
        "weather": (_WEATHER, "NULL"),
    }
    events = [
        f"""CREATE OR REPLACE TABLE events_{name} AS
        SELECT partition, "offset", row.*, {derived} AS delay FROM (
          SELECT partition, "offset", json_transform(decode(payload), '{{"at":"BIGINT",{form}}}')
            AS row FROM log_{name})
        QUALIFY row.at >= MAX(row.at) OVER (PARTITION BY partition ORDER BY "offset")"""
        for name, (form, derived) in tables.items()
    ]
    sums = "SUM(delay)::BIGINT AS s, COUNT(delay) AS n, COUNT(*) AS rows"
    end = f'("at" // {_STEP} + 1) * {_STEP} AS "end"'
    place = '("at", partition, "offset")'
    views = {
        "tail_arrivals": ("arrival", "tailnum", _last(place, "arr_delay")),
        "tail_departures": ("departure", "tailnum", _last(place, "dep_delay")),
        "origin_departures": ("departure", "origin", sums),
        "carrier_arrivals": ("arrival", "carrier", sums),
        "dest_arrivals": ("arrival", "dest", sums),
        "route_arrivals": ("arrival", "origin, dest", sums),
        "origin_weather": (
            "weather",
            "origin",
            _last(place, "temp", "wind_speed", "precip", "visib", "pressure", "humid"),
        ),
    }
    tiles = [
        f"CREATE OR REPLACE TABLE tiles_{name} AS SELECT {key}, {end}, {what} "
        f"FROM events_{source} WHERE {_present(key)} GROUP BY ALL"
        for name, (source, key, what) in views.items()
    ]
    features = [
        _latest(
            "tail_arrivals",
            "tailnum",
            'newest.arr_delay AS tail_arr_delay, d."at" - newest.newest_at AS tail_arr_age_ms',
        ),
        _latest(
            "tail_departures",
            "tailnum",
            'newest.dep_delay AS tail_dep_delay, d."at" - newest.newest_at AS tail_dep_age_ms',
        ),
        _windows(
            "origin_departures",
            ("origin",),
            {
                "origin_dep_delay_1h": ("mean", 1),
                "origin_dep_delay_3h": ("mean", 3),
                "origin_departures_1h": ("rows", 1),
            },
        ),
        _windows(
            "carrier_arrivals",
            ("carrier",),
            {
                "carrier_arr_delay_3h": ("mean", 3),
                "carrier_arr_delay_24h": ("mean", 24),
                "carrier_arrivals_24h": ("rows", 24),
            },
        ),
        _windows("dest_arrivals", ("dest",), {"dest_arr_delay_6h": ("mean", 6)}),
        _windows(
            "route_arrivals",
            ("origin", "dest"),
            {"route_arr_delay_7d": ("mean", 168), "route_arrivals_7d": ("rows", 168)},
        ),
        _latest(
            "origin_weather",
            "origin",
            "newest.temp, newest.wind_speed, newest.precip, newest.visib, newest.pressure, "
            "newest.humid",
        ),
    ]
    return {
        "events": [*events, _numbered("schedule", "flight_id")],
        "tiles": tiles,
        "features": features,
    }


def _present(key: str) -> str:
    return " AND ".join(f"{part} IS NOT NULL" for part in key.split(", "))


def _last(place: str, *columns: str) -> str:
    row = ", ".join(f'"{c}": {c}' for c in ("at", *columns)).replace(
        '"at": at', '"newest_at": "at"'
    )
    return f"arg_max({{{row}}}, {place}) AS newest"


def _latest(view: str, key: str, what: str) -> str:
    return (
        f"CREATE OR REPLACE TABLE features_{view} AS SELECT seq, {what} FROM decisions d "
        f"ASOF LEFT JOIN tiles_{view} l ON d.{key} = l.{key} "
        f'AND d."at" // {_STEP} * {_STEP} >= l."end"'
    )


def _windows(view: str, key: tuple[str, ...], features: dict[str, tuple[str, int]]) -> str:
    """Print windows as differences of running sums, read by ASOF joins."""
    hours = sorted({0, *(hour for _, hour in features.values())})
    by = ", ".join(key)
    joins = " ".join(
        f"ASOF LEFT JOIN running r{hour} ON "
        + " AND ".join(f"d.{part} = r{hour}.{part}" for part in key)
        + f' AND d."at" // {_STEP} * {_STEP} - {hour * flights.HOUR} >= r{hour}."end"'
        for hour in hours
    )
    columns = []
    for name, (what, hour) in features.items():
        rows, total, count = (
            f"(COALESCE(r0.{c}, 0) - COALESCE(r{hour}.{c}, 0))" for c in ("rows", "s", "n")
        )
        value = f"{rows}::BIGINT" if what == "rows" else f"{total} / NULLIF({count}, 0)"
        columns.append(f"{value} AS {name}")
    return (
        f'CREATE OR REPLACE TABLE features_{view} AS WITH running AS (SELECT {by}, "end", '
        "SUM(s) OVER w AS s, SUM(n) OVER w AS n, SUM(rows) OVER w AS rows "
        f'FROM tiles_{view} WINDOW w AS (PARTITION BY {by} ORDER BY "end")) '
        f"SELECT seq, {', '.join(columns)} FROM decisions d {joins}"
    )


def features(pipeline: Pipeline, connection: duckdb.DuckDBPyConnection) -> dict[str, pa.Table]:
    """Read every view's features, in the order of the decisions."""
    return {
        name: connection.sql(
            f"SELECT seq, {', '.join(f.name for f in view.features)} FROM features_{name} "
            "ORDER BY seq"
        ).to_arrow_table()
        for name, view in pipeline.views.items()
    }


Took = Mapping[str, Mapping[str, float]]
"""Seconds of wall time and of CPU, by stage."""


def _timed(stages: Stages) -> Callable[[], Took]:
    def run_all(works: Sequence[Callable[[], object]]) -> None:
        for work in works:
            work()

    def work() -> Took:
        took = {stage: cost(partial(run_all, stages[stage])) for stage in STAGES}
        return {**took, "all": {what: sum(t[what] for t in took.values()) for what in _WHAT}}

    return work


def _ratios(found: Mapping[str, Sequence[Took]]) -> dict[str, dict[str, Ratio]]:
    return {
        stage: {
            what: Ratio.of(*([each[stage][what] for each in found[f]] for f in ("ours", "by_hand")))
            for what in _WHAT
        }
        for stage in (*STAGES, "all")
    }


def run(rounds: int) -> list[str]:
    """Measure the stages; give one line."""
    pipeline = load(REFERENCE)
    tables = log(DAYS, pipeline)
    mine_at, yours_at = connect(tables), connect(tables)
    written = {
        stage: [partial(yours_at.execute, query) for query in queries]
        for stage, queries in by_hand().items()
    }
    forms = {"ours": _timed(ours(pipeline, mine_at, tables)), "by_hand": _timed(written)}
    for work in forms.values():
        work()
    mine, yours = features(pipeline, mine_at), features(pipeline, yours_at)
    cells = sum(table.num_rows * (table.num_columns - 1) for table in mine.values())
    equal(f"{cells} cells", all(_same(mine[name], yours[name]) for name in mine))
    found = alternate(forms, rounds)
    ratios = _ratios(found)
    events = sum(table.num_rows for table in tables.values())
    for stage, ratio in ratios.items():
        say(f"   {stage}: ours / by hand, wall {ratio['wall']}, CPU {ratio['cpu']}")
    facts = {"events": events, "cells": cells, "rounds": rounds, "seconds": found}
    store("history", **facts, ratios_ours_to_by_hand=ratios)
    whole = ratios["all"]
    return [
        f"{events} events to {cells} cells in {whole['wall']} times the time of SQL by hand, "
        f"{whole['cpu']} times its CPU"
    ]


def _same(one: pa.Table, other: pa.Table) -> bool:
    same: bool = one.column_names == other.column_names and one.cast(other.schema).equals(other)
    return same
