"""Windows, slices, several at once and baselines: against slow loops over plain rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.operators.evaluation import METRICS, EvaluationError, Score
from headrace.operators.evaluation.auc import AUC
from headrace.operators.evaluation.baselines import BASELINES, BASELINES_OF_NUMBERS, BEFORE
from headrace.operators.evaluation.log_loss import LogLoss
from headrace.operators.evaluation.rival import Rival, beside
from headrace.operators.evaluation.several import Several
from headrace.operators.evaluation.sliced import Sliced
from headrace.operators.evaluation.windowed import Windowed
from tests.evaluation.scored import cut, fed, through_json
from tests.evaluation.tables import Case, tables

N = 400
Columns = dict[str, list[Any]]
BASELINE_TABLES = tables("baselines")
EVERY_BASELINE = {**BASELINES, **BASELINES_OF_NUMBERS}


def rows(seed: int) -> Columns:
    rng = np.random.default_rng(seed)
    p = rng.random(N)
    return {
        "p": p.tolist(),
        "y": (rng.random(N) < p).astype(float).tolist(),
        "weight": rng.integers(0, 4, N).astype(float).tolist(),
        "at": rng.integers(-500, 1_500, N).tolist(),
        "group": [["a", "", None, "ü"][i] for i in rng.integers(0, 4, N)],
        "hour": rng.integers(-2, 5, N).tolist(),
        "wet": [[True, False, None][i] for i in rng.integers(0, 3, N)],
    }


def shuffled(columns: Columns, seed: int) -> Columns:
    order = np.random.default_rng(seed).permutation(N).tolist()
    return {name: [column[i] for i in order] for name, column in columns.items()}


def by_loop(name: str, columns: Columns, key: Callable[[int], Any]) -> dict[Any, float | None]:
    """Gather the rows of each key, and score them alone."""
    groups: dict[Any, list[int]] = defaultdict(list)
    for i in range(N):
        groups[key(i)].append(i)
    values: dict[Any, float | None] = {}
    for group, places in groups.items():
        metric = METRICS[name]()
        fed(metric, {k: [column[i] for i in places] for k, column in columns.items()})
        values[group] = metric.value()
    return values


def texts(score: Score) -> str:
    state = score.state()
    arrays = sorted((name, array.tolist()) for name, array in state.arrays.items())
    return repr((arrays, state.facts))


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("keep", [None, 3])
def test_windows_are_those_of_a_plain_group_by(name: str, keep: int | None) -> None:
    columns = rows(1)
    windowed = Windowed(METRICS[name](), every_ms=250, keep=keep)
    fed(windowed, columns)
    expected = by_loop(name, columns, lambda i: columns["at"][i] // 250 * 250)
    assert len(expected) == 8
    assert list(windowed.value()) == sorted(expected)[-(keep or 8) :]
    for begin, value in windowed.value().items():
        assert value == expected[begin]
    whole = METRICS[name]()
    fed(whole, columns)
    for score in windowed.windows.values():
        windowed.before.merge(score)
    assert windowed.before.value() == whole.value()


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("by", ["group", "hour", "wet"])
def test_slices_are_those_of_a_plain_group_by(name: str, by: str) -> None:
    columns = rows(2)
    sliced = Sliced(METRICS[name](), by=by)
    fed(sliced, columns)
    assert sliced.value() == by_loop(name, columns, lambda i: columns[by][i])
    assert sliced.rest.n == 0
    assert sliced.n == N


def test_slices_beyond_the_bound_are_scored_together() -> None:
    columns = rows(3)
    sliced = Sliced(LogLoss(), by="hour", most=3)
    fed(sliced, columns)
    kept = list(dict.fromkeys(columns["hour"]))[:3]
    assert set(sliced.value()) == set(kept)
    expected = by_loop("log_loss", columns, lambda i: columns["hour"][i] in kept)
    assert sliced.rest.value() == expected[False]
    assert sliced.n == N


SCORES: dict[str, Callable[[], Score]] = {
    "windows": lambda: Windowed(AUC(), every_ms=300),
    "newest windows": lambda: Windowed(LogLoss(), every_ms=300, keep=2),
    "slices": lambda: Sliced(AUC(), by="group"),
    "several": lambda: Several({"auc": AUC(), "gauc": METRICS["gauc"]()}),
    "all of it": lambda: Windowed(
        Sliced(Several({"ece": METRICS["ece"](), "gauc": METRICS["gauc"]()}), by="wet"), 500, 3
    ),
}


@given(
    name=st.sampled_from(sorted(SCORES)),
    cuts=st.lists(st.integers(0, N), max_size=4).map(sorted),
    seed=st.integers(0, 3),
)
@settings(deadline=None, max_examples=25)
def test_neither_order_nor_cuts_nor_merging_matter(name: str, cuts: list[int], seed: int) -> None:
    columns = rows(seed)
    mixed = shuffled(columns, seed + 1)
    whole, parts = SCORES[name](), SCORES[name]()
    fed(whole, columns)
    for begin, end in zip([0, *cuts], [*cuts, N], strict=True):
        part = SCORES[name]()
        fed(part, cut(mixed, begin, end))
        parts.merge(through_json(part))
    assert parts.value() == whole.value()
    assert parts.n == whole.n == N
    assert texts(parts) == texts(whole)
    back = through_json(whole)
    fed(back, columns)
    fed(whole, columns)
    assert texts(back) == texts(whole)


def test_a_late_row_counts_in_its_window_or_before() -> None:
    windowed = Windowed(METRICS["positives"](), every_ms=10, keep=2)
    for at in (5, 31, 12, 22, 9):
        windowed.update([0.5], [1], at=[at])
    assert windowed.value() == {20: 1.0, 30: 1.0}
    assert windowed.before.value() == 3.0


def test_what_cannot_be_windowed_or_sliced_is_refused() -> None:
    with pytest.raises(EvaluationError, match="they have no event time; give `at`"):
        Windowed(AUC(), every_ms=10).update([0.5], [1])
    with pytest.raises(EvaluationError, match="asked for None windows of 0 ms"):
        Windowed(AUC(), every_ms=0)
    with pytest.raises(EvaluationError, match="asked for 0 slices"):
        Sliced(AUC(), by="group", most=0)
    with pytest.raises(EvaluationError, match="do not score the same"):
        Windowed(AUC(), every_ms=10).merge(Windowed(AUC(), every_ms=20))


def test_every_baseline_has_a_table() -> None:
    assert set(BASELINES) == {"no_change", "majority", "base_rate"}
    assert set(BASELINE_TABLES) == set(EVERY_BASELINE) == {*BASELINES, "last_value", "running_mean"}
    assert min(len(cases) for cases in BASELINE_TABLES.values()) >= 2


@pytest.mark.parametrize(
    ("name", "case"),
    [
        pytest.param(name, case, id=f"{name}: {case.name}")
        for name, cases in BASELINE_TABLES.items()
        for case in cases
    ],
)
def test_a_baseline_says_what_its_case_says(name: str, case: Case) -> None:
    y = np.array(case.columns["y"], np.float64)
    baseline = EVERY_BASELINE[name]()
    if "known" in case.columns:
        times = {key: np.array(case.columns[key], np.int64) for key in ("decided", "known")}
        said = baseline.delayed(y, **times)
    else:
        said = baseline.follow(y)
    assert case.agrees(said.tolist())


def slowly(name: str, known: list[float]) -> float:
    """Say what a baseline says after some labels, by its definition."""
    if not known:
        return BEFORE if name in BASELINES else 0.0
    if name in ("no_change", "last_value"):
        return known[-1]
    share = sum(known) / len(known)
    if name == "running_mean":
        return share
    return share if name == "base_rate" else float(share > 0.5)


@pytest.mark.parametrize("name", EVERY_BASELINE)
@pytest.mark.parametrize("seed", range(3))
def test_a_baseline_is_a_slow_loop(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = (rng.random(300) < 0.4).astype(np.float64)
    if name in BASELINES_OF_NUMBERS:
        y *= rng.integers(-9, 9, 300) / 4  # sums of quarters are exact
    decided = np.sort(rng.integers(0, 200, 300))
    known = decided + rng.integers(0, 60, 300)
    baseline = EVERY_BASELINE[name]()
    for begin in range(0, 300, 37):
        state = baseline.state()
        baseline = EVERY_BASELINE[name]()
        baseline.restore(state)
        said = baseline.follow(y[begin : begin + 37])
        expected = [slowly(name, y[:i].tolist()) for i in range(begin, min(begin + 37, 300))]
        assert said.tolist() == expected
    assert baseline.now == slowly(name, y.tolist())
    order = sorted(range(300), key=lambda i: int(known[i]))
    expected = [
        slowly(name, [float(y[j]) for j in order if known[j] < decided[i]]) for i in range(300)
    ]
    assert EVERY_BASELINE[name]().delayed(y, decided=decided, known=known).tolist() == expected


@pytest.mark.parametrize("name", BASELINES)
def test_a_rival_is_the_baselines_predictions_scored(name: str) -> None:
    columns = rows(4)
    y = np.array(columns["y"])
    rival = Rival(BASELINES[name](), LogLoss())
    for begin in range(0, N, 37):
        fed(rival, cut(columns, begin, begin + 37))
        restored = through_json(rival)
        assert isinstance(restored, Rival)
        rival = restored
    expected = LogLoss()
    said = BASELINES[name]().follow(y)
    expected.update(said, y, weight=columns["weight"])
    assert rival.value() == expected.value()
    assert rival.n == N


def test_rivals_stand_beside_and_do_not_merge() -> None:
    both = beside(METRICS["accuracy"]())
    fed(both, rows(5))
    assert list(both.value()) == ["model", "no_change", "majority", "base_rate"]
    assert both.value()["model"] > both.value()["majority"]
    with pytest.raises(EvaluationError, match="never: a baseline predicts each row from all rows"):
        both["majority"].merge(both["majority"].blank())
    with pytest.raises(EvaluationError, match="a label is neither 0 nor 1"):
        both.update([0.5], [0.5])
