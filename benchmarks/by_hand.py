"""The views jobs as one would write them by hand in Flink SQL, for the same output topics.

They take Flink's own JSON format, so a row that cannot be read stops the job instead of becoming a
dead letter, no row is late, and nothing is checked: less is promised than by headrace.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from headrace.pipelines.pipeline import Pipeline

__all__ = ["DENSE", "FLIGHTS", "REFERENCE", "Job", "Tiles", "statements"]

REFERENCE = Path(str(files("headrace.pipelines") / "examples" / "flight_delay_reference.yaml"))
"""The flights as they are said by hand."""


@dataclass(frozen=True)
class Tiles:
    """A view: its source, its key, and the aggregates of a tile, in their order in a message."""

    source: str
    key: tuple[str, ...]
    aggregates: Mapping[str, str]


@dataclass(frozen=True)
class Job:
    """A job: its step, its tables, its views, and the source of its decisions with their id."""

    step: str
    step_ms: int
    tables: Mapping[str, str]
    views: Mapping[str, Tiles]
    decisions: tuple[str, str]
    derived: Mapping[str, str] = field(default_factory=dict)


_SUMS = {"p0": "COUNT(`delay`)", "p1": "SUM(`delay`)"}
_SUMS_AND_ROWS = {"p0": "COUNT(`delay`)", "p1": "COUNT(*)", "p2": "SUM(`delay`)"}
_PLACE = (
    "LPAD(CAST(`at` AS STRING), 15, '0'), LPAD(CAST(`partition` AS STRING), 5, '0'), "
    "LPAD(CAST(`offset` AS STRING), 19, '0')"
)
_LANDED = "flight_id STRING, tailnum STRING, origin STRING, carrier STRING, dest STRING"


def _newest(*columns: str) -> dict[str, str]:
    values = ", ".join(f"'v{i}' VALUE {column}" for i, column in enumerate(columns))
    return {"newest": f"MAX(CONCAT({_PLACE}, JSON_OBJECT({values} NULL ON NULL)))"}


FLIGHTS = Job(
    step="INTERVAL '5' MINUTE",
    step_ms=300_000,
    tables={
        "schedule": "flight_id STRING, carrier STRING, flight BIGINT, origin STRING, dest STRING, "
        "tailnum STRING, distance BIGINT, sched BIGINT, `hour` BIGINT, weekday BIGINT",
        "departure": f"{_LANDED}, dep_delay BIGINT",
        "arrival": f"{_LANDED}, arr_delay BIGINT",
        "weather": "origin STRING, temp DOUBLE, dewp DOUBLE, humid DOUBLE, wind_dir DOUBLE, "
        "wind_speed DOUBLE, wind_gust DOUBLE, precip DOUBLE, pressure DOUBLE, visib DOUBLE",
    },
    derived={
        "departure": "LEAST(dep_delay, 180) AS `delay`",
        "arrival": "LEAST(arr_delay, 180) AS `delay`",
    },
    views={
        "tail_arrivals": Tiles("arrival", ("tailnum",), _newest("arr_delay")),
        "tail_departures": Tiles("departure", ("tailnum",), _newest("dep_delay")),
        "origin_departures": Tiles("departure", ("origin",), _SUMS_AND_ROWS),
        "carrier_arrivals": Tiles("arrival", ("carrier",), _SUMS_AND_ROWS),
        "dest_arrivals": Tiles("arrival", ("dest",), _SUMS),
        "route_arrivals": Tiles("arrival", ("origin", "dest"), _SUMS_AND_ROWS),
        "origin_weather": Tiles(
            "weather",
            ("origin",),
            _newest("humid", "precip", "pressure", "temp", "visib", "wind_speed"),
        ),
    },
    decisions=("schedule", "flight_id"),
)

_VALUES = {"p0": "COUNT(`value`)", "p1": "COUNT(*)", "p2": "SUM(`value`)"}
DENSE = Job(
    step="INTERVAL '1' SECOND",
    step_ms=1_000,
    tables={
        "action": "`user` STRING, item STRING, `value` BIGINT",
        "question": "question_id STRING, `user` STRING, item STRING",
    },
    views={
        "by_user": Tiles("action", ("user",), _VALUES),
        "by_item": Tiles("action", ("item",), _VALUES),
    },
    decisions=("question", "question_id"),
)


class _Windows:
    """One of Flink's two forms of a tumbling window."""

    def __init__(self, step: str, *, functions: bool) -> None:
        self._step = step
        self._functions = functions

    def select(self, keys: Sequence[str], columns: str, table: str, time: str, where: str) -> str:
        """Print a windowed aggregation; ``{time}`` in `columns` is the window's time."""
        listed = "".join(f"{key}, " for key in keys)
        if self._functions:
            source = f"TABLE(TUMBLE(TABLE `{table}`, DESCRIPTOR({time}), {self._step}))"
            by, at = f"{listed}window_start, window_end, window_time", "window_time"
        else:
            source, by = f"`{table}`", f"{listed}TUMBLE({time}, {self._step})"
            at = f"TUMBLE_ROWTIME({time}, {self._step})"
        text = columns.replace("{time}", at)
        return f"SELECT {text} FROM {source} WHERE {where} GROUP BY {by}"


