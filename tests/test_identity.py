"""A view's identity: what changes a tile changes it, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.operators.identity import feature_identity, version
from tests.feature_store.made_up import TEXT
from tests.test_pipelines import read

STREAMED = TEXT.replace(
    "views:", "streams: {big: {from: click, where: x > 1, dedup: {id: name, within: 1h}}}\nviews:"
).replace("source: click\n    key: user", "source: big\n    key: user")

SAME = {
    "a window more": ("n: count() over 2m,", "n: count() over 2m, m: count() over 1h,"),
    "a window more before": ("n: count() over 2m,", "a: sum(x) over 3m, n: count() over 2m,"),
    "another window": ("n: count() over 2m", "n: count() over 9m"),
    "another feature's name": ("total: sum(x)", "sums: sum(x)"),
    "a text more": ("page: string, x: int64", "page: string, x: int64, note: string"),
    "a derived column that nobody reads": (
        "x: int64}}\nviews",
        "x: int64}, derive: {kind: UPPER(page)}}\nviews",
    ),
    "the idle time": ("click: {columns", "click: {idle: 1m, columns"),
    "partitions": ("click: {columns", "click: {partitions: 4, columns"),
    "the model": ("slots: 1024", "slots: 2048"),
    "another view": ("key: page", "key: [page, user]"),
}
OTHER = {
    "the key": ("key: user", "key: [user, page]"),
    "the step": ("every: 1m", "every: 30s"),
    "the topic": ("click: {columns", "click: {topic: clicks, columns"),
    "lateness": ("click: {columns", "click: {lateness: 1s, columns"),
    "how far ahead": ("click: {columns", "click: {ahead: 1s, columns"),
    "an aggregate more": ("n: count() over 2m,", "n: count() over 2m, m: max(x) over 1h,"),
    "what is aggregated": ("sum(x)", "sum(x * 2)"),
    "a column's type": ("x: int64", "x: float64"),
    "a required column": (
        "user: string, page: string, x",
        "user: string required, page: string, x",
    ),
    "a number more": ("page: string, x: int64", "page: string, x: int64, note: int64"),
    "a derived column that refuses rows": (
        "x: int64}}\nviews",
        "x: int64}, derive: {twice: x * 2}}\nviews",
    ),
    "shards": ("key: user", "shards: 2\n    key: user"),
    "what another feature refuses": ("last_x: latest(x)", "last_x: latest(x), s: max(x * 9)"),
    "the newest row": ("n: count() over 2m,", "n: count() over 2m, a: age(),"),
}
STREAM_OTHER = {
    "the condition": ("x > 1", "x > 2"),
    "the dedup": ("within: 1h}}}", "within: 2h}}}"),
    "a step more": ("where: x > 1", "where: x > 1, sample: {by: name, share: 0.5}"),
    "its source": ("click: {columns", "click: {lateness: 1s, columns"),
}


def clicks(folder: Path, text: str) -> str:
    return version(read(folder, text).views["clicks"])


def changed(text: str, right: str, wrong: str) -> str:
    assert text.count(right) >= 1
    return text.replace(right, wrong, 1)


@pytest.mark.parametrize("name", SAME)
def test_the_version_stays(tmp_path: Path, name: str) -> None:
    assert clicks(tmp_path, changed(TEXT, *SAME[name])) == clicks(tmp_path, TEXT)


@pytest.mark.parametrize("name", OTHER)
def test_the_version_is_another(tmp_path: Path, name: str) -> None:
    assert clicks(tmp_path, changed(TEXT, *OTHER[name])) != clicks(tmp_path, TEXT)


@pytest.mark.parametrize("name", STREAM_OTHER)
def test_what_is_below_a_stream_is_part_of_it(tmp_path: Path, name: str) -> None:
    changes = changed(STREAMED, *STREAM_OTHER[name])
    assert clicks(tmp_path, changes) != clicks(tmp_path, STREAMED) != clicks(tmp_path, TEXT)


def test_the_order_of_features_changes_no_tile(tmp_path: Path) -> None:
    turned = TEXT.replace(
        "n: count() over 2m, total: sum(x) over 1h", "total: sum(x) over 1h, n: count() over 2m"
    )
    one, two = (read(tmp_path, text).views["clicks"] for text in (TEXT, turned))
    assert version(one) == version(two)
    assert one.tile_schema == two.tile_schema


def test_more_rows_of_a_tiles_end_are_another_version(tmp_path: Path) -> None:
    two, three, also = (
        clicks(tmp_path, TEXT.replace("total: sum(x) over 1h", text))
        for text in ('a: "last_n(x, 2)"', 'a: "last_n(x, 3)"', 'b: last(x), a: "last_n(x, 2)"')
    )
    assert two == also != three


def test_a_feature_is_its_aggregate_its_window_and_the_decisions_keys(tmp_path: Path) -> None:
    view = read(tmp_path, TEXT).views["clicks"]
    other = read(tmp_path, TEXT.replace("over 2m", "over 3m")).views["clicks"]
    n, total = view.features
    known = {
        feature_identity(view, n, ["user"]),
        feature_identity(view, n, ["page"]),
        feature_identity(view, total, ["user"]),
        feature_identity(other, other.features[0], ["user"]),
    }
    assert len(known) == 4
    assert feature_identity(other, other.features[1], ["user"]) in known
