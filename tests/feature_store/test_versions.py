"""A file of the store goes on under another declaration: what is unchanged keeps its tiles."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from headrace.feature_store.store import Store
from headrace.feature_store.versions import held
from headrace.jobs import assembly
from headrace.operators.errors import StoreError
from headrace.pipelines.load import load
from tests.feature_store.made_up import EVERY, TEXT, clicks, decisions, pages

WINDOW = TEXT.replace("n: count() over 2m,", "n: count() over 2m, m: count() over 3m,")


def opened(folder: Path, text: str = TEXT) -> Store:
    path = folder / "small.yaml"
    path.write_text(text)
    return Store(folder / "store.duckdb", assembly.declared(load(path)))


def began(folder: Path) -> None:
    """Leave a store that has three panes and one prediction."""
    store = opened(folder)
    decide(store, 1, (3 * EVERY + 1, 0, 0, "d0"))
    store.catalogue.close()


def decide(store: Store, pane: int, row: tuple[int, int, int, str]) -> None:
    with store.catalogue.transaction():
        ends = [(pane + i) * EVERY for i in range(3)]
        store.add_tiles("clicks", 0, [clicks(end, u=end // EVERY) for end in ends])
        for shard in (0, 1):
            panes = [pages(end, **({} if shard else {"a": end // EVERY})) for end in ends]
            store.add_tiles("pages", shard, panes)
        store.add_decisions([decisions(row[0] // EVERY * EVERY + EVERY, row)])
        ready = store.take_ready()
        ready = ready.append_column("p", pa.array([0.5] * ready.num_rows, pa.float64()))
        version = pa.array([0] * ready.num_rows, pa.int64())
        store.add_predictions(ready.append_column("version", version))


def test_a_new_window_reads_the_tiles_that_are_there(tmp_path: Path) -> None:
    began(tmp_path)
    store = opened(tmp_path, WINDOW)
    assert store.complete("clicks") == 3 * EVERY
    decide(store, 4, (5 * EVERY, 0, 1, "d1"))
    found = store.catalogue.read("SELECT id, n, m FROM predictions ORDER BY seq").to_pylist()
    assert found == [{"id": "d0", "n": 2, "m": None}, {"id": "d1", "n": 2, "m": 3}]
    since = "SELECT name, since FROM versions WHERE kind = 'feature' ORDER BY since, name"
    assert store.catalogue.read(since).to_pylist() == [
        {"name": "last_x", "since": 0},
        {"name": "n", "since": 0},
        {"name": "total", "since": 0},
        {"name": "m", "since": 1},
    ]


def test_a_feature_that_was_away_counts_again_from_where_it_is_back(tmp_path: Path) -> None:
    began(tmp_path)
    for text in (TEXT, TEXT.replace(", total: sum(x) over 1h", ", t: sum(x) over 1h"), TEXT):
        opened(tmp_path, text).catalogue.close()
    store = opened(tmp_path)
    rows = store.catalogue.read(
        "SELECT name, identity = '' AS gone, since FROM versions WHERE kind = 'feature'"
    ).to_pylist()
    assert [(row["gone"], row["since"]) for row in rows if row["name"] == "total"] == [
        (False, 0),
        (True, 1),
        (False, 1),
    ]


def test_a_removed_view_stays_until_it_is_dropped(tmp_path: Path) -> None:
    began(tmp_path)
    start = TEXT.index("  pages:\n")
    store = opened(tmp_path, TEXT[:start] + TEXT[TEXT.index("decision:") :])
    old = next(name for name in held(store.catalogue) if name.startswith("pages-"))
    assert store.catalogue.select(f'SELECT * FROM tiles."{old}"').num_rows == 3
    store.catalogue.close()
    assert opened(tmp_path).complete("pages") == 3 * EVERY


REFUSED = {
    "another aggregate": (
        ("sum(x) over 1h", "max(x) over 1h"),
        r"its view 'clicks' is new, and the stream has begun; run `headrace apply`",
    ),
    "other decisions": (
        ("ask: {columns", "ask: {lateness: 1s, columns"),
        r"holds the decisions of another declaration; start in a fresh state folder",
    ),
    "a feature of another type": (
        ("n: count() over 2m", "n: rate() over 2m"),
        r"'n' of predictions as DOUBLE; what is kept of it is BIGINT; give",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_lack_its_history_or_its_meaning_is_refused(tmp_path: Path, name: str) -> None:
    change, said = REFUSED[name]
    began(tmp_path)
    with pytest.raises(StoreError, match=said):
        opened(tmp_path, TEXT.replace(*change))
    store = opened(tmp_path)
    assert store.counts["predictions"] == 1
    assert held(store.catalogue) == set(store.versions.values())
