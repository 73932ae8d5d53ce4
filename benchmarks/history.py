"""History by the SQL that headrace prints against DuckDB SQL written by hand, from the raw log.

By hand: DuckDB's own JSON reader with a schema, no check of a value, no dead letter; late rows are
left out, tiles and features are those of the pipeline.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import partial

import duckdb
import pyarrow as pa

from benchmarks.measure import Ratio, alternate, equal, say, seconds, store
from headrace.feature_store.history import LOG
from headrace.jobs import flights
from headrace.jobs.demo import PIPELINE
from headrace.operators.engines.duckdb import features_sql, quote, tiles_sql
from headrace.operators.engines.duckdb_log import events_sql
from headrace.pipelines.load import load
from headrace.pipelines.pipeline import Pipeline

__all__ = ["features", "log", "run"]

DAYS = 60
STAGES = ("events", "tiles", "features")

_LANDED = (
    '"flight_id":"VARCHAR","tailnum":"VARCHAR","origin":"VARCHAR","carrier":"VARCHAR"'
    ',"dest":"VARCHAR"'
)
_SCHEDULE = (
    '"flight_id":"VARCHAR","carrier":"VARCHAR","flight":"BIGINT","origin":"VARCHAR",'
    '"dest":"VARCHAR","tailnum":"VARCHAR","distance":"BIGINT","sched":"BIGINT","hour":"BIGINT",'
    '"weekday":"BIGINT"'
)
_READINGS = (
    "temp",
    "dewp",
    "humid",
    "wind_dir",
    "wind_speed",
    "wind_gust",
    "precip",
    "pressure",
    "visib",
)
_WEATHER = '"origin":"VARCHAR",' + ",".join(f'"{name}":"DOUBLE"' for name in _READINGS)
_STEP = 300_000
_HOUR = 3_600_000


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


def connect(tables: dict[str, pa.Table]) -> duckdb.DuckDBPyConnection:
    """Open a database in memory with the log of each source in a table of its own."""
    connection = duckdb.connect(config={"memory_limit": "4GB", "threads": 2})
    for name, table in tables.items():
        connection.register("raw", table)
        connection.execute(f"CREATE TABLE log_{name} AS SELECT * FROM raw")
        connection.unregister("raw")
    return connection


def printed(pipeline: Pipeline) -> dict[str, list[str]]:
    """Print our statements, by stage."""
    made: dict[str, list[str]] = {stage: [] for stage in STAGES}
    for name, source in pipeline.sources.items():
        made["events"].append(
            f"CREATE OR REPLACE TABLE events_{name} AS {events_sql(source, f'log_{name}')}"
        )
    decision = pipeline.decision
    made["events"].append(_numbered(decision.source.name, decision.id))
    for name, view in pipeline.views.items():
        made["tiles"].append(
            f"CREATE OR REPLACE TABLE tiles_{name} AS "
            f"{tiles_sql(view, f'events_{view.source.name}')}"
        )
        query = features_sql(
            view, f"tiles_{name}", "decisions", keys=decision.keys[name], identity="seq"
        )
        made["features"].append(f"CREATE OR REPLACE TABLE features_{name} AS {query}")
    return made


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
        + f' AND d."at" // {_STEP} * {_STEP} - {hour * _HOUR} >= r{hour}."end"'
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


def _timed(
    connection: duckdb.DuckDBPyConnection, stages: dict[str, list[str]]
) -> Callable[[], dict[str, float]]:
    def execute(queries: list[str]) -> None:
        for query in queries:
            connection.execute(query)

    def work() -> dict[str, float]:
        took = {stage: seconds(partial(execute, queries)) for stage, queries in stages.items()}
        return {**took, "all": sum(took.values())}

    return work


def run(rounds: int) -> list[str]:
    """Measure the stages; give one line."""
    pipeline = load(PIPELINE)
    tables = log(DAYS, pipeline)
    ours, theirs = connect(tables), connect(tables)
    forms = {"ours": _timed(ours, printed(pipeline)), "by_hand": _timed(theirs, by_hand())}
    for work in forms.values():
        work()
    mine, yours = features(pipeline, ours), features(pipeline, theirs)
    cells = sum(table.num_rows * (table.num_columns - 1) for table in mine.values())
    equal(f"{cells} cells", all(_same(mine[name], yours[name]) for name in mine))
    found = alternate(forms, rounds)
    ratios = {
        stage: Ratio.of(*([each[stage] for each in found[form]] for form in ("ours", "by_hand")))
        for stage in (*STAGES, "all")
    }
    events = sum(table.num_rows for table in tables.values())
    for stage, ratio in ratios.items():
        say(f"   {stage}: ours / by hand {ratio}")
    store(
        "history",
        events=events,
        cells=cells,
        rounds=rounds,
        seconds=found,
        ratios_ours_to_by_hand=ratios,
    )
    return [f"{events} events to {cells} cells in {ratios['all']} times the time of SQL by hand"]


def _same(one: pa.Table, other: pa.Table) -> bool:
    same: bool = one.column_names == other.column_names and one.cast(other.schema).equals(other)
    return same
