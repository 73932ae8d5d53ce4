"""Every stream operator, on every engine, over its table of cases."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from headrace.operators.engines import in_process
from headrace.operators.engines.duckdb_streams import DUCKDB
from headrace.operators.streams.catalogue import OPERATORS
from headrace.operators.streams.interval_join import IntervalJoin
from headrace.pipelines.explain import explain
from tests.engines import tile_rows, tiles_of
from tests.streams import CASES, ENGINES, Case, by_in_process, cells, history_of, pipeline_of, read

TABLES = {path.stem: read(path) for path in sorted(CASES.glob("*.txt"))}
ALL = [
    pytest.param(engine, case, id=f"{operator}-{engine}: {case.name}")
    for operator, cases in TABLES.items()
    for case in cases
    for engine in ENGINES
]
EVERY_TABLE_HAS = ("null", "empty", "late", "tie", "partition", "progress")
OF_TIME = ("dedup", "session")


ELSEWHERE = {"as_of", "interval_join"}
"""The decision's and the labels' join: `tests/test_operators.py`, `tests/test_views_job.py`."""


def test_every_operator_has_a_table() -> None:
    assert set(TABLES) == set(OPERATORS) - ELSEWHERE
    assert len(OPERATORS) >= 12
    assert len(ALL) >= 80


@pytest.mark.parametrize("operator", TABLES)
def test_a_table_has_the_cases_that_each_must_have(operator: str) -> None:
    names = " ".join(case.name for case in TABLES[operator])
    must = (*EVERY_TABLE_HAS, *(("exactly",) if operator in OF_TIME else ()))
    assert [word for word in must if word not in names] == []


@pytest.mark.parametrize(("engine", "case"), ALL)
def test_a_stream_has_its_rows(engine: str, case: Case, tmp_path: Path) -> None:
    pipeline = pipeline_of(tmp_path, case.streams)
    stream = pipeline.streams[case.streams[-1].partition(":")[0]]
    rows, refused = ENGINES[engine](pipeline, stream, case.logs)
    assert repr(cells(rows, case.columns)) == repr(list(case.rows))
    assert refused == sorted(case.refused, key=repr)


def test_outcomes_have_their_newest_decision_in_history_too(tmp_path: Path) -> None:
    streams = ["decided: {from: a, where: x = 0}", "ended: {from: b}"]
    pipeline = pipeline_of(tmp_path, streams)
    said = [(0, "d"), (5, "d"), (5, "e"), (5, "e"), (6, None), (90, "d")]
    ends = [(0, "d"), (4, "d"), (15, "d"), (16, "d"), (15, "e"), (16, None), (17, "nobody")]
    logs = {
        name: [
            (0, n, 1 << 40, orjson.dumps({"at": at, "k": k, "x": 0}))
            for n, (at, k) in enumerate(rows)
        ]
        for name, rows in {"a": said, "b": ends}.items()
    }
    join = IntervalJoin(("k", "k"), 10)
    rows = [by_in_process(pipeline, each, logs)[0] for each in pipeline.streams.values()]
    pairs = [(decision.order, outcome.order) for decision, outcome in join.of(rows[0], rows[1])]
    assert [(decision[0], outcome[0]) for decision, outcome in pairs] == [
        (0, 0),
        (0, 4),
        (5, 15),
        (5, 15),
    ]
    with history_of(pipeline, logs) as history:
        query = join.sql("events_decided", "events_ended", DUCKDB)
        found = history.query(f"SELECT * FROM ({query}) ORDER BY outcome").to_pylist()
    assert [tuple(tuple(place.values()) for place in row.values()) for row in found] == pairs


def test_a_feature_over_a_stream_may_compute_and_choose(tmp_path: Path) -> None:
    view = "  v: {source: made, key: k, features: {s: sum(x * 2), n: count(where x > 3)}}"
    streams = ["made: {from: a, derive: {more: x + 1}}", "after: {from: made, where: x > 0}"]
    pipeline = pipeline_of(tmp_path, streams, views=[view])
    numbers = (1, 4, 2**62, 5, None)
    log = [
        (0, n, 1 << 40, orjson.dumps({"at": n, "k": "a", "x": x})) for n, x in enumerate(numbers)
    ]
    reason = "stream made: feature s: out of range"
    made, after = pipeline.streams.values()
    for engine in ENGINES.values():
        assert engine(pipeline, made, {"a": log})[1] == [("a", 0, 2, reason)]
        rows, _ = engine(pipeline, after, {"a": log})
        assert [row.values["more"] for row in rows] == [2, 5, 6]
    rows, _ = by_in_process(pipeline, made, {"a": log})
    truth = in_process.tiles(pipeline.views["v"], rows)
    assert [tile["end"] for tile in truth] == [1_000]
    assert {2, 20} <= set(truth[0].values())
    with history_of(pipeline, {"a": log}) as history:
        assert tile_rows(pipeline.views["v"], tiles_of(history, pipeline.views["v"])) == tile_rows(
            pipeline.views["v"], truth
        )


def test_explain_says_the_streams_below_a_view(tmp_path: Path) -> None:
    view = "  v: {source: made, key: k, features: {n: count()}}"
    streams = ["both: {from: [a, b]}", "made: {from: both, dedup: {id: k, within: 1s}}"]
    (said,) = explain(pipeline_of(tmp_path, streams, views=[view]))
    assert "stream both from a, b: union" in said.meaning
    assert "stream made from both: dedup" in said.meaning
    events = said.steps[0]
    assert "CREATE TEMPORARY VIEW `made`" in events.flink
    assert 'CREATE TABLE "events_made"' in events.duckdb
