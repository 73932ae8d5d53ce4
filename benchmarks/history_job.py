"""The tiles of history, from the broker's log to Parquet: loaded by `peer_job`, as a peer is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from headrace.feature_store.history import History
from headrace.jobs import assembly
from headrace.jobs.source_rows import read_log
from headrace.operators.engines.duckdb import quote
from headrace.pipelines.load import load

__all__ = ["run"]


def run(task: dict[str, Any]) -> None:
    """Read the log to its end, and write the tiles of every view."""
    pipeline = load(Path(task["pipeline"]))
    log = read_log(task["bootstrap"], task["topic"])
    with History(assembly.declared(pipeline), pipeline.sources) as history:
        history.load("action", log)
        for name in pipeline.views:
            tiles = history.query(f"SELECT * FROM {quote(f'tiles_{name}')}")
            pq.write_table(tiles, Path(task["folder"]) / f"{name}.parquet")
