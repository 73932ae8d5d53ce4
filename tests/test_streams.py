"""Every stream operator, on every engine, over its table of cases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from headrace.operators.engines import in_process
from headrace.operators.streams.catalogue import OPERATORS
from headrace.pipelines.explain import explain
from tests import joins
from tests.engines import tile_rows, tiles_of
from tests.streams import (
    CASES,
    ENGINES,
    Case,
    Row,
    by_in_process,
    cells,
    history_of,
    pipeline_of,
    read,
)

TABLES = {path.stem: read(path) for path in sorted(CASES.glob("*.txt"))}
ALL = [
    pytest.param(engine, case, id=f"{operator}-{engine}: {case.name}")
    for operator, cases in TABLES.items()
    if operator not in joins.ENGINES
    for case in cases
    for engine in ENGINES
]
JOINS = [
    pytest.param(run, case, id=f"{operator}-{engine}: {case.name}")
    for operator, engines in joins.ENGINES.items()
    for case in TABLES[operator]
    for engine, run in engines.items()
]
EVERY_TABLE_HAS = ("null", "empty", "late", "tie", "partition", "progress")
OF_TIME = ("as_of", "dedup", "interval_join", "session")


def test_every_operator_has_a_table() -> None:
    assert set(TABLES) == set(OPERATORS)
    assert len(OPERATORS) >= 12
    assert len(ALL) >= 80
    assert len(JOINS) >= 60


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


@pytest.mark.parametrize(("run", "case"), JOINS)
def test_a_join_has_its_rows(
    run: Callable[[Case, Path], list[Row]], case: Case, tmp_path: Path
) -> None:
    assert repr(run(case, tmp_path)) == repr(list(case.rows))


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case.name) for case in TABLES["interval_join"]]
)
def test_what_a_join_has_told_stays(case: Case, tmp_path: Path) -> None:
    """Logs that are complete further add to what was told, and change nothing."""
    join = replace(joins.joined(case)[0], outer="both")
    mine, theirs = joins.sides(case, tmp_path)
    told: list[str] = []
    for complete_to in range(40):
        now = list(map(repr, join.of(mine, theirs, complete_to=complete_to)))
        assert set(told) <= set(now)
        assert len(set(now)) == len(now)
        told = now
    assert sorted(told) == sorted(map(repr, join.of(mine, theirs)))


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
