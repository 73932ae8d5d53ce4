"""The real views and labels jobs, once: a hard log through Kafka and Flink = DuckDB = in process.

One run for everything, for a Flink job costs seconds. The log has late rows, dead letters of every
kind, null keys, ties and progress events; the views have every aggregate; the decisions' source
has an expression with every function as a derived column; `tests/test_functions_job.py` has the
rest of them.
"""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import orjson
import pyarrow as pa
import pytest

from headrace.feature_store.panes import read_items
from headrace.jobs import assembly
from headrace.jobs.machine.broker import Broker
from headrace.jobs.transport import (
    Topic,
    Writer,
    create_topics,
    shard_keys,
)
from headrace.operators.aggregates import Partial
from headrace.operators.aggregates.aggregate import BEYOND
from headrace.operators.engines import in_process
from headrace.operators.errors import HeadraceError
from headrace.operators.functions import Value
from headrace.operators.source import Source
from headrace.operators.types import Type
from headrace.operators.view import END, View
from headrace.pipelines.load import load
from headrace.pipelines.pipeline import Pipeline
from tests import logs
from tests.engines import (
    Rows,
    asked_index,
    by_in_process,
    companion_rows,
    rows_in_process,
    rows_of_tiles,
    source_of,
    tile_rows,
    tiles_of,
    told,
)
from tests.formulas import COLUMNS, FORMS, LEAST, MOST, ROWS
from tests.poison import poison
from tests.views_job import (
    Made,
    headers,
    quoted,
    read_all,
    run_jobs,
    source_yaml,
    tiles_made,
    view_yaml,
)

pytestmark = [pytest.mark.kafka, pytest.mark.flink]

SEED = 20_130_101
ROWS_SENT = 3_000
POISON = 400
STEP_MS = 9
LAST_AT = logs.STAMP + logs.AHEAD
END_AT = 60_000
LATE_STAMP = 100_000
WITHIN = 5_000
OUTCOMES = (1, 0, -1, None, MOST, 7 * 10**12 + 1, 2**62 - 1)


def _yaml() -> str:
    """Write the pipeline that `tests/logs.py` describes, and an outcome beside it."""

    def indented(lines: Sequence[str], by: int) -> str:
        return "\n".join(" " * by + line for line in lines)

    forms = ["name: string required", *(f"{c}: {kind.value}" for c, kind in COLUMNS.items())]
    said = [f"e{n}: {quoted(text)}" for n, text in enumerate(FORMS)]
    events = source_yaml(replace(logs.SOURCE, topic="hard_events"), logs.DERIVED)
    views = [
        line for name, view in logs.VIEWS.items() for line in view_yaml(view, logs.FEATURES[name])
    ]
    return f"""
pipeline: hard
every: {logs.EVERY}ms
sources:
{indented(events, 0)}
  forms:
    topic: hard_forms
    columns:
{indented(forms, 6)}
    derive:
{indented(said, 6)}
  results:
    topic: hard_results
    lateness: 500ms
    columns: {{name: string required, y: int64}}
views:
{indented(views, 0)}
  too_much:
    source: events
    key: [b, g]
    features: {{sum_w: sum(w), mean_z: mean(z), var_w: var(w), std_z: std(z)}}
decision:
  source: forms
  id: name
  keys: {{by_key: s, by_pair: [s, u], by_number: i, too_much: [b, i]}}
outcome: {{source: results, id: name, label: y * 2 / 7, within: {WITHIN}ms}}
model: {{kind: linear, tokens: [s]}}
"""


Sent = tuple[str, int, bytes | None, int, bytes | None]
"""Topic, partition, value, time stamp, key."""


def _cell(cells: Sequence[str | None], chance: random.Random) -> str | None:
    return chance.choice(cells)


def _chance() -> random.Random:
    return random.Random(SEED)  # noqa: S311 - a seeded log, no secret