def statements(
    job: Job, pipeline: Pipeline, *, bootstrap: str, functions: bool, empty: bool
) -> tuple[list[str], list[str]]:
    """Print the job, with the topics of `pipeline`.

    `functions` for window table functions, `empty` to read nothing.
    """
    windows = _Windows(job.step, functions=functions)
    servers = f"'connector' = 'kafka', 'properties.bootstrap.servers' = '{bootstrap}'"
    made, inserts = [], []
    for name, columns in job.tables.items():
        made += _source(job, name, columns, servers, windows, empty=empty)
    for name, view in job.views.items():
        keys = [f"`{key}`" for key in view.key]
        pane = f"(MIN(`at`) / {job.step_ms} + 1) * {job.step_ms} AS pane"
        aggregates = ", ".join(f"{sql} AS {column}" for column, sql in view.aggregates.items())
        tiles = windows.select(
            keys,
            f"{', '.join(keys)}, {{time}} AS pane_time, {pane}, {aggregates}",
            view.source,
            "rowtime",
            " AND ".join(f"{key} IS NOT NULL" for key in keys),
        )
        made.append(f"CREATE TEMPORARY VIEW `{name}_tiles` AS {tiles}")
        fields = [f"'k{i}' VALUE {key}" for i, key in enumerate(keys)]
        fields += [f"'{column}' VALUE {column}" for column in view.aggregates]
        items = f"SELECT pane_time, pane, JSON_OBJECT({', '.join(fields)} NULL ON NULL)"
        items = f"{items} AS item, CAST(0 AS BIGINT) AS n, CAST(0 AS BIGINT) AS unkeyed"
        beat = f"SELECT pane_time, pane, CAST(NULL AS STRING), n, unkeyed_{name}"
        union = f"{items} FROM `{name}_tiles` UNION ALL {beat} FROM `{view.source}_progress`"
        topic = pipeline.view_topic(pipeline.views[name])
        inserts.append(_gather(made, name, union, topic, servers, windows, items="tiles"))
    source, identity = job.decisions
    names = [column.split()[0] for column in job.tables[source].split(", ")]
    fields = [f"'{n.strip('`')}' VALUE {n}" for n in ("`at`", "`partition`", "`offset`", *names)]
    union = (
        f"SELECT rowtime AS pane_time, (`at` / {job.step_ms} + 1) * {job.step_ms} AS pane, "
        f"JSON_OBJECT({', '.join(fields)} NULL ON NULL) AS item, CAST(0 AS BIGINT) AS n, "
        f"CAST(0 AS BIGINT) AS unkeyed FROM `{source}` WHERE {identity} IS NOT NULL "
        "UNION ALL SELECT pane_time, pane, CAST(NULL AS STRING), n, CAST(0 AS BIGINT) "
        f"FROM `{source}_progress`"
    )
    topic = pipeline.decisions_topic
    inserts.append(_gather(made, "decision", union, topic, servers, windows, items="decisions"))
    return made, inserts


def _source(
    job: Job, name: str, columns: str, servers: str, windows: _Windows, *, empty: bool
) -> list[str]:
    derived = f", {job.derived[name]}" if name in job.derived else ""
    names = [column.split()[0] for column in columns.split(", ")]
    table = f"""CREATE TEMPORARY TABLE `{name}` ({columns}, `at` BIGINT{_computed(derived)},
  `partition` INT METADATA VIRTUAL, `offset` BIGINT METADATA VIRTUAL,
  rowtime AS TO_TIMESTAMP_LTZ(`at`, 3), WATERMARK FOR rowtime AS rowtime - INTERVAL '0.001' SECOND
) WITH ({servers}, 'topic' = '{name}', 'format' = 'json',
  'scan.startup.mode' = '{"latest" if empty else "earliest"}-offset',
  'scan.bounded.mode' = 'latest-offset', 'scan.watermark.emit.strategy' = 'on-event',
  'properties.isolation.level' = 'read_committed')"""
    known = " OR ".join(f"{column} IS NOT NULL" for column in names)
    unkeyed = "".join(
        f", COUNT(CASE WHEN ({known}) AND ({' OR '.join(f'`{k}` IS NULL' for k in view.key)}) "
        f"THEN 1 END) AS unkeyed_{view_name}"
        for view_name, view in job.views.items()
        if view.source == name
    )
    counts = (
        f"{{time}} AS pane_time, (MIN(`at`) / {job.step_ms} + 1) * {job.step_ms} AS pane, "
        f"COUNT(CASE WHEN {known} THEN 1 END) AS n{unkeyed}"
    )
    progress = windows.select([], counts, name, "rowtime", "TRUE")
    return [table, f"CREATE TEMPORARY VIEW `{name}_progress` AS {progress}"]


def _computed(derived: str) -> str:
    """Turn ``, x AS name`` into a computed column, ``, name AS x``."""
    if not derived:
        return ""
    expression, _, name = derived.removeprefix(", ").rpartition(" AS ")
    return f", {name} AS {expression}"


def _gather(
    made: list[str],
    name: str,
    union: str,
    topic: str,
    servers: str,
    windows: _Windows,
    *,
    items: str,
) -> str:
    made.append(f"CREATE TEMPORARY VIEW `{name}_items` AS {union}")
    made.append(f"""CREATE TEMPORARY TABLE `{name}_panes` (shard STRING, message STRING)
WITH ({servers}, 'topic' = '{topic}', 'key.format' = 'raw', 'key.fields' = 'shard',
  'value.format' = 'raw', 'value.fields-include' = 'EXCEPT_KEY', 'properties.acks' = 'all',
  'sink.delivery-guarantee' = 'at-least-once', 'properties.linger.ms' = '20',
  'properties.batch.size' = '262144')""")
    message = (
        "CONCAT('{\"end\":', CAST(MAX(pane) AS STRING), ',\"rows\":', CAST(SUM(n) AS STRING), "
        "',\"unkeyed\":', CAST(SUM(unkeyed) AS STRING), "
        f"',\"{items}\":[', COALESCE(LISTAGG(item, ','), ''), ']}}')"
    )
    panes = windows.select([], f"'0', {message}", f"{name}_items", "pane_time", "TRUE")
    return f"INSERT INTO `{name}_panes` {panes}"
