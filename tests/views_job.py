"""What runs the real jobs of a pipeline until their last panes are there, and reads all they made.

Shared by the tests of the views job and the fuzz.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson
import pyarrow as pa

from headrace.feature_store.panes import read_tiles
from headrace.jobs.machine.processes import Process, Supervisor
from headrace.jobs.machine.waiting import wait_until
from headrace.jobs.transport import Message, Reader, begins, ends
from headrace.operators.source import Source
from headrace.operators.view import View
from headrace.pipelines.pipeline import Pipeline
from tests.engines import Rows

Made = Mapping[str, Mapping[int, Sequence[Message]]]
"""Per topic and partition its messages."""


def read_all(bootstrap: str, topic: str) -> dict[int, list[Message]]:
    """Read a topic from its beginning to its end, by partition."""
    start, stop = begins(bootstrap, [topic]), ends(bootstrap, [topic])
    found: dict[int, list[Message]] = {partition: [] for _, partition in start}
    missing = sum(stop.values()) - sum(start.values())
    with Reader(bootstrap, start) as reader:
        while missing > 0:
            for (_, partition), messages in reader.poll(1_000).items():
                found[partition] += messages
                missing -= len(messages)
    return found


def run_jobs(
    pipeline: Pipeline, bootstrap: str, folder: Path, roles: Sequence[str], last: Mapping[str, int]
) -> Made:
    """Run jobs until each partition of each topic of `last` has the pane of that end.

    The ends are those of the last panes that have a row, and so a message in each shard. Given
    back are these topics, dead letters and late rows.
    """
    places = [place for topic in last for place in begins(bootstrap, [topic])]
    common = [str(pipeline.path), "--bootstrap", bootstrap, "--state", str(folder)]
    made: dict[tuple[str, int], list[Message]] = {place: [] for place in places}
    with Supervisor() as supervisor, Reader(bootstrap, dict.fromkeys(places, 0)) as reader:
        for role in roles:
            argv = [sys.executable, "-m", "headrace.jobs.cli.main", "process", role, *common]
            env = {"FLINK_LOG_DIR": str(folder / f"{role}.flink")}
            supervisor.start(Process(role, argv, folder / f"{role}.log", env=env))

        def complete() -> bool:
            supervisor.check()
            for place, messages in reader.poll(200).items():
                made[place] += messages
            return all(
                made[place]
                and orjson.loads(made[place][-1].value or b"{}")["end"] >= last[place[0]]
                for place in places
            )

        wait_until(complete, 400, "the last panes")
        refused = [pipeline.dead_topic, pipeline.late_topic]
        count = 0

        def quiet() -> bool:
            """Say whether nothing came since the last look: both sinks linger for 20 ms."""
            nonlocal count
            before, count = count, sum(ends(bootstrap, refused).values())
            return count == before > 0

        wait_until(quiet, 20, "the last dead letters", every_seconds=1.0)
    found: dict[str, dict[int, list[Message]]] = defaultdict(dict)
    for (topic, partition), messages in made.items():
        found[topic][partition] = messages
    for topic in refused:
        found[topic] = read_all(bootstrap, topic)
    return found


def headers(message: Message) -> dict[str, str]:
    """Give a message's headers as texts."""
    return {name: value.decode() for name, value in message.headers}


def tiles_made(view: View, shards: Mapping[int, Sequence[Message]]) -> tuple[pa.Table, Rows]:
    """Give a view's tiles and their companion rows, each key's from one shard."""
    assert len(shards) == view.shards
    tables, more = [], []
    for partition, messages in shards.items():
        panes = read_tiles(view, [message.value or b"" for message in messages], 0)
        assert panes is not None, partition
        tables.append(panes.items)
        more.append(panes.more)
    keys = [
        set(zip(*(table[part].to_pylist() for part in view.key), strict=True)) for table in tables
    ]
    assert all(keys)
    assert not set.intersection(*keys)
    rows = {each.name: pa.concat_tables(part[each.name] for part in more) for each in view.rows}
    return pa.concat_tables(tables), rows


def source_yaml(source: Source, derived: Mapping[str, str]) -> list[str]:
    """Write a source as a pipeline has it, with its derived columns as texts."""
    columns = (f"{c.name}: {c.type.value}{' required' * c.required}" for c in source.columns)
    return [
        f"  {source.name}:",
        f"    topic: {source.topic}",
        f"    lateness: {source.lateness_ms}ms",
        f"    ahead: {source.ahead_ms}ms",
        f"    partitions: {source.partitions}",
        "    columns:",
        *(f"      {column}" for column in columns),
        "    derive:",
        *(f"      {name}: {quoted(text)}" for name, text in derived.items()),
    ]


def view_yaml(view: View, texts: Sequence[str]) -> list[str]:
    """Write a view as a pipeline has it, with its features as texts."""
    features = zip(view.features, texts, strict=True)
    return [
        f"  {view.name}:",
        f"    source: {view.source.name}",
        f"    key: [{', '.join(view.key)}]",
        f"    shards: {view.shards}",
        "    features:",
        *(f"      {each.name}: {quoted(text)}" for each, text in features),
    ]


def quoted(text: str) -> str:
    """Write a text as YAML."""
    return "'" + text.replace("'", "''") + "'"
