"""The peer Feast, in its environment: ``peer_feast.py TASK RESULT``, both JSON; see `feast.py`.

DuckDB is its offline store, SQLite its online store, its registry a file that is read once. What is
timed is what its users call; and of its online store the bare read, too.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

os.environ["FEAST_USAGE"] = "False"  # it tells nobody

from feast import (  # type: ignore[import-not-found]  # not in our environment
    Entity,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
    ValueType,
)
from feast.protos.feast.types.EntityKey_pb2 import (  # type: ignore[import-not-found]
    EntityKey,
)
from feast.protos.feast.types.Value_pb2 import Value  # type: ignore[import-not-found]
from feast.types import Float64  # type: ignore[import-not-found]

_YAML = """\
project: bench
provider: local
registry: {path: registry.db, cache_ttl_seconds: 0}
offline_store: {type: duckdb}
online_store: {type: sqlite, path: online.db}
entity_key_serialization_version: 3
"""


def _store(task: dict[str, Any]) -> Any:
    folder = Path(task["repository"])
    folder.mkdir(exist_ok=True)
    (folder / "feature_store.yaml").write_text(_YAML)
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.INT64)
    view = FeatureView(
        name="stats",
        entities=[user],
        ttl=timedelta(milliseconds=task["ttl_ms"]),
        schema=[Field(name=name, dtype=Float64) for name in task["features"]],
        source=FileSource(path=task["rows"], timestamp_field="event_timestamp"),
    )
    store = FeatureStore(repo_path=folder)
    store.apply([user, view])
    return store


def history(task: dict[str, Any]) -> dict[str, Any]:
    """Join features to decisions, several times; the last answer is kept."""
    store = _store(task)
    asked = pq.read_table(task["asked"]).to_pandas()
    names = [f"stats:{name}" for name in task["features"]]
    took = []
    for _ in range(task["calls"]):
        wall, cpu = time.perf_counter(), time.process_time()
        answer = store.get_historical_features(entity_df=asked, features=names).to_arrow()
        took.append({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu})
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    pq.write_table(answer, task["answers"])
    return {"calls": took, "peak_bytes": peak}


def online(task: dict[str, Any]) -> dict[str, Any]:
    """Fill the online store, then read it: as users do, and as the store itself does."""
    store = _store(task)
    begins, ends = (datetime.fromtimestamp(ms / 1000, UTC) for ms in task["between_ms"])
    start = time.perf_counter()
    store.materialize(begins, ends)
    filled = time.perf_counter() - start
    names = [f"stats:{name}" for name in task["features"]]
    view = store.get_feature_view("stats")
    provider = store._get_provider()
    questions = task["questions"]

    def bare(users: list[int]) -> object:
        keys = [
            EntityKey(join_keys=["user_id"], entity_values=[Value(int64_val=user)])
            for user in users
        ]
        return provider.online_read(store.config, view, keys, task["features"])

    def called(users: list[int]) -> Any:
        rows = [{"user_id": user} for user in users]
        return store.get_online_features(features=names, entity_rows=rows).to_dict()

    return {
        "filled_seconds": filled,
        "answers": [called(users) for users in questions[:3]],
        "called": _timed(called, questions),
        "bare": _timed(bare, questions),
    }


def _timed(read: Callable[[list[int]], object], questions: list[list[int]]) -> list[float]:
    for users in questions[:20]:
        read(users)
    took = []
    for users in questions:
        start = time.perf_counter()
        read(users)
        took.append(time.perf_counter() - start)
    return took


if __name__ == "__main__":
    said = json.loads(Path(sys.argv[1]).read_bytes())
    work = {"history": history, "online": online}[said["what"]]
    Path(sys.argv[2]).write_text(json.dumps(work(said)))