def _events(chance: random.Random) -> Iterator[Sent]:
    """Give rows in about their order, some late, some hard to read, each bad cell at least once."""
    topic = "hard_events"
    bad = [(name, cell) for name, cells in logs.BAD_CELLS.items() for cell in cells]
    hard = [*logs.BROKEN, *logs.ODD]
    poisoned = [poison(logs.SOURCE, chance, 900 * STEP_MS) for _ in range(POISON)]
    for n in range(ROWS_SENT):
        partition = chance.randrange(2)
        at: str | None = str(
            max(0, n * STEP_MS + chance.choice((0, 0, 0, 5, -500, -1_900, -2_600)))
        )
        cells = {name: _cell(cells, chance) for name, cells in logs.CELLS.items()}
        kind = chance.random()
        if kind < 0.08:
            name, cells[name] = bad[n % len(bad)]
        elif kind < 0.1:
            at = chance.choice((*logs.BAD_TIMES, *logs.ODD_TIMES[:2]))
        elif kind < 0.12:
            cells = {}
        yield topic, partition, logs.payload(at, cells), logs.STAMP, None
        if 900 <= n < 900 + len(hard):
            yield topic, chance.randrange(2), hard[n - 900], logs.STAMP, b"key"
            while len(poisoned) * len(hard) > POISON * (899 + len(hard) - n):
                yield topic, chance.randrange(2), poisoned.pop(), logs.STAMP, b"key"
    for name, cell in bad:
        row = {"name": '"n"', "k": '"a"', name: cell}
        yield topic, 0, logs.payload(str(logs.STAMP), row), logs.STAMP, None
    for partition in range(2):
        row = {"name": '"last"', "k": '"a"', "h": '"b"', "g": "1"}
        yield topic, partition, logs.payload(str(LAST_AT), row), logs.STAMP, None
        yield topic, partition, b'{"at": %d}' % END_AT, LATE_STAMP, None


_POOLS: Mapping[Type, Sequence[Value]] = {
    Type.INT64: (0, 1, -7, 7, 2, 10**9, 2**53 + 1, None),
    Type.FLOAT64: (0.0, 2.5, -2.5, 0.1, 1e-300, 5e-324, 123456.789, 1e16, float(2**53), None),
    Type.BOOL: (True, False, None),
    Type.STRING: ("", "a", "B", "É", "ẞİΣ", "😀", "'\"\\", "a|b", "%", None),
}


def _forms(chance: random.Random) -> Iterator[Sent]:
    """Give the rows of the expressions' own table, then random ones."""
    rows = list(ROWS.values())
    rows += [{c: chance.choice(_POOLS[kind]) for c, kind in COLUMNS.items()} for _ in range(300)]
    extremes = {"i": (LEAST, MOST), "j": (LEAST, MOST), "x": (1.7e308, -1.7e308)}
    for column, values in extremes.items():
        rows += [{**ROWS["plain"], column: value} for value in values]
    for n, row in enumerate(rows):
        said = orjson.dumps(
            {"at": n * 50, "name": f"form{n}", **row}, option=orjson.OPT_PASSTHROUGH_DATETIME
        )
        yield "hard_forms", 0, said, logs.STAMP, None
    yield "hard_forms", 0, b'{"at": %d}' % END_AT, LATE_STAMP, None


def _predictions() -> Iterator[Sent]:
    """Give predictions every 100 ms, in the store's form."""
    for n in range(100):
        at = n * 100 + 100
        said = {"seq": n, "id": f"d{n}", "at": at, "x": {"s": "é"}, "p": 0.5, "version": 0}
        yield "hard.predictions", 0, orjson.dumps(said), at, f"d{n}".encode()
    said = {"seq": 99, "through": END_AT}
    yield "hard.predictions", 0, orjson.dumps(said), END_AT, None


