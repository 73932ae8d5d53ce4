"""A pipeline whose store is several processes, one of them killed: the bits are those of one."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import orjson
import pyarrow as pa
import pytest

from headrace.feature_store.catalogue import Catalogue
from headrace.jobs import assembly
from headrace.jobs.checks.verify import verify
from headrace.jobs.evolve.rebuild import rebuild
from headrace.jobs.machine import local
from headrace.jobs.machine.broker import Broker
from headrace.jobs.machine.local import Local
from headrace.jobs.machine.waiting import wait_until
from headrace.jobs.shard import folder_of
from headrace.jobs.source_rows import read_log
from headrace.jobs.transport import Topic, Writer, create_topics
from headrace.pipelines.load import load
from headrace.pipelines.pipeline import Pipeline

pytestmark = [pytest.mark.kafka, pytest.mark.flink, pytest.mark.e2e]

STEPS, EVERY = 120, 1_000
BEGIN = 1_767_225_600_000
TEXT = """\
pipeline: in_shards
every: 1s
kafka: {{bootstrap: '{broker}'}}
sources:
  ask:
    topic: shards-asked
    columns: {{name: string required, user: string, page: int64, mine: bool}}
  click:
    topic: shards-clicked
    columns: {{user: string, page: int64, mine: bool, x: int64, by: float64}}
    partitions: 2
views:
  people:
    source: click
    key: user
    shards: 4
    features:
      n: count() over 10s
      total: sum(by) over 1m
      last_x: latest(x)
      kinds: count_distinct(page)
  pairs:
    source: click
    key: [page, mine]
    shards: 3
    features: {{pair_n: count(), pair_mean: mean(x) over 30s}}
decision: {{source: ask, id: name}}
outcome: {{source: ask, id: name, label: page > 2, within: 1m}}
model: {{kind: ftrl, tokens: [n], publish_every: 1h}}
store: {{shards: 2}}
"""


def events() -> Iterator[tuple[str, int, dict[str, object]]]:
    """Make clicks and decisions; some keys have null parts, and characters of all sorts."""
    chance = random.Random(5)  # noqa: S311 - no secret
    users = [*(f"u{number}" for number in range(30)), "ü|x", "", None]
    for step in range(STEPS):
        at = BEGIN + step * EVERY
        for number in range(12):
            key = {"user": chance.choice(users), "page": chance.randrange(-2, 6)}
            key |= {"mine": chance.choice([True, False, None])}
            x = {"x": chance.randrange(100), "by": chance.random()}
            yield "click", number % 2, {"at": at + 3 * number, **key, **x}
        key |= {"name": f"d{step}", "user": chance.choice(users)}
        yield "ask", 0, {"at": at + 500, **key}


def declared(folder: Path, broker: str) -> Pipeline:
    path = folder / "in_shards.yaml"
    path.write_text(TEXT.format(broker=broker))
    return load(path)


def fill(broker: str, pipeline: Pipeline) -> None:
    sources = [Topic(each.topic, each.partitions) for each in pipeline.sources.values()]
    create_topics(broker, [*sources, *assembly.topics(pipeline)])
    with Writer(broker) as writer:
        for topic, partition, event in events():
            at = int(str(event["at"]))
            value = orjson.dumps(event)
            source = pipeline.sources[topic]
            writer.send(source.topic, value, partition=partition, timestamp_ms=at)
        for each in sources:
            for partition in range(each.partitions):
                beat = orjson.dumps({"at": BEGIN + (STEPS + 100) * EVERY})
                writer.send(each.name, beat, partition=partition, timestamp_ms=BEGIN)


def predicted(running: Local) -> int:
    running.supervisor.check()
    return int(running.client.status()["predictions"]) if running.client.healthy() else 0


def killed(running: Local, name: str) -> None:
    """Kill a process while decisions are coming, and wait until it was started again."""
    before = running.supervisor.status()[name].restarts
    running.supervisor.signal(name, signal.SIGKILL)
    wait_until(lambda: running.supervisor.status()[name].restarts > before, 30.0, f"{name} again")


@pytest.mark.usefixtures("java_and_jars")
def test_a_store_of_shards_is_the_store_of_one_process(broker: Broker, tmp_path: Path) -> None:
    pipeline = declared(tmp_path, broker.address)
    fill(broker.address, pipeline)
    state = tmp_path / "state"
    roles = ["views", *pipeline.store_roles]
    with local.running(pipeline, state, roles=roles) as running:
        first = "the first prediction"
        wait_until(lambda: predicted(running) > 0, 120.0, first, every_seconds=0.1)
        killed(running, "shard-1")
        killed(running, "store")
        stopped = running.supervisor.status()["shard-0"].pid
        assert stopped is not None
        os.kill(stopped, signal.SIGSTOP)  # it neither answers nor refuses
        log = state / "logs" / "store.log"
        wait_until(lambda: "decisions wait: asked shard 0" in log.read_text(), 30.0, "a word of it")
        os.kill(stopped, signal.SIGCONT)
        done = "all predictions"
        wait_until(lambda: predicted(running) == STEPS, 120.0, done, every_seconds=0.2)
        ask = running.client.sql
        verdict = verify(pipeline, bootstrap=broker.address, ask=ask)
        assert verdict.differences == []
        assert verdict.cells > 2_000
        served = ask("SELECT * FROM predictions ORDER BY seq")
        views = {name: ask(f"SELECT * FROM views.{name} ORDER BY ALL") for name in pipeline.views}
    rows = read_log(broker.address, pipeline.predictions_topic)["payload"].to_pylist()
    numbers = [row["seq"] for row in map(orjson.loads, filter(None, rows)) if "id" in row]
    assert numbers == list(range(STEPS))
    held = [_tiles(folder_of(state / "store", number)) for number in range(2)]
    assert min(held) > 100
    # One process, from the same topics: a feature that is another is refused by the rebuild.
    whole = tmp_path / "whole"
    whole.mkdir()
    made = rebuild(
        replace(pipeline, store_shards=1),
        bootstrap=broker.address,
        folder=whole,
        models=state / "learner" / "versions",
    )
    assert {each.table: each.rows for each in made}["predictions"] == STEPS
    with closing(Catalogue(whole / "store.duckdb")) as catalogue:
        assert catalogue.read("SELECT * FROM predictions ORDER BY seq").equals(served)
        for name, table in views.items():
            alone = catalogue.read(f"SELECT * FROM views.{name} ORDER BY ALL")
            assert alone.equals(table)
            assert isinstance(alone, pa.Table)
            assert alone.num_rows > 100
        assert sum(held) == sum(table.num_rows for table in views.values())


def _tiles(folder: Path) -> int:
    with closing(Catalogue(folder / "store.duckdb")) as catalogue:
        tables = (
            catalogue.read(f"SELECT COUNT(*) AS n FROM views.{n}") for n in ("people", "pairs")
        )
        return sum(int(table["n"][0].as_py()) for table in tables)
