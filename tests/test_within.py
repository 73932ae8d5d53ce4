"""Too old means one thing: oracle, history, SQL, online and served agree at the exact bound."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from headrace.feature_store.store import Declared, Store
from headrace.feature_store.versions import table_of
from headrace.operators.engines import in_process
from headrace.operators.status import Status
from headrace.operators.view import END, Feature, View
from headrace.pipelines.feature import parse
from tests import logs
from tests.engines import asked_duckdb, told
from tests.logs import EVERY, SOURCE

WITHIN = 3 * EVERY
VIEW = View(
    "aged",
    SOURCE,
    ("k",),
    EVERY,
    tuple(
        Feature(name, parse(text, SOURCE).aggregate, WITHIN)
        for name, text in {"value": "latest(i) within 3s", "age": "age() within 3s"}.items()
    ),
)
# A key for each place of its newest row around the end of a step; 5,000 is one.
NEWEST = {"before": 4_999, "at": 5_000, "after": 5_001, "end": 5_999, "null": 5_000}
LOG = logs.placed(
    [
        (0, logs.payload(str(at), {"name": '"n"', "k": f'"{key}"', "i": "7"}))
        for key, at in (("before", 1_000), *NEWEST.items())
        if key != "null"
    ]
    + [(1, logs.payload("5000", {"name": '"n"', "k": '"null"'}))]
)
ALIVE_TO = {"before": 7_999, "at": 8_999, "after": 8_999, "end": 8_999, "null": 8_999}
"""The last millisecond at which the newest row counts: b − 3 s ≤ at, b = ⌊t / 1 s⌋ · 1 s."""
ASKS = [
    ((key,), at)
    for key, last in ALIVE_TO.items()
    for at in (5_000, 6_000, last - 1, last, last + 1, last + 2, last + 100 * EVERY)
] + [(("nobody",), 8_000), ((None,), 8_000)]


def wanted(key: str | None, at: int) -> tuple[tuple[int | None, int | None], Status]:
    """Say by hand what is there: value, age, and what they stand for."""
    bound = at // EVERY * EVERY
    if key not in NEWEST or bound <= (1_000 if key == "before" else NEWEST[key]):
        return (None, None), Status.NEVER_SEEN
    newest = NEWEST[key] if bound > NEWEST[key] else 1_000
    if at > (ALIVE_TO[key] if newest == NEWEST[key] else 4_999):
        return (None, None), Status.EXPIRED
    return (None if key == "null" else 7, at - newest), Status.PRESENT


@pytest.fixture
def store(tmp_path: Path) -> Store:
    declared = Declared(EVERY, {"aged": VIEW}, SOURCE, "name", {"aged": ("k",)})
    tiles = pa.Table.from_pylist(
        in_process.tiles(VIEW, in_process.events(SOURCE, LOG).events), VIEW.tile_schema
    )
    made = Store(tmp_path / "store.duckdb", declared)
    with made.catalogue.transaction():
        made.catalogue.append(table_of(made.versions["aged"]), tiles.sort_by(END))
    made.catalogue.close()
    return Store(tmp_path / "store.duckdb", declared)


def test_what_is_asked_is_on_both_sides_of_the_bound() -> None:
    said = [wanted(key, at)[1] for (key,), at in ASKS]
    assert {status: said.count(status) >= 4 for status in Status} == dict.fromkeys(Status, True)
    assert wanted("at", 8_999)[0] == (7, 3_999)
    assert wanted("at", 9_000) == ((None, None), Status.EXPIRED)
    assert wanted("null", 8_999) == ((None, 3_999), Status.PRESENT)


def test_the_oracle_and_history() -> None:
    events = in_process.events(SOURCE, LOG).events
    with told(SOURCE, [VIEW], LOG) as history:
        found = asked_duckdb(history, VIEW, ASKS)
    for place, (key, at) in enumerate(ASKS):
        values, status = wanted(key[0], at)
        oracle = tuple(in_process.feature(VIEW, f, events, key, at) for f in VIEW.features)
        assert (oracle, found[place]) == (values, values), (key, at)
        assert in_process.status(VIEW, VIEW.features[1], events, key, at) == status, (key, at)


def test_online_served_and_sql(store: Store) -> None:
    keys, times = [key for (key,), _ in ASKS], [at for _, at in ASKS]
    answer = store.reader().read([{"k": key} for key in keys], times)
    rows = pa.table({"k": pa.array(keys, pa.string()), "at": pa.array(times, pa.int64())})
    served = store.with_features(rows).select(["value", "age"]).to_pylist()
    for place, (key, at) in enumerate(zip(keys, times, strict=True)):
        values, status = wanted(key, at)
        asked = (key, at)
        assert tuple(served[place].values()) == values, asked
        assert tuple(answer.rows()[place].values()) == values, asked
        assert answer.status["age"][place] == status, asked
        # A null that the newest row itself says is present, not expired.
        assert answer.status["value"][place] == status, asked
        query = f"SELECT value, age FROM features.aged({at}) WHERE k = '{key}'"
        by_sql = [tuple(row.values()) for row in store.catalogue.select(query).to_pylist()]
        assert by_sql == ([] if status is Status.NEVER_SEEN else [values]), asked
    store.catalogue.close()
