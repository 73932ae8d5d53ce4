"""Outlier scores: their cases, any cut of the rows, and their state."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest

from headrace.operators.errors import EnvironmentProblem, UnknownName
from headrace.operators.evaluation import EvaluationError, State
from headrace.operators.outliers import OUTLIERS, HalfSpaceTrees, Outliers, RobustZ
from tests.evaluation.tables import Case, tables

TABLES = tables("outliers")
RIVER = pytest.mark.skipif(
    importlib.util.find_spec("river") is None,
    reason="no river found: it comes with the extra 'outliers'",
)
LIMITS = {"x": (-10.0, 10.0), "y": (-10.0, 10.0)}
KINDS: list[Any] = [
    pytest.param(lambda: RobustZ("x", refresh=7, least=20), id="robust_z"),
    pytest.param(lambda: RobustZ("x", refresh=1), id="robust_z at every row"),
    pytest.param(
        lambda: HalfSpaceTrees(LIMITS, trees=5, height=5, window=50, seed=3),
        id="half_space_trees",
        marks=RIVER,
    ),
]
Make = Callable[[], Outliers]


def test_the_tables_are_of_what_there_is() -> None:
    assert set(TABLES) == set(OUTLIERS)


@pytest.mark.parametrize(
    ("name", "case"),
    [
        pytest.param(
            name,
            case,
            id=f"{name}: {case.name}",
            marks=[RIVER] if name == "half_space_trees" else [],
        )
        for name, cases in TABLES.items()
        for case in cases
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
def test_rows_have_their_scores(name: str, case: Case, at_once: bool) -> None:
    kind: Any = OUTLIERS[name]
    outliers = kind(**case.told)
    if at_once:
        found = outliers.follow(case.columns).to_pylist()
    else:
        each = zip(*case.columns.values(), strict=True)
        rows = [dict(zip(case.columns, ([cell] for cell in row), strict=True)) for row in each]
        found = [outliers.follow(row)[0].as_py() for row in rows]
    assert case.agrees(found)


def drawn(n: int, seed: int = 0) -> dict[str, list[float | None]]:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(0, 2, n), rng.normal(3, 1, n)
    x[::97] += 9
    columns = {"x": x.tolist(), "y": y.tolist()}
    columns["x"][5] = None
    return columns


def through_json(outliers: Outliers) -> Outliers:
    state = outliers.state()
    arrays = {name: array.copy() for name, array in state.arrays.items()}
    return outliers.from_state(State(arrays, orjson.loads(orjson.dumps(state.facts))))


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("sizes", [(1,), (13, 0, 50), (200,)])
def test_cuts_and_restarts_change_nothing(make: Make, sizes: tuple[int, ...]) -> None:
    columns = drawn(400)
    whole = make().follow(columns).to_pylist()
    outliers, begin = make(), 0
    found: list[float | None] = []
    while begin < 400:
        size = sizes[len(found) % len(sizes)] or 1
        part = {name: column[begin : begin + size] for name, column in columns.items()}
        found += outliers.follow(part).to_pylist()
        outliers, begin = through_json(outliers), begin + size
    assert found == whole
    assert sum(score is None for score in whole) < 120


@pytest.mark.parametrize("make", KINDS)
def test_the_strange_rows_score_highest(make: Make) -> None:
    columns = drawn(2_000)
    scores = make().follow(columns).to_pylist()
    ranked = sorted(range(500, 2_000), key=lambda i: scores[i], reverse=True)
    strange = [i for i in range(500, 2_000) if i % 97 == 0]
    assert len(strange) == 15
    assert len(set(ranked[:60]) & set(strange)) >= 10


def test_robust_z_is_that_of_numpy() -> None:
    columns = drawn(600, 2)
    del columns["x"][5]
    x = np.array(columns["x"], np.float64)
    scores = RobustZ("x", refresh=1, least=10).follow({"x": x}).to_pylist()
    assert scores[:10] == [None] * 10
    for i in range(300, len(x)):
        median = np.median(x[:i])
        deviation = np.median(np.abs(x[:i] - median)) * 1.4826
        assert scores[i] == pytest.approx(abs(x[i] - median) / deviation, abs=0.1, rel=0.05)


def test_robust_z_merges() -> None:
    x = drawn(300)["y"]
    whole, left, right = (RobustZ("y", refresh=1) for _ in range(3))
    whole.follow({"y": x})
    left.follow({"y": x[:120]})
    right.follow({"y": x[120:]})
    right.merge(left)
    assert repr(right.state().facts) == repr(whole.state().facts)
    for name, array in whole.state().arrays.items():
        assert np.array_equal(array, right.state().arrays[name])
    assert right.follow({"y": [9.0]}) == whole.follow({"y": [9.0]})


def test_what_cannot_be_followed_is_refused() -> None:
    outliers = RobustZ("x")
    with pytest.raises(UnknownName, match="asked for the column 'x'; known: 'y'"):
        outliers.follow({"y": [1.0]})
    with pytest.raises(EvaluationError, match="no finite number"):
        outliers.follow({"x": [1.0, math.inf]})
    with pytest.raises(EvaluationError, match=r"beyond 9e\+12; scale"):
        outliers.follow({"x": [1e13]})
    with pytest.raises(EvaluationError, match="refresh = 0"):
        RobustZ("x", refresh=0)
    with pytest.raises(EvaluationError, match="do not score the same"):
        outliers.merge(RobustZ("y"))
    with pytest.raises(EvaluationError, match="in the state of"):
        outliers.from_state(RobustZ("y").state())


def test_without_river_one_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "river", None)
    with pytest.raises(EnvironmentProblem, match=r"river is not installed; pip install 'headrace"):
        HalfSpaceTrees({"x": (0.0, 1.0)})


@RIVER
def test_half_space_trees_are_rivers() -> None:
    from river import anomaly

    columns = drawn(300)
    ours = HalfSpaceTrees(LIMITS, trees=4, height=4, window=60, seed=11)
    river = anomaly.HalfSpaceTrees(n_trees=4, height=4, window_size=60, limits=LIMITS, seed=11)
    expected: list[float | None] = []
    for x, y in zip(columns["x"], columns["y"], strict=True):
        if x is None:
            expected.append(None)
            continue
        row = {"x": x, "y": y}
        expected.append(
            river.score_one(row)
            if sum(e is not None for e in expected) or len(expected) > 60
            else None
        )
        river.learn_one(row)
    assert ours.follow(columns).to_pylist() == expected


@RIVER
def test_half_space_trees_refuse_what_they_cannot() -> None:
    with pytest.raises(EvaluationError, match="that is no space"):
        HalfSpaceTrees({"x": (1.0, 1.0)})
    with pytest.raises(EvaluationError, match="asked for 0 trees"):
        HalfSpaceTrees({"x": (0.0, 1.0)}, trees=0)
    trees = HalfSpaceTrees({"x": (0.0, 1.0)})
    with pytest.raises(EvaluationError, match="never: the trees count rows in windows"):
        trees.merge(trees.blank())