def _results(chance: random.Random) -> Iterator[Sent]:
    """Give outcomes: twice, beyond `within`, at the decision's own ms, null, of nobody, late."""
    rows = []
    for n in range(100):
        at = n * 100 + 100
        delays = [0] if n % 10 == 0 else [chance.choice((1, 700, 2_500, WITHIN, WITHIN + 1, 9_000))]
        if n % 7 == 0:
            delays.append(delays[0] + 300)
        rows += [(at + delay, f"d{n}", chance.choice(OUTCOMES)) for delay in delays]
    rows += [(3_000, "nobody", 1), (4_000, "", 1), (50, "d40", 1)]
    for place, (at, name, y) in enumerate(sorted(rows)):
        yield "hard_results", 0, orjson.dumps({"at": at, "name": name, "y": y}), logs.STAMP, None
        if place % 20 == 10:
            late = orjson.dumps({"at": max(0, at - 501), "name": name, "y": 1})
            yield "hard_results", 0, late, logs.STAMP, None
    yield "hard_results", 0, b'{"at": %d}' % END_AT, LATE_STAMP, None


@dataclass(frozen=True)
class Run:
    """What was sent, and what the jobs made of it."""

    pipeline: Pipeline
    sent: Mapping[str, Sequence[in_process.Message]]
    made: Made


