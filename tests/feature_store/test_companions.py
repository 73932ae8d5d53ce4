"""Several rows a tile in the store: from panes to tables, indexes, predictions, and back."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import orjson
import pyarrow as pa
import pytest

from headrace.feature_store import store as store_module
from headrace.feature_store.panes import read_tiles
from headrace.feature_store.store import Store
from headrace.jobs import assembly
from headrace.operators.errors import CorruptError, StoreError
from headrace.pipelines.load import load
from tests.feature_store.made_up import EVERY, TEXT

MORE = TEXT.replace(
    "features: {n: count() over 2m, total: sum(x) over 1h}",
    "features: {kinds: count_distinct(x) over 2m, often: 'top_k(page, 2)', "
    "first_page: first(page), lasts: 'last_n(page, 2) over 1h', since: time_since_last(page), "
    "n: count()}",
)
Row = tuple[str, int, str | None]
"""User, x, page: an event of a pane."""


def declared(folder: Path) -> store_module.Declared:
    path = folder / "more.yaml"
    path.write_text(MORE)
    return assembly.declared(load(path))


def pane(end: int, *rows: Row) -> bytes:
    """Write a pane of `clicks` as the stream does; the events of a pane are a millisecond apart."""
    users: dict[str, list[tuple[int, int, str | None]]] = {}
    for place, (user, x, page) in enumerate(rows):
        users.setdefault(user, []).append((end - EVERY + place, x, page))
    tiles = []
    for user, events in users.items():
        known = [(at, page) for at, _, page in events if page is not None]
        entries = [f'{{"o":"{at:015}{0:05}{at:019}","v":"{page}"}}' for at, page in known]
        tiles.append(
            {
                "k0": user,
                "p0": len(events),
                "e0": entries[0] if entries else None,
                "e1": ",".join(entries[-2:]) or None,
            }
        )
    message = {"end": end, "rows": len(rows), "unkeyed": 0, "tiles": tiles}
    message["b0"] = _bins([(user, page) for user, _, page in rows if page is not None])
    message["b1"] = _bins([(user, x) for user, x, _ in rows])
    return orjson.dumps(message)


def _bins(pairs: Sequence[tuple[str, object]]) -> list[Mapping[str, object]]:
    return [
        {"k0": user, "b": value, "n": pairs.count((user, value))}
        for user, value in dict.fromkeys(pairs)
    ]


def asked(store: Store, *asks: tuple[str, int]) -> list[dict[str, object]]:
    names = [feature.name for feature in store.declared.views["clicks"].features]
    rows = [{"at": at, "user": user, "page": "a"} for user, at in asks]
    schema = pa.schema([("at", pa.int64()), ("user", pa.string()), ("page", pa.string())])
    found: list[dict[str, object]] = (
        store.with_features(pa.Table.from_pylist(rows, schema)).select(names).to_pylist()
    )
    return found


def take(store: Store, *panes: bytes) -> None:
    with store.catalogue.transaction():
        store.add_tiles("clicks", 0, panes)


def test_rows_of_tiles_become_tables_and_features(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.duckdb", declared(tmp_path))
    take(store, pane(EVERY, ("u", 5, "b"), ("u", 5, "a"), ("v", 7, None), ("u", 6, "a")))
    take(store, pane(2 * EVERY, ("u", 5, "c"), ("v", -1, "é")), pane(3 * EVERY))
    assert asked(store, ("u", EVERY), ("u", 2 * EVERY + 9), ("u", 4 * EVERY), ("v", EVERY)) == [
        {
            "kinds": 2,
            "often": ["a", "b"],
            "first_page": "b",
            "lasts": ["a", "a"],
            "since": EVERY - 3,
        }
        | {"n": 3},
        {
            "kinds": 2,
            "often": ["a", "b"],
            "first_page": "b",
            "lasts": ["a", "c"],
            "since": EVERY + 9,
        }
        | {"n": 4},
        {"kinds": 0, "often": ["a", "b"], "first_page": "b", "lasts": ["a", "c"]}
        | {"since": 3 * EVERY, "n": 4},
        {"kinds": 1, "often": None, "first_page": None, "lasts": None, "since": None, "n": 1},
    ]
    tables = {
        name: store.catalogue.read(f"SELECT * FROM views.clicks__{name} ORDER BY ALL").to_pylist()
        for name in ("values_x", "values_page", "first_page", "last_page")
    }
    assert tables["values_x"] == [
        {"user": "u", "end": EVERY, "bin": 5, "n": 2},
        {"user": "u", "end": EVERY, "bin": 6, "n": 1},
        {"user": "u", "end": 2 * EVERY, "bin": 5, "n": 1},
        {"user": "v", "end": EVERY, "bin": 7, "n": 1},
        {"user": "v", "end": 2 * EVERY, "bin": -1, "n": 1},
    ]
    assert [len(rows) for rows in tables.values()] == [5, 4, 3, 4]
    assert tables["last_page"][0] == {
        **{"user": "u", "end": EVERY, "value_at": 1, "value_partition": 0, "value_offset": 1},
        "value": "a",
    }
    assert store.status()["views"]["clicks"] == {  # type: ignore[index]  # the views' own part
        **{"keys": 2, "tiles": 4, "complete": 3 * EVERY},
        **{"values_x_rows": 5, "values_page_rows": 4, "first_page_rows": 3, "last_page_rows": 4},
    }
    store.catalogue.close()


def test_a_store_that_is_opened_again_has_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its indexes are loaded in parts, each with its own part of the rows."""
    dice = random.Random(5)  # noqa: S311 - no secret
    store = Store(tmp_path / "store.duckdb", declared(tmp_path))
    users, pages = ("u", "v", "w"), ("a", "b", "c", None)
    for step in range(1, 40):
        rows = [
            (dice.choice(users), dice.randrange(4), dice.choice(pages))
            for _ in range(dice.randrange(6))
        ]
        take(store, pane(step * EVERY, *rows))
    asks = [(user, at) for user in ("u", "v", "x") for at in range(0, 45 * EVERY, 7_777)]
    truth = asked(store, *asks)
    assert len(set(map(repr, truth))) > 40
    for at in range(0, 45 * EVERY, 17_777):
        found = store.catalogue.select(f"SELECT * FROM features.clicks({at})").to_pylist()
        known = [(row.pop("user"), row.pop("at")) for row in found]
        assert found == asked(store, *known)
    store.catalogue.close()
    between = store_module._between_ends
    for rows_at_once in (1, 3, 1_000_000):

        def parts(batches: pa.RecordBatchReader, most: int = rows_at_once) -> Iterator[pa.Table]:
            small = batches.read_all().to_batches(max_chunksize=most)
            found = list(between(pa.RecordBatchReader.from_batches(batches.schema, small)))
            assert len(found) > 10 or most > 3 or not small
            return iter(found)

        monkeypatch.setattr(store_module, "_between_ends", parts)
        again = Store(tmp_path / "store.duckdb", declared(tmp_path))
        assert asked(again, *asks) == truth
        again.catalogue.close()


