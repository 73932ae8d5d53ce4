"""``features.<view>(t)``: every aggregate by the store's SQL, by its index and by the oracle."""

from __future__ import annotations

import random

import pyarrow as pa
import pytest

from headrace.feature_store.store import Declared, Store
from headrace.feature_store.versions import table_of
from headrace.operators.aggregates import AGGREGATES
from headrace.operators.engines import in_process
from headrace.operators.engines.in_process import Event
from headrace.operators.functions import Value
from headrace.operators.types import Type
from headrace.operators.view import END, View, bound
from tests import logs
from tests.engines import rows_in_process
from tests.logs import EVERY, KEYS, SOURCE, VIEWS

_SAID = ("k", "h", "g", "i", "w", "c", "x", "z", "s", "b", "n", "m")


def events(seed: int, count: int) -> list[Event]:
    """Make events of few keys, with what is hard to add up in their columns."""
    dice = random.Random(seed)  # noqa: S311 - no secret
    log = []
    for place in range(count):
        cells = {name: dice.choice(logs.CELLS[name]) for name in _SAID}
        few = {"name": '"id"', "k": dice.choice(('"a"', '"é"')), "h": dice.choice(('"a"', '""'))}
        few |= {"g": dice.choice(("0", "7")), "w": dice.choice(("3", "-1", "9007199254740993"))}
        at = 12 * EVERY * place // count + dice.randrange(EVERY)
        log.append((dice.randrange(2), logs.payload(str(at), {**cells, **few})))
    return in_process.events(SOURCE, logs.placed(log)).events


@pytest.fixture(scope="module")
def history() -> list[Event]:
    return events(3, 200)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, history: list[Event]) -> Store:
    """Open a store whose file has the tiles of every view."""
    declared = Declared(EVERY, VIEWS, SOURCE, "name", KEYS)
    path = tmp_path_factory.mktemp("as_of") / "store.duckdb"
    store = Store(path, declared)
    with store.catalogue.transaction():
        for name, view in VIEWS.items():
            tiles = in_process.tiles(view, history)
            store.catalogue.append(
                table_of(store.versions[name]),
                pa.Table.from_pylist(tiles, view.tile_schema).sort_by(END),
            )
            for rows, table in rows_in_process(view, history).items():
                companion = next(each for each in view.rows if each.name == rows)
                store.catalogue.append(table_of(store.versions[name], companion.name), table)
    store.catalogue.close()
    return Store(path, declared)


def test_every_aggregate_is_in_a_view() -> None:
    used = {each.aggregate.name for view in VIEWS.values() for each in view.features}
    assert used == set(AGGREGATES)


@pytest.mark.parametrize("name", VIEWS)
def test_sql_index_and_oracle_say_the_same(store: Store, history: list[Event], name: str) -> None:
    view = VIEWS[name]
    features = [feature.name for feature in view.features]
    compared = 0
    for at in (EVERY - 1, EVERY, 12 * EVERY + 1, 30 * EVERY):
        found = store.catalogue.select(f"SELECT * FROM features.{name}({at})")
        assert found.column_names == [*view.key, "at", *features]
        asked = store.with_features(_decisions(view, found))
        told = found.select(features).to_pylist()
        assert repr(told) == repr(asked.select(features).to_pylist())
        keys = [[row[part] for part in view.key] for row in found.to_pylist()]
        assert keys == _known(view, history, at)
        truth = [
            {f.name: in_process.feature(view, f, history, key, at) for f in view.features}
            for key in keys
        ]
        assert repr(told) == repr(truth)
        compared += len(keys)
    assert compared >= 6


def _known(view: View, history: list[Event], at: int) -> list[list[Value]]:
    """Give the keys that have an event before b."""
    found = [
        tuple(event.values[part] for part in view.key)
        for event in history
        if event.at < bound(at, EVERY)
    ]
    return sorted(list(key) for key in set(found) if None not in key)


def _decisions(view: View, found: pa.Table) -> pa.Table:
    """Give rows with `at` and the columns of every view's key, null but for this one's."""
    rows = found.select(["at", *view.key])
    for other in ("k", "h", "g"):
        if other not in view.key:
            kind = Type.INT64 if other == "g" else Type.STRING
            rows = rows.append_column(other, pa.nulls(rows.num_rows, kind.arrow))
    return rows