@pytest.fixture(scope="module")
def run(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("views_job")
    path = folder / "hard.yaml"
    path.write_text(_yaml(), "utf-8")
    pipeline = load(path)
    # The time stamps are ours, so that what is far ahead is so in every run.
    sources = [Topic(each.topic, each.partitions) for each in pipeline.sources.values()]
    create_topics(broker.address, [*sources, *assembly.topics(pipeline)])
    with Writer(broker.address) as writer:
        for part in (_events(_chance()), _forms(_chance()), _predictions(), _results(_chance())):
            for topic, partition, value, stamp, key in part:
                writer.send(topic, value, partition=partition, timestamp_ms=stamp, key=key)
    made = _made(pipeline, broker.address, folder)
    sent = {
        name: [
            (message.partition, message.offset, message.timestamp, message.value)
            for messages in read_all(broker.address, source.topic).values()
            for message in messages
        ]
        for name, source in pipeline.sources.items()
    }
    return Run(pipeline, sent, made)


def _made(pipeline: Pipeline, bootstrap: str, folder: Path) -> Made:
    """Run both jobs until every pane of every topic is there."""
    views = (pipeline.view_topic(view) for view in pipeline.views.values())
    last = dict.fromkeys(views, LAST_AT // 1_000 * 1_000 + 1_000)
    last[pipeline.decisions_topic] = _last_decision(pipeline)
    last[pipeline.examples_topic] = _last_pane(_results(_chance()))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("FLINK_HOME", raising=False)  # as users have it: tests/class_archive.py
        return run_jobs(pipeline, bootstrap, folder, ("views", "labels"), last)


def _last_decision(pipeline: Pipeline) -> int:
    """Give the end of the last pane with a decision: of the rows that no expression refuses."""
    said = [(0, n, stamp, value) for n, (_, _, value, stamp, _) in enumerate(_forms(_chance()))]
    source = pipeline.sources["forms"]
    found = in_process.events(source, said).events
    return max(e.at for e in found if e.values["name"] is not None) // 1_000 * 1_000 + 1_000


def _last_pane(rows: Iterator[Sent]) -> int:
    times = (orjson.loads(said or b"{}")["at"] for _, _, said, _, _ in rows)
    return int(sorted(times)[-2]) // 1_000 * 1_000 + 1_000


def test_dead_letters_and_late_rows_are_those_of_in_process(run: Run) -> None:
    expected: dict[str, list[tuple[object, ...]]] = {"dead": [], "late": []}
    for name, source in run.pipeline.sources.items():
        found = in_process.events(source, run.sent[name])
        topic = (name, source.topic)
        expected["dead"] += [
            (*topic, r.partition, r.offset, r.reason, r.payload) for r in found.dead
        ]
        expected["late"] += [(*topic, r.partition, r.offset, r.payload) for r in found.late]
    assert len(expected["dead"]) > 300
    assert len(expected["late"]) > 100
    dead = []
    for message in run.made[run.pipeline.dead_topic][0]:
        said = headers(message)
        place = (said["source"], said["topic"], int(said["partition"]), int(said["offset"]))
        dead.append((*place, said["reason"], message.value))
    assert _different(dead, expected["dead"]) == []
    late = []
    for message in run.made[run.pipeline.late_topic][0]:
        said = headers(message)
        assert int(said["at"]) < int(said["watermark"])
        place = (said["source"], said["topic"], int(said["partition"]), int(said["offset"]))
        late.append((*place, message.value))
    assert _different(late, expected["late"]) == []


def _different(ours: Sequence[object], theirs: Sequence[object]) -> list[str]:
    """Say what is in one of the two alone, or in one of them twice."""
    mine, yours = Counter(map(repr, ours)), Counter(map(repr, theirs))
    alone = [f"- {row}" for row in (mine - yours).elements()]
    alone += [f"+ {row}" for row in (yours - mine).elements()]
    return alone[:20]


@pytest.mark.parametrize("name", logs.VIEWS)
def test_tiles_are_those_of_duckdb_and_of_in_process(run: Run, name: str) -> None:
    view = run.pipeline.views[name]
    events = in_process.events(source_of(view), run.sent["events"]).events
    tiles, rows = _tiles(run, view)
    truth = tile_rows(view, in_process.tiles(view, events))
    truth_rows = companion_rows(rows_in_process(view, events))
    assert min(map(len, [truth, *truth_rows.values()])) > 100
    assert _different(tile_rows(view, tiles), truth) == []
    with told(source_of(view), [view], run.sent["events"]) as history:
        assert _different(tile_rows(view, tiles_of(history, view)), truth) == []
        by_duckdb = companion_rows(rows_of_tiles(history, view))
    for name, texts in companion_rows(rows).items():
        assert _different(texts, truth_rows[name]) == [], name
        assert _different(by_duckdb[name], truth_rows[name]) == [], name


def test_a_sum_beyond_its_type_never_wraps(run: Run) -> None:
    view = run.pipeline.views["too_much"]
    events = in_process.events(source_of(view), run.sent["events"]).events
    groups: dict[tuple[object, ...], list[in_process.Event]] = defaultdict(list)
    for event in events:
        key = tuple(event.values[part] for part in view.key)
        if None not in key:
            groups[*key, event.at // 1_000 * 1_000 + 1_000].append(event)
    sums = [partial for partial in view.partials if not partial.name.startswith("count_")]
    assert [partial.name for partial in sums] == ["squares_w", "squares_z", "sum_w", "sum_z"]
    expected = {
        place: tuple(_sum(partial, group) for partial in sums) for place, group in groups.items()
    }
    made: dict[tuple[object, ...], tuple[object, ...]] = {}
    places = [f"p{view.partials.index(partial)}" for partial in sums]
    for message in run.made[run.pipeline.view_topic(view)][0]:
        pane = json.loads(message.value or b"")
        for tile in pane["tiles"]:
            made[tile["k0"], tile["k1"], pane["end"]] = tuple(tile[place] for place in places)
    assert made == expected
    for place in range(len(sums)):
        beyond = [sums[place] in (BEYOND, "beyond") for sums in made.values()]
        assert any(beyond)
        assert not all(beyond)
    with pytest.raises(HeadraceError):
        _tiles(run, view)


def _sum(partial: Partial, group: Sequence[in_process.Event]) -> float | str | None:
    """Give a tile's sum as its message says it: one of 128 bits is a text."""
    wide = partial.type is Type.INT128
    try:
        value = partial.of([event.values[partial.column] for event in group])
    except OverflowError:
        return "beyond" if wide else BEYOND
    return str(value) if wide and value is not None else value


@pytest.mark.parametrize("name", logs.VIEWS)
def test_features_are_those_of_in_process(run: Run, name: str) -> None:
    view = run.pipeline.views[name]
    tiles, rows = _tiles(run, view)
    keys = sorted(set(zip(*(tiles[part].to_pylist() for part in view.key), strict=True)), key=repr)
    chance = _chance()
    asks = [(chance.choice(keys), chance.randrange(LAST_AT + 2_000)) for _ in range(60)]
    truth = by_in_process(view, run.sent["events"], asks)
    assert repr(asked_index(view, [tiles.sort_by(END)], asks, rows)) == repr(truth)


def _tiles(run: Run, view: View) -> tuple[pa.Table, Rows]:
    return tiles_made(view, run.made[run.pipeline.view_topic(view)])


@pytest.mark.parametrize("name", logs.VIEWS)
def test_panes_are_in_order_in_their_shard_and_count_their_rows(run: Run, name: str) -> None:
    view = run.pipeline.views[name]
    rows: Counter[int] = Counter()
    unkeyed: Counter[int] = Counter()
    source = source_of(view)
    for event in in_process.events(source, run.sent["events"]).events:
        end = event.at // view.every_ms * view.every_ms + view.every_ms
        known = any(event.values[column.name] is not None for column in source.columns)
        rows[end] += known
        unkeyed[end] += known and any(event.values[part] is None for part in view.key)
    said_rows: Counter[int] = Counter()
    said_unkeyed: Counter[int] = Counter()
    for partition, messages in run.made[run.pipeline.view_topic(view)].items():
        assert {message.key for message in messages} == {
            shard_keys(view.shards)[partition].encode()
        }
        panes = [orjson.loads(message.value or b"{}") for message in messages]
        order = [pane["end"] for pane in panes]
        assert order == sorted(set(order))
        assert set(order) == {end for end in rows if end <= LAST_AT + 1_000}
        for pane in panes:
            said_rows[pane["end"]] += pane["rows"]
            said_unkeyed[pane["end"]] += pane["unkeyed"]
    assert +said_rows == +rows
    assert +said_unkeyed == +unkeyed
    assert sum(unkeyed.values()) > 50


def test_decisions_are_the_events_of_their_source_with_every_expression(run: Run) -> None:
    source = run.pipeline.sources[run.pipeline.decision.source.name]
    item = [("partition", pa.int32()), ("offset", pa.int64())]
    item += [(name, kind.arrow) for name, kind in source.types.items()]
    messages = run.made[run.pipeline.decisions_topic][0]
    panes = read_items(
        [message.value or b"" for message in messages], 0, name="decisions", item=pa.struct(item)
    )
    assert panes is not None
    events = in_process.events(source, run.sent["forms"]).events
    truth = [
        {"partition": event.partition, "offset": event.offset, **event.values}
        for event in events
        if event.values["name"] is not None
    ]
    assert len(truth) > 100
    ours = panes.items.drop_columns([END]).to_pylist()
    for column in ("partition", "offset", *source.types):
        rows = zip(ours, truth, strict=True)
        wrong = [
            (_expression(source, column), mine[column], yours[column], mine["offset"])
            for mine, yours in rows
            if repr(mine[column]) != repr(yours[column])
        ]
        assert wrong[:5] == []


def _expression(source: Source, column: str) -> str:
    return FORMS[int(column[1:])] if column in source.derived else column


def test_examples_are_the_newest_prediction_within_before_each_outcome(run: Run) -> None:
    predicted = {f"d{n}": n * 100 + 100 for n in range(100)}
    outcome = run.pipeline.outcome
    expected = []
    for event in in_process.events(
        run.pipeline.sources[outcome.source.name], run.sent["results"]
    ).events:
        try:
            label = outcome.label.of(event.values)
        except OverflowError:  # a label that leaves its type makes no example
            continue
        at = predicted.get(str(event.values["name"]))
        if at is not None and label is not None and event.at - WITHIN <= at <= event.at:
            expected.append((event.at, event.offset, label, event.values["name"], at))
    assert 30 < len(expected) < 90
    made, order = [], []
    for message in run.made[run.pipeline.examples_topic][0]:
        pane = orjson.loads(message.value or b"{}")
        order.append(pane["end"])
        for row in pane["examples"]:
            assert row["at"] // 1_000 * 1_000 + 1_000 == pane["end"]
            prediction = row["prediction"]
            assert prediction["x"] == {"s": "é"}
            made.append(
                (row["at"], row["offset"], row["label"], prediction["id"], prediction["at"])
            )
    assert order == sorted(set(order))
    assert _different(made, expected) == []