def test_lists_are_kept_with_predictions(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.duckdb", declared(tmp_path))
    take(store, pane(EVERY, ("u", 5, "b"), ("u", 5, "a")))
    decision = {"partition": 0, "offset": 0, "at": EVERY, "name": "d", "user": "u", "page": "a"}
    message = {"end": 2 * EVERY, "rows": 1, "unkeyed": 0, "decisions": [decision]}
    with store.catalogue.transaction():
        store.add_decisions([orjson.dumps(message)])
        empty = orjson.dumps({"end": 9 * EVERY, "rows": 0, "unkeyed": 0, "tiles": []})
        for shard in (0, 1):
            store.add_tiles("pages", shard, [empty])
        ready = store.take_ready()
        ready = ready.append_column("p", pa.array([0.5])).append_column("version", pa.array([1]))
        store.add_predictions(ready)
    (kept,) = store.catalogue.read("SELECT often, lasts, kinds FROM predictions").to_pylist()
    assert kept == {"often": ["a", "b"], "lasts": ["b", "a"], "kinds": 1}
    (sent,) = next(iter(store.predictions_after(-1))).to_pylist()
    assert sent["lasts"] == ["b", "a"]
    store.catalogue.close()


def test_a_row_without_its_tile_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.duckdb", declared(tmp_path))
    alone = orjson.loads(pane(EVERY, ("u", 5, "b")))
    alone["b0"][0]["k0"] = "w"
    with pytest.raises(StoreError, match="one that ends at 60000 has no tile"):
        take(store, orjson.dumps(alone))
    assert store.catalogue.read("SELECT * FROM views.clicks__values_x").num_rows == 0
    store.catalogue.close()


def test_rows_that_are_none_are_said(tmp_path: Path) -> None:
    view = declared(tmp_path).views["clicks"]
    broken = orjson.loads(pane(EVERY, ("u", 5, "b")))
    broken["b0"][0]["b"] = 7
    with pytest.raises(CorruptError, match="asked for panes with tiles"):
        read_tiles(view, [orjson.dumps(broken)], 0)
