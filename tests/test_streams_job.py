"""Every stream of every table of cases, and random rows, in one real Flink job = in process.

The cases' logs follow one another, each 100 s after the one before it, so none touches another.
"""

from __future__ import annotations

import random
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest

from headrace.feature_store.panes import read_tiles
from headrace.jobs import assembly
from headrace.jobs.machine.broker import Broker
from headrace.jobs.machine.processes import Process, Supervisor
from headrace.jobs.machine.waiting import wait_until
from headrace.jobs.transport import Topic, Writer, create_topics, ends
from headrace.operators.engines import in_process
from headrace.operators.types import Type
from headrace.pipelines.pipeline import Pipeline
from tests import joins
from tests.engines import tile_rows, tiles_of
from tests.streams import (
    CASES,
    Logs,
    Row,
    by_in_process,
    cells,
    from_history,
    history_of,
    pipeline_of,
    read,
)
from tests.streams_job import ROWS
from tests.views_job import read_all

pytestmark = [pytest.mark.kafka, pytest.mark.flink]

SEED = 20_130_102
APART = 100_000
RANDOM_ROWS = 600
TABLES = [read(p) for p in sorted(CASES.glob("*.txt")) if p.stem not in joins.ENGINES]
ALL = [case for cases in TABLES for case in cases]
MORE = "of two columns"
"""Planning takes a second for each stream or so: not every case has its streams in the job."""
STAMP = 10**12
VIEWS = (
    "  by_union: {source: both, key: k, shards: 2, features: {n: count(), x: latest(x)}}",
    "  by_once: {source: once, key: [k, h], features: {s: sum(x) over 3s}}",
    "  none: {source: nobody, key: k, features: {m: count()}}",
)
OF_VIEWS = (
    "both: {from: [a, b], derive: {more: x + 1}}",
    "once: {from: both, dedup: {id: k, within: 50ms}, session: {key: k, gap: 1s}}",
    "nobody: {from: a, where: x > 7 AND x < 8}",
    "asked: {from: ask, dedup: {id: ask_id, within: 10s}}",
)


def _streams(folder: Path) -> list[str]:
    """Give the streams of each table's first case, and of some others, under names of their own."""
    found = []
    chosen = [
        case.streams for cases in TABLES for case in cases if case is cases[0] or MORE in case.name
    ]
    for n, lines in enumerate(dict.fromkeys(chosen)):
        names = "|".join(pipeline_of(folder, lines).streams)
        found += [re.sub(rf"\b({names})\b", rf"s{n}_\1", line) for line in lines]
    return found


def _cases() -> Iterator[tuple[str, int, bytes]]:
    for n, case in enumerate(ALL):
        for source, log in case.logs.items():
            for partition, _, _, said in log:
                yield source, partition, _later(said or b"", n * APART)


def _later(said: bytes, by_ms: int) -> bytes:
    return re.sub(rb'"at": (\d+)', lambda at: b'"at": %d' % (int(at[1]) + by_ms), said)


def _random() -> Iterator[tuple[str, int, bytes]]:
    chance = random.Random(SEED)  # noqa: S311 - a seeded log, no secret
    at = len(ALL) * APART
    for _ in range(RANDOM_ROWS):
        at += chance.choice((0, 0, 1, 3, 9, 10, 11))
        row = {
            "at": at - chance.choice((0, 0, 0, 1, 5, 6)),
            "k": chance.choice(("a", "b", "", "é|", None)),
            "h": chance.choice(("a", "b", None)),
            "x": chance.choice((0, 1, 7, 11, 16, 101, 2**63 - 1, -(2**63), None)),
            "y": chance.choice((0.5, -0.25, 1e300, None)),
            "f": chance.choice((True, False, None)),
        }
        yield chance.choice("ab"), chance.randrange(2), orjson.dumps(row)


