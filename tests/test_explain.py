"""What `headrace explain` prints is what runs: the same texts as the jobs and history are given."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.jobs import views
from headrace.jobs.demo.demonstration import PIPELINE
from headrace.operators.engines.flink import Kafka
from headrace.operators.errors import UnknownName
from headrace.pipelines.explain import explain
from headrace.pipelines.load import load
from tests.feature_store.made_up import TEXT


def test_every_view_is_explained_with_the_statements_of_the_job() -> None:
    pipeline = load(PIPELINE)
    found = list(explain(pipeline))
    of_views = [each for each in found if each.view]
    assert [each.view for each in of_views] == list(pipeline.views)
    assert len(of_views) == 11
    run = "\n".join(views.sql(pipeline, Kafka("<bootstrap>", "flight_delay.views"))[0])
    for each in of_views:
        for step in each.steps[:2]:
            for statement in step.flink.split(";\n"):
                assert statement in run, f"{each.view}: {step.name}"
            assert step.duckdb
    assert found[len(of_views)].meaning == (
        "feature origin_waiting_3h := sub(sub(origin_scheduled_4h:int64, "
        "origin_scheduled_1h:int64), origin_departures_3h:int64):int64",
    )


def test_one_feature_is_explained_alone() -> None:
    (found,) = explain(load(PIPELINE), "origin_dep_delay_1h")
    assert "derive delay := least(dep_delay:int64, 180):int64" in found.meaning
    assert [line for line in found.meaning if line.startswith("feature")] == [
        "feature origin_dep_delay_1h := mean(delay):float64 of b − 3600000 ms ≤ at < b"
    ]
    assert list(found.state.columns) == ["origin", "end", "count_delay", "sum_delay"]
    # a text of 16, three int64, a byte of validity each, the links
    assert found.state.tile_bytes == 16 + 3 * 8 + 4 + 32
    assert "newest" not in found.steps[1].flink


def test_rows_of_tiles_are_explained_with_the_most_there_can_be(tmp_path: Path) -> None:
    path = tmp_path / "more.yaml"
    more = "kinds: count_distinct(x), about: hll(x), 'lasts': 'last_n(x, 3)', last: last(x)"
    path.write_text(TEXT.replace("{n: count() over 2m", f"{{n: count() over 2m, {more}"))
    pipeline = load(path)
    found = next(iter(explain(pipeline)))
    assert found.state.rows == {"values_x": None, "registers_x": 4096, "last_x": 3}
    assert "rows of a tile values_x := by `x`: COUNT(*), merged by add" in found.meaning
    assert "rows of a tile last_x := x of the newest rows that have it" in found.meaning
    tiles = found.steps[1]
    run = views.sql(pipeline, Kafka("<bootstrap>", "small.views"))[0]
    assert len(tiles.flink.split(";\n")) == 3
    assert all(statement in run for statement in tiles.flink.split(";\n"))
    assert len(tiles.duckdb.split(";\n")) == 4


def test_a_feature_that_nobody_declared_has_a_suggestion() -> None:
    with pytest.raises(UnknownName, match="did you mean 'origin_dep_delay_1h'"):
        list(explain(load(PIPELINE), "origin_dep_delay_1"))
