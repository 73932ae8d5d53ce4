"""Our side of `feast.py`, and DuckDB's by hand: ``feast_job.py TASK RESULT``, both JSON.

Each is a process of its own, as Feast's is, and does the same: decisions as a pandas frame in, an
Arrow table out. The feature rows are the same Parquet file.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from headrace.feature_store.index import Index
from headrace.feature_store.online import OnlineReader
from headrace.feature_store.past import Events, Past
from headrace.feature_store.training import TrainingSet
from headrace.operators.aggregates import AGGREGATES
from headrace.operators.engines.duckdb import tiles_sql
from headrace.operators.source import Column, Source
from headrace.operators.types import Type
from headrace.operators.view import END, Feature, View


def _view(features: list[str], ttl_ms: int) -> View:
    """Declare the view: each feature is the newest row's, where it is not older than the ttl."""
    columns = (Column("user_id", Type.INT64), *(Column(name, Type.FLOAT64) for name in features))
    latest = AGGREGATES["latest"]
    asked = (Feature(name, latest(name, Type.FLOAT64), ttl_ms) for name in features)
    return View("stats", Source("stats", "stats", columns), ("user_id",), 1_000, tuple(asked))


def _events(connection: duckdb.DuckDBPyConnection, rows: str) -> None:
    """Make the file's rows events: their time in ms, their place in the file."""
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(
        "CREATE VIEW events AS SELECT * EXCLUDE (event_timestamp, file_row_number), "
        'epoch_ms(event_timestamp) AS "at", 0 AS partition, file_row_number AS "offset" '
        f"FROM read_parquet('{rows}', file_row_number = true)"
    )


def ours(task: dict[str, Any], asked: Any) -> pa.Table:
    """Make a training set of the Parquet file's rows as events."""
    view = _view(task["features"], task["ttl_ms"])
    with duckdb.connect(config={"threads": task["threads"]}) as connection:
        _events(connection, task["rows"])
        where = {"stats": Events("events")}
        with closing(Past(connection, {"stats": view}, {"stats": view.key}, where)) as past:
            asking, read = past.asking(task["features"])
            return TrainingSet(asked, asking, read).to_arrow()


def by_hand(task: dict[str, Any], asked: Any) -> pa.Table:
    """Ask DuckDB for no more than the join."""
    features = ", ".join(
        f"CASE WHEN r.event_timestamp >= d.event_timestamp - INTERVAL {task['ttl_ms']} "
        f"MILLISECONDS THEN r.{name} END AS {name}"
        for name in task["features"]
    )
    with duckdb.connect(config={"threads": task["threads"]}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("asked", asked)
        return connection.sql(
            f"SELECT d.*, {features} FROM asked AS d ASOF LEFT JOIN '{task['rows']}' AS r "
            "ON d.user_id = r.user_id AND d.event_timestamp >= r.event_timestamp"
        ).to_arrow_table()


WAYS: dict[str, Callable[[dict[str, Any], Any], pa.Table]] = {"ours": ours, "by_hand": by_hand}


def history(task: dict[str, Any]) -> dict[str, Any]:
    """Join features to decisions, several times; the last answer is kept."""
    asked = pq.read_table(task["asked"]).to_pandas()
    took = []
    for _ in range(task["calls"]):
        wall, cpu = time.perf_counter(), time.process_time()
        answer = WAYS[task["way"]](task, asked)
        took.append({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu})
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    pq.write_table(answer, task["answers"])
    return {"calls": took, "peak_bytes": peak}


def online(task: dict[str, Any]) -> dict[str, Any]:
    """Read what the store reads in process: an index of all rows, not of the newest alone."""
    view = _view(task["features"], task["ttl_ms"])
    ends = task["between_ms"][1]
    index = Index(view)
    with duckdb.connect(config={"threads": task["threads"]}) as connection:
        _events(connection, task["rows"])
        query = f'{tiles_sql(view, "events")} ORDER BY "{END}"'
        tiles = connection.sql(query).to_arrow_table().select(view.tile_schema.names)
    index.append(tiles.cast(view.tile_schema))
    reader = OnlineReader({"stats": index}, {"stats": view.key}, task["features"], lambda _: ends)

    def called(users: list[int]) -> Any:
        return reader.read([{"user_id": user} for user in users], ends).values

    questions = task["questions"]
    for users in questions[:20]:
        called(users)
    took = []
    for users in questions:
        start = time.perf_counter()
        called(users)
        took.append(time.perf_counter() - start)
    return {"answers": [called(users) for users in questions[:3]], "called": took}


if __name__ == "__main__":
    said = json.loads(Path(sys.argv[1]).read_bytes())
    work = {"history": history, "online": online}[said["what"]]
    Path(sys.argv[2]).write_text(json.dumps(work(said)))
