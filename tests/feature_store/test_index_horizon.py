"""A view with a horizon: the same values, from the index or from the file, in bounded memory."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from headrace.feature_store.index import Index, States
from headrace.feature_store.store import Declared, Store
from headrace.feature_store.versions import table_of
from headrace.operators.aggregates import AGGREGATES, OfRows
from headrace.operators.engines import in_process
from headrace.operators.engines.in_process import Event
from headrace.operators.errors import PipelineError
from headrace.operators.source import Column, Source
from headrace.operators.types import Type
from headrace.operators.view import END, Feature, View
from headrace.pipelines.load import load
from tests import logs
from tests.engines import rows_in_process
from tests.feature_store import made_up
from tests.feature_store.test_as_of_a_time import events
from tests.feature_store.test_online import entities

EVERY, HORIZON, STEPS = logs.EVERY, 4 * logs.EVERY, 13


def _kept(feature: Feature) -> bool:
    """Say whether a view with the horizon may have a feature."""
    if feature.reach_ms is None:
        return not isinstance(feature.aggregate, OfRows)
    return feature.reach_ms <= HORIZON


VIEWS = {
    name: replace(view, features=tuple(filter(_kept, view.features)), horizon_ms=HORIZON)
    for name, view in logs.VIEWS.items()
}
DECLARED = Declared(EVERY, VIEWS, logs.SOURCE, "name", logs.KEYS)


@pytest.fixture(scope="module")
def history() -> list[Event]:
    return events(8, 180)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, history: list[Event]) -> Store:
    """Open a store on a file that is complete beyond the horizon."""
    path = tmp_path_factory.mktemp("horizon") / "store.duckdb"
    store = Store(path, DECLARED)
    with store.catalogue.transaction():
        for name, view in VIEWS.items():
            tiles = pa.Table.from_pylist(in_process.tiles(view, history), view.tile_schema)
            version = store.versions[name]
            store.catalogue.append(table_of(version), tiles.sort_by(END))
            for rows, table in rows_in_process(view, history).items():
                companion = next(each for each in view.rows if each.name == rows)
                store.catalogue.append(table_of(version, companion.name), table)
            for shard in range(view.shards):
                store.catalogue.complete(version, shard, end=STEPS * EVERY, rows=0, unkeyed=0)
    store.catalogue.close()
    return Store(path, DECLARED)


def test_every_time_past_and_present_is_the_oracles(store: Store, history: list[Event]) -> None:
    reader = store.reader()
    asked, times = entities(4, 24)
    for index in store._indexes.values():
        assert index.floor == (STEPS * EVERY - HORIZON)
    many = reader.read(asked, times)
    alone = range(0, len(asked), 3)  # each by itself is read from the file anew
    ones = {place: reader.read([asked[place]], times[place]) for place in alone}
    reads = [(many.values, many.status, {place: place for place in range(len(asked))})]
    reads += [(one.values, one.status, {place: 0}) for place, one in ones.items()]
    for name, view in VIEWS.items():
        assert len(view.features) > 5
        for feature in view.features:
            for place, (entity, at) in enumerate(zip(asked, times, strict=True)):
                key = [entity[part] for part in logs.KEYS[name]]
                value = in_process.feature(view, feature, history, key, at)
                status = in_process.status(view, feature, history, key, at)
                found = [
                    (values[feature.name][rows[place]], statuses[feature.name][rows[place]])
                    for values, statuses, rows in reads
                    if place in rows
                ]
                assert {*map(repr, found)} == {repr((value, status))}, (str(feature), at)


def test_memory_is_bounded_and_sums_over_all_stay_exact() -> None:
    source = Source("s", "s", (Column("k", Type.INT64), Column("x", Type.INT64)))
    count, last = AGGREGATES["count"]("x", Type.INT64), AGGREGATES["last_n"]("x", Type.INT64, 2)
    features = (
        Feature("ever", AGGREGATES["sum"]("x", Type.INT64)),
        Feature("most", AGGREGATES["max"]("x", Type.INT64)),
        Feature("recent", count, 8_000),
        Feature("last", last, 4_000),
    )
    view = View("v", source, ("k",), 1_000, features, horizon_ms=8_000)

    def nothing(*_: object) -> tuple[dict[str, pa.Array], dict[str, States]]:
        raise AssertionError

    index = Index(view, nothing)
    dice = random.Random(3)  # noqa: S311 - no secret
    sums, tops, seen = [0] * 20, [-1] * 20, []
    for step in range(1, 601):
        end = step * 1_000
        keys = sorted(dice.sample(range(20), 10))
        values = [dice.randrange(100) for _ in keys]
        for key, value in zip(keys, values, strict=True):
            sums[key], tops[key] = sums[key] + value, max(tops[key], value)
        columns = {"k": keys, END: [end] * 10, "sum_x": values, "max_x": values}
        columns |= {"count_x": [1] * 10}
        tiles = pa.table({name: columns[name] for name in view.tile_schema.names}, view.tile_schema)
        place = {"value_at": [end - 1] * 10, "value_partition": [0] * 10}
        rows = {"k": keys, END: [end] * 10, **place, "value_offset": keys, "value": values}
        kind = view.rows_schema(view.rows[0])
        index.append(tiles, {"last_x": pa.table({n: rows[n] for n in kind.names}, kind)})
        index.trim(end)
        found = index.read([pa.array(range(20))], np.full(20, end))
        assert found["ever"].to_pylist() == sums
        assert found["most"].to_pylist() == [None if top < 0 else top for top in tops]
        seen.append({**index.statistics(), "bytes": index.size_bytes})
    assert max(each["tiles"] for each in seen) <= 10 * 9 + 20 + 10
    assert max(each["bytes"] for each in seen) < 2 * max(each["bytes"] for each in seen[:30])
    assert max(each["last_x_rows"] for each in seen) < 10 * 100
    with pytest.raises(AssertionError):
        index.read([pa.array([1])], np.array([500_000]))


def test_a_store_trims_only_what_is_committed(tmp_path: Path) -> None:
    """In a transaction that brings many panes the file still lacks what a horizon would drop."""
    view = replace(VIEWS["by_number"], shards=1)
    declared = replace(DECLARED, views={"by_number": view}, keys={"by_number": ("g",)})
    store = Store(tmp_path / "s.duckdb", declared)
    empty = [b'{"end": %d, "rows": 0, "unkeyed": 0, "tiles": []}' % (s * EVERY) for s in (1, 50)]
    with store.catalogue.transaction():
        store.add_tiles("by_number", 0, empty[:1])
        store.add_tiles("by_number", 0, empty[1:])
        store.add_tiles("by_number", 0, [])
        assert store._indexes["by_number"].floor < 0
    with store.catalogue.transaction():
        store.add_tiles("by_number", 0, [])
    assert store._indexes["by_number"].floor == 46 * EVERY
    store.catalogue.close()


@pytest.mark.parametrize(
    ("horizon", "feature", "said"),
    [
        ("90s", "sum(x) over 1m", "a horizon of '90s'; a horizon is a multiple of the step"),
        ("59m", "sum(x) over 1h", "'total' looks back 1h; use a horizon of at least 1h"),
        ("1h", "decayed_sum(x, 1m)", "'total' looks back 64m; use a horizon of at least 64m"),
        (
            "1h",
            "first(x)",
            "'total' is of all rows ever, and no sum carries them; give it a",
        ),
        ("1h", "sum(x)", ""),
    ],
)
def test_a_horizon_that_reads_would_look_beyond_is_refused(
    tmp_path: Path, horizon: str, feature: str, said: str
) -> None:
    path = tmp_path / "small.yaml"
    text = made_up.TEXT.replace("sum(x) over 1h", f"'{feature}'")
    path.write_text(text.replace("key: user\n", f"key: user\n    horizon: {horizon}\n"))
    if said:
        with pytest.raises(PipelineError, match=said):
            load(path)
    else:
        assert load(path).views["clicks"].horizon_ms == 3_600_000
