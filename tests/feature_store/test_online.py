"""Online answers: values and statuses as the oracle has them, for rows and for tables."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pytest

from headrace.feature_store.index import Index
from headrace.feature_store.online import OnlineReader
from headrace.operators.engines import in_process
from headrace.operators.engines.in_process import Event
from headrace.operators.errors import StoreError, UnknownName
from headrace.operators.functions import Value
from headrace.operators.status import STATUS_SUFFIX, Status
from headrace.operators.view import END
from tests.engines import rows_in_process
from tests.feature_store.test_as_of_a_time import events
from tests.logs import EVERY, KEYS, VIEWS

COMPLETE = 13 * EVERY
FEATURES = [feature.name for view in VIEWS.values() for feature in view.features]


@pytest.fixture(scope="module")
def history() -> list[Event]:
    return events(5, 150)


@pytest.fixture(scope="module")
def indexes(history: list[Event]) -> dict[str, Index]:
    """Index the tiles of every view."""
    made = {name: Index(view) for name, view in VIEWS.items()}
    for name, view in VIEWS.items():
        tiles = pa.Table.from_pylist(in_process.tiles(view, history), view.tile_schema)
        made[name].append(tiles.sort_by(END), rows_in_process(view, history))
    return made


@pytest.fixture(scope="module")
def reader(indexes: dict[str, Index]) -> OnlineReader:
    return OnlineReader(indexes, KEYS, FEATURES, lambda _: COMPLETE)


def entities(seed: int, count: int) -> tuple[list[dict[str, Value]], list[int]]:
    """Choose entities, some of them of no key, and times before, within and after the log."""
    dice = random.Random(seed)  # noqa: S311 - no secret
    chosen: list[dict[str, Value]] = [
        {
            "k": dice.choice(("a", "é", "nobody", None)),
            "h": dice.choice(("a", "", None)),
            "g": dice.choice((0, 7, -1, None)),
        }
        for _ in range(count)
    ]
    return chosen, [dice.randrange(30 * EVERY) for _ in range(count)]


def test_values_and_statuses_are_the_oracles(reader: OnlineReader, history: list[Event]) -> None:
    asked, times = entities(1, 60)
    answer = reader.read(asked, times)
    status = answer.status
    assert [*answer.values] == [*status] == FEATURES
    seen = set()
    for name, view in VIEWS.items():
        for feature in view.features:
            keys = [[entity[part] for part in KEYS[name]] for entity in asked]
            truth = [
                (
                    in_process.feature(view, feature, history, key, at),
                    in_process.status(view, feature, history, key, at),
                )
                for key, at in zip(keys, times, strict=True)
            ]
            found = zip(answer.values[feature.name], status[feature.name], strict=True)
            assert repr(list(found)) == repr(truth), str(feature)
            seen |= {status for _, status in truth}
    assert seen == set(Status)


def test_one_entity_many_and_a_table_are_the_same(reader: OnlineReader) -> None:
    asked, times = entities(2, 40)
    answer = reader.read(asked, times)
    for place, (entity, at) in enumerate(zip(asked, times, strict=True)):
        one = reader.read([entity], at)
        assert repr(one.rows()) == repr(answer.rows()[place : place + 1])
        assert [one.status[name][0] for name in FEATURES] == [
            answer.status[name][place] for name in FEATURES
        ]
    columns = {name: [entity[name] for entity in asked] for name in ("k", "h", "g")}
    kinds = {"k": pa.string(), "h": pa.string(), "g": pa.int64()}
    table = pa.table({name: pa.array(columns[name], kinds[name]) for name in columns})
    found = reader.read_table(table, np.array(times), status=True)
    for name in FEATURES:
        assert repr(found[name].to_pylist()) == repr(answer.values[name])
        assert found[name + STATUS_SUFFIX].to_pylist() == answer.status[name]
    again = reader.read_table(table.append_column("at", pa.array(times)))
    assert again.select(FEATURES).equals(found.select(FEATURES))


def test_an_answer_says_how_fresh_it_is(indexes: dict[str, Index]) -> None:
    reader = OnlineReader(indexes, KEYS, ["by_key:by_key_0"], lambda _: COMPLETE)
    assert reader.features == ("by_key_0",)
    assert reader.keys == ("k",)
    late = reader.read([{"k": "a"}], COMPLETE + 2 * EVERY + 1)
    assert late.stale_ms == {"by_key": 2 * EVERY}
    now = reader.read([{"k": "a", "more": object()}])
    assert (now.complete, now.stale_ms) == ({"by_key": COMPLETE}, {"by_key": 0})
    assert now.values == reader.read([{"k": "a"}], [COMPLETE]).values
    assert reader.read([]).values == {"by_key_0": []}


def test_what_cannot_be_asked_is_said(reader: OnlineReader, indexes: dict[str, Index]) -> None:
    with pytest.raises(UnknownName, match=r"the feature 'by_kez_0'.*did you mean 'by_key_0'"):
        OnlineReader(indexes, KEYS, ["by_kez_0"], lambda _: 0)
    with pytest.raises(UnknownName, match=r"known.*'by_key:by_key_0'"):
        OnlineReader(indexes, KEYS, ["by_pair:by_key_0"], lambda _: 0)
    with pytest.raises(StoreError, match=r"by 'g', int; an entity has no such column"):
        reader.read([{"k": "a", "h": "a"}])
    for wrong in ("7", 7.0, True, b"", [7]):
        with pytest.raises(StoreError, match=r"by 'g', int; .*as the source has it"):
            reader.read([{"k": "a", "h": "a", "g": wrong}])
    with pytest.raises(StoreError, match=r"of 1 entities; there are 2 times"):
        reader.read([{"k": "a", "h": "a", "g": 7}], [1, 2])