def _asks() -> Iterator[tuple[str, int, bytes]]:
    for n in range(200):
        at = len(ALL) * APART + n * 30
        yield "ask", 0, orjson.dumps({"at": at, "ask_id": f"q{n % 70}"})


@dataclass(frozen=True)
class Run:
    """What was sent, and what the job made of it."""

    pipeline: Pipeline
    logs: Logs
    rows: Mapping[str, Sequence[Row]]
    dead: Sequence[Row]
    panes: Mapping[str, Mapping[int, Sequence[bytes]]]


@pytest.fixture(scope="module")
def run(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("streams_job")
    streams = [*_streams(folder), *OF_VIEWS]
    keys = "{by_union: ask_id, by_once: [ask_id, user], none: ask_id}"
    pipeline = pipeline_of(folder, streams, name="streams", views=VIEWS, keys=keys, asked="asked")
    sources = [Topic(each.topic, each.partitions) for each in pipeline.sources.values()]
    rows_topic = f"{pipeline.name}.{ROWS}"
    create_topics(broker.address, [*sources, *assembly.topics(pipeline), Topic(rows_topic, 1)])
    with Writer(broker.address) as writer:
        for source, partition, said in (*_cases(), *_random(), *_asks()):
            topic = pipeline.sources[source].topic
            writer.send(topic, said, partition=partition, timestamp_ms=STAMP)
        for each in pipeline.sources.values():
            for partition in range(each.partitions):
                for end in ((len(ALL) + 1) * APART, (len(ALL) + 2) * APART):
                    said = b'{"at": %d}' % end
                    writer.send(each.topic, said, partition=partition, timestamp_ms=STAMP)
    logs = {
        name: [(m.partition, m.offset, m.timestamp, m.value) for part in parts for m in part]
        for name, parts in (
            (name, read_all(broker.address, source.topic).values())
            for name, source in pipeline.sources.items()
        )
    }
    expected = sum(
        len(by_in_process(pipeline, stream, logs)[0]) for stream in pipeline.streams.values()
    )
    script = Path(__file__).with_name("streams_job.py")
    argv = [sys.executable, str(script), str(pipeline.path), broker.address, str(folder)]
    watched = [rows_topic, pipeline.dead_topic, pipeline.view_topic(pipeline.views["none"])]
    with Supervisor() as supervisor:
        env = {"FLINK_LOG_DIR": str(folder / "flink")}
        supervisor.start(Process("streams", argv, folder / "streams.log", env=env))
        count = 0

        def quiet() -> bool:
            """Say whether all rows are there and nothing came since the last look."""
            nonlocal count
            supervisor.check()
            before, count = count, sum(ends(broker.address, watched).values())
            enough = ends(broker.address, [rows_topic])[rows_topic, 0] >= expected
            return enough and count == before

        wait_until(quiet, 400, "the rows of every stream", every_seconds=1.5)
    rows: dict[str, list[Row]] = defaultdict(list)
    for message in read_all(broker.address, rows_topic)[0]:
        for name, row in orjson.loads(message.value or b"{}").items():
            types = {"partition": Type.INT64, "offset": Type.INT64, **pipeline.streams[name].types}
            rows[name].append(tuple(_read_as(kind, row[each]) for each, kind in types.items()))
    dead: list[Row] = []
    for message in read_all(broker.address, pipeline.dead_topic)[0]:
        said_by = {name: value.decode() for name, value in message.headers}
        place = (said_by["source"], int(said_by["partition"]), int(said_by["offset"]))
        assert said_by["topic"] == pipeline.sources[said_by["source"]].topic
        dead.append((*place, said_by["reason"]))
    topics = [pipeline.decisions_topic, *map(pipeline.view_topic, pipeline.views.values())]
    panes = {
        topic: {
            partition: [message.value or b"" for message in messages]
            for partition, messages in read_all(broker.address, topic).items()
        }
        for topic in topics
    }
    return Run(pipeline, logs, rows, dead, panes)


def _read_as(kind: Type, value: object) -> object:
    """Give a value that JSON may have as a whole number."""
    return float(str(value)) if kind is Type.FLOAT64 and value is not None else value


def test_the_job_has_every_stream(run: Run) -> None:
    assert len(run.pipeline.streams) >= 15
    assert len(ALL) > 50


def test_the_rows_of_every_stream_are_those_of_in_process_and_of_duckdb(run: Run) -> None:
    wrong = {}
    with history_of(run.pipeline, run.logs) as history:
        for name, stream in run.pipeline.streams.items():
            events, refused = by_in_process(run.pipeline, stream, run.logs)
            truth = cells(events, ("p", "o", *stream.types))
            ours, theirs = (Counter(map(repr, rows)) for rows in (run.rows[name], truth))
            if ours != theirs:
                wrong[name] = [*(ours - theirs)][:3], [*(theirs - ours)][:3]
            mine = from_history(history, stream)
            assert repr((cells(mine[0], ("p", "o", *stream.types)), mine[1])) == repr(
                (truth, refused)
            )
    assert wrong == {}


def test_dead_letters_of_streams_have_their_places_and_reasons(run: Run) -> None:
    truth: list[Row] = []
    for stream in run.pipeline.streams.values():
        truth += by_in_process(run.pipeline, stream, run.logs)[1]
    assert len(truth) > 100
    made = [row for row in run.dead if str(row[-1]).startswith("stream ")]
    assert Counter(made) == Counter(truth)


@pytest.mark.parametrize("name", ["by_union", "by_once", "none"])
def test_tiles_over_streams_and_their_progress(run: Run, name: str) -> None:
    view = run.pipeline.views[name]
    stream = run.pipeline.streams[view.source.name]
    events, _ = by_in_process(run.pipeline, stream, run.logs)
    truth = tile_rows(view, in_process.tiles(view, events))
    made = []
    rows: Counter[int] = Counter()
    unkeyed: Counter[int] = Counter()
    ends_of = set()
    for shard, messages in run.panes[run.pipeline.view_topic(view)].items():
        found = read_tiles(view, messages, 0)
        assert found is not None, shard
        made += tile_rows(view, found.items)
        order = [orjson.loads(message)["end"] for message in messages]
        assert order == sorted(set(order))
        ends_of.add(tuple(order))
        for pane in map(orjson.loads, messages):
            rows[pane["end"]] += pane["rows"]
            unkeyed[pane["end"]] += pane["unkeyed"]
    assert sorted(made) == truth
    # Each pane in which any source below has an event, and in every shard.
    below = {leaf.source.name for leaf in stream.leaves}
    known: set[int] = set()
    for source in below:
        found_events = in_process.events(run.pipeline.sources[source], run.logs[source]).events
        known |= {event.at // 1_000 * 1_000 + 1_000 for event in found_events}
    last = (len(ALL) + 2) * APART
    assert ends_of == {tuple(sorted(end for end in known if end <= last))}
    per_pane = Counter(event.at // 1_000 * 1_000 + 1_000 for event in events)
    assert +rows == +per_pane
    missing = [event for event in events if any(event.values[part] is None for part in view.key)]
    assert +unkeyed == +Counter(event.at // 1_000 * 1_000 + 1_000 for event in missing)
    with history_of(run.pipeline, run.logs) as history:
        assert tile_rows(view, tiles_of(history, view)) == truth


def test_decisions_of_a_stream(run: Run) -> None:
    stream = run.pipeline.streams["asked"]
    events, _ = by_in_process(run.pipeline, stream, run.logs)
    assert 70 <= len(events) < 200
    made = []
    for message in run.panes[run.pipeline.decisions_topic][0]:
        made += [(row["at"], row["ask_id"]) for row in orjson.loads(message)["decisions"]]
    assert made == [(event.at, event.values["ask_id"]) for event in events]
