"""History by Flink, over ranges of topics and rows of files: its tiles are DuckDB's to the bit."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.feature_store import backfill
from headrace.feature_store.backfill import Backfill
from headrace.jobs import transport
from headrace.jobs.evolve.backfill import chosen
from headrace.jobs.machine.broker import Broker
from headrace.jobs.transport import Topic, Writer
from headrace.operators.identity import version
from headrace.operators.view import END
from headrace.pipelines.load import load
from headrace.pipelines.pipeline import Pipeline

SECOND = 1_000
SEAM, LAST = 600 * SECOND, 1_200 * SECOND
TEXT = """\
pipeline: bounded
every: 10s
sources:
  click:
    topic: bounded-click
    partitions: 3
    lateness: 20s
    columns: {user: string, item: string, price: float64, seen: timestamp_ms, new: bool}
    derive: {dear: price * 2.0 > 30.0}
    files: old/*.parquet
    live_from: 1970-01-01T00:10:00Z
  ask: {columns: {name: string required, user: string}, topic: bounded-ask, lateness: 5s}
  done: {columns: {name: string required, x: int64}, topic: bounded-done}
  past: {columns: {user: string, price: float64}, files: old/*.parquet, lateness: 20s}
streams:
  firsts: {from: ask, dedup: {id: user, within: 1m}}
views:
  spent:
    source: click
    key: user
    shards: 2
    features:
      n: count() over 1m
      dear: count(dear) over 1m
      spent: sum(price) over 1m
      most: max(price) over 2m
      typical: quantile(price, 0.5) over 10m
      last3: last_n(item, 3) over 10m
      at_last: last(item)
  asked: {source: ask, key: user, features: {asks: count() over 1m}}
  ever: {source: past, key: user, features: {sold: count(), paid: sum(price)}}
  fresh: {source: firsts, key: user, features: {firsts: count() over 5m}}
decision: {source: ask, id: name}
outcome: {source: done, id: name, label: x > 0, within: 1h}
model: {kind: ftrl, slots: 1024, tokens: [user], publish_every: 1m}
kafka: {bootstrap: "KAFKA"}
flink: {parallelism: 2}
"""


def clicks(seed: int, begin: int, end: int, count: int) -> list[dict[str, object]]:
    """Make clicks, some of them late, some with a value that is null."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    times = sorted(chance.randrange(begin, end) for _ in range(count))
    return [
        {
            "at": max(0, at - chance.choice((0, 0, 0, 15_000, 40_000))),
            "user": chance.choice(("u", "v", "w", None)),
            "item": chance.choice(("lamp", 'de"sk', "vase ü")),
            "price": chance.choice((12.5, 0.1, 30.0, None, -1e3)),
            "seen": chance.choice((at, None)),
            "new": chance.choice((True, False, None)),
        }
        for at in times
    ]


def written(folder: Path, bootstrap: str) -> Pipeline:
    """Write the pipeline, its files, and its topics."""
    (folder / "old").mkdir()
    for number in range(2):
        rows = clicks(number, 0, SEAM + 30 * SECOND, 400)
        pq.write_table(pa.Table.from_pylist(rows), folder / "old" / f"{number}.parquet")
    (folder / "bounded.yaml").write_text(TEXT.replace("KAFKA", bootstrap), "utf-8")
    topics = [Topic("bounded-click", 3), Topic("bounded-ask", 2), Topic("bounded-done", 1)]
    transport.create_topics(bootstrap, topics)
    with Writer(bootstrap) as writer:
        for partition in range(3):
            for row in clicks(7 + partition, SEAM - 60 * SECOND, LAST, 200):
                writer.send("bounded-click", orjson.dumps(row), partition=partition)
        for n in range(200):
            row = {"at": SECOND + n * LAST // 200, "name": f"d{n}", "user": "uvw"[n % 3]}
            writer.send("bounded-ask", orjson.dumps(row), partition=n % 2)
            writer.send("bounded-click", b"no click" if n % 20 else b"", partition=n % 3)
    return load(folder / "bounded.yaml")


def computed(pipeline: Pipeline, folder: Path, engine: str) -> dict[str, Backfill]:
    """Have the command compute it; give what it left, by name."""
    argv = [sys.executable, "-m", "headrace.jobs.cli.main", "backfill", str(pipeline.path)]
    argv += ["--state", str(folder / engine), "--engine", engine, "--json"]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3_000:]
    names = [each["name"] for each in json.loads(done.stdout)]
    assert names == ["spent", "asked", "ever", "fresh", "rows.click", "rows.past"]
    assert [path.name for path in (folder / engine / "store").iterdir()] == ["backfills"]
    return backfill.found(folder / engine / "store" / "backfills")


@pytest.mark.e2e
@pytest.mark.kafka
@pytest.mark.flink
def test_tiles_by_flink_are_those_by_duckdb(tmp_path: Path, broker: Broker) -> None:
    pipeline = written(tmp_path, broker.address)
    made = {engine: computed(pipeline, tmp_path, engine) for engine in ("duckdb", "flink")}
    for view in chosen(pipeline, []).values():
        name = version(view)
        facts, tables = [], []
        for engine, found in made.items():
            one = found[name]
            facts.append((one.until, one.rows, one.unkeyed))
            folder = tmp_path / engine / "store" / "backfills"
            tables.append(dict(backfill.tables(folder, one)))
        assert facts[0] == facts[1]
        assert facts[0][1] > 0
        assert tables[0].keys() == tables[1].keys()
        for each, ours in tables[0].items():
            theirs = tables[1][each]
            assert ours.schema == theirs.schema
            order = [(column, "ascending") for column in ours.column_names]
            assert ours.num_rows > 0
            assert ours.sort_by(order).equals(theirs.sort_by(order)), each
            ends = theirs[END].to_pylist()
            assert ends == sorted(ends)
