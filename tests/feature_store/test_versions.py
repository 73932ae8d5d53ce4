"""A file of the store goes on under another declaration: what is unchanged keeps its tiles."""

from __future__ import annotations

from pathlib import Path

import orjson
import pyarrow as pa
import pytest

from headrace.feature_store.store import Store
from headrace.feature_store.versions import held, widened
from headrace.jobs import assembly
from headrace.operators.errors import CorruptError, StoreError
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


MORE = TEXT.replace("wind: float64}", "wind: float64, gate: string, seats: int64}", 1)


def test_decisions_get_a_column_that_those_of_before_have_not(tmp_path: Path) -> None:
    began(tmp_path)
    store = opened(tmp_path, MORE)
    row = {"partition": 0, "offset": 1, "at": 5 * EVERY, "name": "d1", "user": "u", "page": "a"}
    pane = {"end": 6 * EVERY, "rows": 1, "unkeyed": 0, "decisions": [{**row, "gate": "B2"}]}
    with store.catalogue.transaction():
        store.add_decisions([orjson.dumps(pane)])
    asked = "SELECT id, gate, seats FROM decisions ORDER BY seq"
    is_there = [
        {"id": "d0", "gate": None, "seats": None},
        {"id": "d1", "gate": "B2", "seats": None},
    ]
    assert store.catalogue.read(asked).to_pylist() == is_there
    assert widened(store.catalogue) == {"gate": 1, "seats": 1}
    store.catalogue.close()
    store = opened(tmp_path, MORE)
    assert store.catalogue.read(asked).to_pylist() == is_there
    assert store.counts["decisions"] == 2


def test_a_pane_that_comes_again_with_a_column_more_is_the_pane_that_was(tmp_path: Path) -> None:
    began(tmp_path)
    store = opened(tmp_path, MORE)
    row = {"partition": 0, "offset": 0, "at": 3 * EVERY + 1, "name": "d0", "page": "a", "hour": 7}

    def again(**more: object) -> bytes:
        pane = {"end": 4 * EVERY, "rows": 1, "unkeyed": 0, "decisions": [{**row, **more}]}
        return orjson.dumps(pane)

    with store.catalogue.transaction():
        store.add_decisions([again(user="u", gate="B2")])
    assert store.counts["decisions"] == 1
    with pytest.raises(CorruptError, match="had come before"), store.catalogue.transaction():
        store.add_decisions([again(user="v", gate="B2")])


REFUSED = {
    "a column of decisions goes": (
        (", wind: float64}", "}"),
        r"decisions without the column 'wind'; the decisions that it holds have it; declare it as",
    ),
    "a column of decisions is of another type": (
        ("wind: float64}", "wind: int64}"),
        r"'wind' of decisions as BIGINT; what is kept of it is DOUBLE",
    ),
    "a new column of decisions may not be missing": (
        ("wind: float64}", "wind: float64, gate: string required}"),
        r"holds the decisions of another declaration; start in a fresh state folder",
    ),
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
