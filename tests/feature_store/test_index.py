"""The hot index by itself: long runs, whole appends beside reads, keys that look alike."""

from __future__ import annotations

import threading
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from headrace.feature_store.formula import Formula
from headrace.feature_store.index import Index
from headrace.feature_store.keys import Keys
from headrace.operators.aggregates import AGGREGATES
from headrace.operators.source import Column, Source
from headrace.operators.types import Type
from headrace.operators.view import END, Feature, View

SOURCE = Source("s", "s", (Column("k", Type.INT64), Column("x", Type.FLOAT64)))
WINDOWS = (None, 1, 31, 32, 33, 100, 1_024, 2_500, 6_000)
NAMES = ("min", "max", "count", "sum")


def _view() -> View:
    features = tuple(
        Feature(f"{name}_{window}", AGGREGATES[name]("x", Type.FLOAT64), window)
        for window, name in product(WINDOWS, NAMES)
    )
    return View("v", SOURCE, ("k",), 1, features)


def _tiles(view: View, keys: list[int], ends: list[int], values: list[float | None]) -> pa.Table:
    known = [value is not None for value in values]
    sums = [round((value or 0) * 1_000_000) for value in values]
    columns = {"k": keys, END: ends, "min_x": values, "max_x": values}
    columns |= {"count_x": [int(each) for each in known], "sum_x": sums}
    return pa.table({name: columns[name] for name in view.tile_schema.names}, view.tile_schema)


@pytest.mark.parametrize("expected", [None, 1.0, 0.5, 2.0])
def test_extremes_and_sums_over_long_runs_are_the_plain_ones(expected: float | None) -> None:
    """Runs of thousands of tiles, appended in parts of any size: moved, compacted, by blocks.

    Also where so many times what comes was expected, of keys that do not come, too.
    """
    dice = np.random.default_rng(5)
    view = _view()
    index, count = Index(view), 9_000
    keys = dice.choice(3, count, p=(0.7, 0.25, 0.05))
    values = np.round(dice.normal(0, 1e6, count) * dice.choice((1, 1e-3), count), 6)
    null = dice.random(count) < 0.2
    if expected is not None:
        counts = [int(expected * (keys == key).sum()) for key in range(3)]
        index.expect(pa.table({"k": [0, 9, 1, 2], "tiles": [counts[0], 5, *counts[1:]]}))
    start = 0
    while start < count:
        stop = min(count, start + int(dice.choice((1, 7, 300, 2_000))))
        part = slice(start, stop)
        shown = [None if n else float(v) for v, n in zip(values[part], null[part], strict=True)]
        index.append(_tiles(view, keys[part].tolist(), [*range(start + 1, stop + 1)], shown))
        start = stop
    asked = dice.integers(0, 4, 400), dice.integers(0, count + 500, 400)
    found = index.read([pa.array(asked[0])], asked[1])
    for place, (key, at) in enumerate(zip(*asked, strict=True)):
        for window in WINDOWS:
            first = 0 if window is None else max(0, at - window)
            here = slice(first, at)
            mine = values[here][(keys[here] == key) & ~null[here]]
            truth = (mine.min(), mine.max()) if len(mine) else (None, None)
            told = tuple(found[f"{name}_{window}"][place].as_py() for name in NAMES)
            total = sum(round(value * 1_000_000) for value in mine.tolist()) / 1_000_000
            assert told == (*truth, len(mine), total), (key, at, window)


def test_a_reader_sees_all_of_an_append_or_nothing() -> None:
    view = _view()
    index, keys = Index(view), list(range(50))
    failed: list[object] = []
    stop = threading.Event()

    def read() -> None:
        column, at = pa.array(keys), np.full(len(keys), 10**6)
        while not stop.is_set():
            found = index.read([column], at)
            if any(len(set(found[f"{name}_None"].to_pylist())) != 1 for name in NAMES):
                failed.append({name: column.to_pylist() for name, column in found.items()})

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for end in range(1, 400):
        index.append(_tiles(view, keys, [end] * len(keys), [float(end % 7)] * len(keys)))
    stop.set()
    for reader in readers:
        reader.join()
    assert not failed
    assert index.read([pa.array([7])], np.array([10**6]))["count_None"].to_pylist() == [399]


@pytest.mark.parametrize("many", [False, True])
def test_keys_that_look_alike_are_apart(many: bool) -> None:
    """As texts joined by anything these would be the same; and 1 is not true."""
    texts = ["a", "a|", "|", "", "b", "a|b", None, "1", "true"]
    pairs = [*product(texts, texts)] * (100 if many else 1)
    columns = [pa.array([pair[i] for pair in pairs], pa.string()) for i in (0, 1)]
    keys = Keys()
    slots = keys.slots(columns, add=True)
    known: dict[object, int] = {}
    for pair, slot in zip(pairs, slots.tolist(), strict=True):
        assert slot == (-1 if None in pair else known.setdefault(pair, slot))
    assert sorted(known.values()) == [*range(64)]
    assert keys.slots(columns, add=False).tolist() == slots.tolist()
    mixed = Keys()
    kinds = [pa.array([True, False, True, None]), pa.array([1, 0, 0, 1])]
    kinds.append(pa.array(["1", "0", "", "x"]))
    assert mixed.slots(kinds, add=True).tolist() == [0, 1, 2, -1]
    assert [mixed.slot(key) for key in ((True, 1, "1"), (True, 1, "0"))] == [0, None]
    numbers = Keys()
    ends = pa.array([2**63 - 1, -(2**63), 0, None])
    assert numbers.slots([ends], add=True).tolist() == [0, 1, 2, -1]
    assert numbers.slots([ends], add=False).tolist() == [0, 1, 2, -1]


def test_what_no_steps_make_is_left_to_numpy() -> None:
    formula = Formula()
    x: Any = formula.whole()
    y: Any = formula.real()
    ones = np.ones(len(x), np.bool_)
    assert formula.traced(lambda: (x + 1, ones)) is not None
    kept = len(formula.wholes), len(formula.reals), len(formula.steps)
    for result in (
        lambda: (x // 2, ones),
        lambda: (np.divmod(x, 2)[0], ones),
        lambda: (np.exp(y), ones),
        lambda: (x[x > 0], ones),
        lambda: (x if x else y, ones),
        lambda: (np.sort(x), ones),
        lambda: (y.astype(np.int64), ones),
        lambda: (x.view(np.float64), ones),
        lambda: (np.zeros(3), ones),
        lambda: (np.where(x, x, x), ones),
    ):
        assert formula.traced(result) is None
        assert (len(formula.wholes), len(formula.reals), len(formula.steps)) == kept
