"""Panes are taken once each, however often they are sent; what is none is said."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.feature_store.panes import read_items, read_tiles
from headrace.feature_store.store import Store
from headrace.operators.errors import CorruptError
from tests.feature_store.made_up import EVERY, clicks, declared, pages

ITEM = pa.struct([("a", pa.int64())])


def pane(end: int, *values: int) -> bytes:
    items = ", ".join(f'{{"a": {value}}}' for value in values)
    return f'{{"end": {end}, "rows": {len(values)}, "unkeyed": 0, "x": [{items}]}}'.encode()


def test_panes_sent_again_are_passed_over() -> None:
    again = [pane(1, 1), pane(2, 2), pane(1, 1), pane(2, 2), pane(3, 3), pane(3, 3)]
    read = read_items(again, 0, name="x", item=ITEM)
    assert read is not None
    assert (read.items["a"].to_pylist(), read.end, read.rows) == ([1, 2, 3], 3, 3)
    read = read_items(again, 2, name="x", item=ITEM)
    assert read is not None
    assert (read.items.to_pydict(), read.rows) == ({"a": [3], "end": [3]}, 1)
    assert list(read.again) == [*again[:4], again[5]]
    read = read_items(again, 3, name="x", item=ITEM)
    assert read is not None
    assert (read.items.to_pydict(), read.end, read.rows) == ({"a": [], "end": []}, 3, 0)
    assert list(read.again) == again
    assert read_items([], 3, name="x", item=ITEM) is None


@given(st.data(), st.integers(1, 12))
def test_any_recovery_gives_each_pane_once(data: st.DataObject, count: int) -> None:
    """The writer goes back to any earlier pane any number of times; polls cut it anywhere."""
    backs = data.draw(st.lists(st.tuples(st.integers(1, count), st.integers(0, count)), max_size=4))
    sent: list[int] = []
    following = 1
    for reached, back in [*backs, (count, 0)]:
        sent += range(following, reached + 1)
        following = min(max(1, reached - back), following if not sent else max(sent) + 1)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(sent)))) | {0, len(sent)})
    complete, got = 0, []
    for start, stop in pairwise(cuts):
        read = read_items([pane(i, i) for i in sent[start:stop]], complete, name="x", item=ITEM)
        if read is not None:
            complete = read.end
            got += read.items["a"].to_pylist()
    assert got == list(range(1, max(sent) + 1))


def test_an_empty_pane_is_progress(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.duckdb", declared(tmp_path))
    with store.catalogue.transaction():
        store.add_tiles("clicks", 0, [clicks(EVERY), clicks(2 * EVERY)])
        store.add_tiles("pages", 0, [pages(EVERY)])
    assert (store.complete("clicks"), store.complete("pages")) == (2 * EVERY, 0)
    with store.catalogue.transaction():
        store.add_tiles("pages", 1, [pages(3 * EVERY)])
    assert store.complete("pages") == EVERY  # the shard that is behind
    assert store.catalogue.read("SELECT COUNT(*) AS n FROM views.clicks")["n"][0].as_py() == 0
    store.catalogue.close()


@pytest.mark.parametrize(
    ("message", "found"),
    [
        (b"", "Empty JSON"),
        (b"no JSON", "JSON"),
        (b'{"end": 60000', "JSON"),
        (b'{"end": "soon", "rows": 0, "unkeyed": 0, "x": []}', "JSON"),
        (b'{"end": 60000, "rows": 0, "unkeyed": 0, "x": [{"a": "one"}]}', "JSON"),
        (b'{"end": 60000, "rows": 0, "unkeyed": 0, "x": [{"b": 1}]}', "unexpected"),
        (b'{"end": 60000, "rows": 0, "unkeyed": 0, "x": 7}', "JSON"),
        (b'{"rows": 0, "unkeyed": 0, "x": []}', "does not say where it ends"),
        (b"\n", "1 messages hold 0 objects"),
        (pane(1, 1) + pane(2, 2), "1 messages hold 2 objects"),
    ],
)
def test_what_is_no_pane_is_said(message: bytes, found: str) -> None:
    with pytest.raises(CorruptError, match=found) as corrupt:
        read_items([message], 0, name="x", item=ITEM)
    assert "asked for panes with x" in str(corrupt.value)


def test_the_newest_rows_come_apart(tmp_path: Path) -> None:
    view = declared(tmp_path).views["pages"]
    read = read_tiles(view, [pages(EVERY, a=3, b=-4), pages(2 * EVERY), pages(3 * EVERY, a=5)], 0)
    assert read is not None
    assert read.items.schema == view.tile_schema
    assert read.items["newest_x"].to_pylist() == [3, -4, 5]
    assert read.items["newest_at"].to_pylist() == [EVERY - 1, EVERY - 1, 3 * EVERY - 1]
    assert read.items["end"].to_pylist() == [EVERY, EVERY, 3 * EVERY]
    assert read.end == 3 * EVERY
