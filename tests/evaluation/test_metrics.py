"""Every metric, in every way to its value: its cases, the textbook, and the laws."""

from __future__ import annotations

import math
from itertools import pairwise

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from headrace.operators.errors import GapError, UnknownName
from headrace.operators.evaluation import CLIP, METRICS, EvaluationError, Metric
from headrace.operators.evaluation.auc import AUC
from headrace.operators.evaluation.gauc import GAUC
from headrace.operators.evaluation.log_loss import LogLoss
from headrace.operators.evaluation.logarithm import ln
from headrace.operators.evaluation.mae import MAE
from headrace.operators.evaluation.rmse import RMSE
from tests.evaluation.scored import WAYS, by_duckdb, cut, fed, made, through_json
from tests.evaluation.tables import Case, tables

TABLES = tables("evaluation")
ALL = [
    pytest.param(way, name, case, id=f"{name}-{way}: {case.name}")
    for name, cases in TABLES.items()
    for case in cases
    for way in WAYS
]
EVERY_TABLE_HAS = ("null", "empty", "one class", "weight")
SHARES = (0.17, 0.028, 0.0066, 0.0015)
Columns = dict[str, NDArray[np.float64]]


def test_there_are_at_least_twelve_metrics_each_with_its_table() -> None:
    assert len(METRICS) >= 16
    assert set(TABLES) == set(METRICS)
    assert len(ALL) >= 300


@pytest.mark.parametrize("metric", TABLES)
def test_a_table_has_the_cases_that_each_must_have(metric: str) -> None:
    names = " ".join(case.name for case in TABLES[metric])
    assert [must for must in EVERY_TABLE_HAS if must not in names] == []


@pytest.mark.parametrize(("way", "name", "case"), ALL)
def test_a_metric_has_its_value(way: str, name: str, case: Case) -> None:
    assert case.agrees([WAYS[way](made(name, case.told), case.columns)])


def drawn(share: float, n: int = 200_000, seed: int = 5) -> Columns:
    """Draw log-odds of which the labels follow, with about `share` positives."""
    rng = np.random.default_rng(seed)
    log_odds = rng.normal(math.log(share / (1 - share)) - 0.6, 1.2, n)
    p = 1 / (1 + np.exp(-log_odds))
    return {"p": p, "y": (rng.random(n) < p).astype(np.float64)}


def scored(metric: Metric, columns: Columns) -> float:
    metric.update(columns["p"], columns["y"], weight=columns.get("weight"))
    value = metric.value()
    assert value is not None
    return value


def exact_auc(p: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Count every pair: a positive above a negative wins, a tie is half a win."""
    positives, negatives = p[y == 1], np.sort(p[y == 0])
    below = np.searchsorted(negatives, positives, "left")
    upto = np.searchsorted(negatives, positives, "right")
    return float((below + upto).sum() / 2 / len(positives) / len(negatives))


@pytest.mark.parametrize("share", SHARES)
def test_the_auc_is_that_of_a_sort(share: float) -> None:
    rows = drawn(share)
    assert rows["y"].mean() == pytest.approx(share, rel=0.2)
    exact = exact_auc(rows["p"], rows["y"])
    assert 0.6 < exact < 0.95
    assert scored(AUC(), rows) == pytest.approx(exact, abs=2e-5)


def test_bins_of_probability_would_not_do() -> None:
    rows = drawn(SHARES[-1])
    bins = np.floor(rows["p"] * 4096) / 4096
    assert abs(exact_auc(bins, rows["y"]) - exact_auc(rows["p"], rows["y"])) > 1e-4


def textbook(p: NDArray[np.float64], y: NDArray[np.float64]) -> dict[str, float]:
    """Compute every metric of rows, none of which has a p beyond the clip, from its formula."""
    loss = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
    share = y.mean()
    base = -(share * math.log(share) + (1 - share) * math.log(1 - share))
    said = p >= 0.5
    found, wrong, missed = (
        (said & (y == 1)).sum(),
        (said & (y == 0)).sum(),
        (~said & (y == 1)).sum(),
    )
    place = np.minimum((p * 15).astype(int), 14)
    off = [abs(p[place == b].sum() - y[place == b].sum()) for b in range(15)]
    return {
        "log_loss": loss,
        "surprise": -np.log(p).mean(),
        "base_rate": share,
        "positives": y.sum(),
        "base_rate_log_loss": base,
        "normalised_entropy": loss / base,
        "calibration": p.sum() / y.sum(),
        "ece": sum(off) / len(p),
        "accuracy": (said == (y == 1)).mean(),
        "precision": found / (found + wrong),
        "recall": found / (found + missed),
        "f1": 2 * found / (2 * found + wrong + missed),
        "brier": ((p - y) ** 2).mean(),
        "rmse": math.sqrt(((p - y) ** 2).mean()),
        "mae": np.abs(p - y).mean(),
        "bias": p.mean() - y.mean(),
        "pinball": np.abs(p - y).mean() / 2,
        "auc": exact_auc(p, y),
    }


@pytest.mark.parametrize("share", [0.5, 0.17, 0.028])
def test_values_are_those_of_the_textbook(share: float) -> None:
    rows = drawn(share, 50_000)
    expected = textbook(rows["p"], rows["y"])
    assert set(expected) == set(METRICS) - {"gauc"}
    for name, value in expected.items():
        tolerance = 2e-5 if name == "auc" else 2e-7 * max(1.0, value)
        assert scored(METRICS[name](), rows) == pytest.approx(value, abs=tolerance), name


@pytest.mark.parametrize("name", METRICS)
def test_a_weight_of_two_is_the_row_twice(name: str) -> None:
    rows = drawn(0.2, 2_000)
    heavy = np.random.default_rng(3).integers(0, 3, 2_000)
    users = pa.array(np.arange(2_000) % 40)
    weighted, repeated = made(name, {}), made(name, {})
    weighted.update(**rows, weight=heavy.astype(np.float64), columns={"group": users})
    again = np.repeat(np.arange(2_000), heavy)
    repeated.update(
        rows["p"][again], rows["y"][again], columns={"group": users.take(pa.array(again))}
    )
    # A product with a weight enters fixed point once, and two rows enter it twice.
    assert weighted.value() == pytest.approx(repeated.value(), abs=1e-7)


def test_gauc_is_the_weighted_mean_of_a_plain_group_by() -> None:
    rows = drawn(0.1, 20_000)
    users = np.random.default_rng(9).zipf(1.3, 20_000) % 3_000
    wins = count = groups = left = 0.0
    for user in np.unique(users):
        p, y = rows["p"][users == user], rows["y"][users == user]
        if 0 < y.sum() < len(y):
            wins, count = wins + len(y) * exact_auc(p, y), count + len(y)
        else:
            groups, left = groups + 1, left + len(y)
    gauc = GAUC("user")
    gauc.update(**rows, columns={"user": users})
    assert count > 5_000
    assert left > 500
    assert gauc.value() == pytest.approx(wins / count, abs=1e-4)  # small groups, more ties
    assert gauc.left_out == (groups, left)
    texts = GAUC("user")
    texts.update(**rows, columns={"user": [f"u{user}" for user in users]})
    assert texts.value() == gauc.value()


@given(cuts=st.lists(st.integers(0, 300), max_size=6), seed=st.integers(0, 5), data=st.data())
@settings(deadline=None, max_examples=15)
def test_neither_order_nor_cuts_nor_merging_matter(
    cuts: list[int], seed: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    rows = drawn(0.25, 300, seed)
    columns = {
        **{name: column.tolist() for name, column in rows.items()},
        "weight": (rng.random(300) * 4).tolist(),
        "group": [[None, "", "a", "ü", "b"][i] for i in rng.integers(0, 5, 300)],
    }
    order = rng.permutation(300).tolist()
    mixed = {name: [column[i] for i in order] for name, column in columns.items()}
    edges = [0, *sorted(cuts), 300]
    kinds = data.draw(st.permutations(sorted(METRICS)))[:6]
    for name in kinds:
        whole, all_of_it = made(name, {}), made(name, {})
        fed(whole, columns)
        for begin, end in pairwise(edges):
            part = whole.blank()
            fed(part, cut(mixed, begin, end))
            all_of_it.merge(part)
        assert all_of_it.value() == whole.value()
        assert all_of_it.n == whole.n == 300
        assert _texts(all_of_it) == _texts(whole)
        back = through_json(whole)
        fed(back, columns)
        fed(whole, mixed)
        assert _texts(back) == _texts(whole)


def _texts(metric: object) -> str:
    assert isinstance(metric, Metric)
    state = metric.state()
    return repr(({name: array.tolist() for name, array in state.arrays.items()}, state.facts))


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("seed", range(3))
def test_duckdb_gives_the_same_bits(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    share = SHARES[seed + 1]
    rows = drawn(share, 20_000, seed)
    p = rows["p"]
    p[:9] = [0.0, 1.0, 5e-324, 1 - 1e-16, CLIP, 1 - CLIP, 0.5, math.nextafter(CLIP, 0), 1e-300]
    columns = {
        **{key: column.tolist() for key, column in rows.items()},
        "weight": (rng.random(20_000) * 3).tolist(),
        "group": [f"g{i}" if i else None for i in rng.integers(0, 50, 20_000)],
    }
    metric = made(name, {})
    fed(metric, columns)
    assert metric.value() is not None
    assert repr(by_duckdb(metric.blank(), columns)) == repr(metric.value())


@pytest.mark.parametrize("name", METRICS)
def test_duckdb_gives_a_value_for_each_slice(name: str) -> None:
    rows = drawn(0.2, 3_000)
    day, group = np.arange(3_000) % 7, np.arange(3_000) % 11
    table = pa.table({"p": rows["p"], "y": rows["y"] == 1, "at": day * 10 + 3, "group": group})
    with duckdb.connect() as connection:
        connection.register("scores", table)
        query = made(name, {}).sql("duckdb", "(SELECT * FROM scores)", by='"at" // 10')
        found = dict(connection.execute(query).fetchall())
    assert sorted(found) == list(range(7))
    for slice_, value in found.items():
        metric, here = made(name, {}), day == slice_
        metric.update(rows["p"][here], rows["y"][here], columns={"group": group[here]})
        assert repr(value) == repr(metric.value())


@pytest.mark.parametrize("name", METRICS)
def test_duckdb_refuses_what_is_no_score(name: str) -> None:
    columns: dict[str, list[object]] = {"p": [0.5, math.nan], "y": [1.0, 0.0], "group": [1, 1]}
    with pytest.raises(duckdb.Error, match=r"is not in|no finite number"):
        by_duckdb(made(name, {}), columns)


def test_flink_and_what_is_no_engine_are_refused() -> None:
    with pytest.raises(GapError, match="'auc' on flink; not yet: scores are asked of the store"):
        AUC().sql("flink", "scores")
    with pytest.raises(UnknownName, match="did you mean 'duckdb'"):
        AUC().sql("duckdv", "scores")


def test_the_logarithm_is_one() -> None:
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.random(100_000), 2.0 ** -(63 * rng.random(100_000)), [1.0, 0.5, CLIP]])
    x = np.maximum(x, 2.0**-63)
    exact = np.array([math.log(value) for value in x.tolist()])
    assert np.abs(ln(x) - exact).max() <= 1.5e-14
    assert (np.abs(ln(x) - exact) <= 4.5e-16 * np.maximum(1.0, np.abs(exact)) + 3e-16).all()
    assert (np.diff(ln(np.sort(x))) >= -4e-15).all()


@pytest.mark.parametrize("name", [name for name, kind in METRICS.items() if kind.binary])
@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan, math.inf])
def test_what_is_no_probability_is_refused_and_leaves_nothing(name: str, p: float) -> None:
    metric = made(name, {})
    with pytest.raises(EvaluationError, match=r"is not in|no finite number"):
        metric.update([0.5, p], [1, 1], columns={"group": [1, 1]})
    with pytest.raises(EvaluationError, match="neither 0 nor 1"):
        metric.update([0.5], [0.5], columns={"group": [1]})
    assert metric.n == 0
    assert metric.value() is None


def test_numbers_that_are_none_are_refused() -> None:
    with pytest.raises(EvaluationError, match="the 'y' are string; give numbers"):
        RMSE().update([1.0], ["b"])
    with pytest.raises(EvaluationError, match=r"columns of \{'p': 1, 'y': 2\} rows"):
        RMSE().update([1.0], [1.0, 2.0])
    with pytest.raises(EvaluationError, match="a 'y' is no finite number"):
        RMSE().update([1.0], [math.inf])
    with pytest.raises(EvaluationError, match="a weight is below 0"):
        RMSE().update([1.0], [1.0], weight=[-1.0])
    with pytest.raises(EvaluationError, match="an error is above"):
        RMSE().update([1e200], [0.0])
    with pytest.raises(UnknownName, match="asked for the column 'user'; known: 'usr'; did you"):
        GAUC("user").update([0.5], [1], columns={"usr": [1]})
    with pytest.raises(EvaluationError, match="the column is of double"):
        GAUC("user").update([0.5], [1], columns={"user": [1.5]})


def test_a_sum_that_leaves_int64_is_refused() -> None:
    mae, p, y = MAE(), np.full(3_000, 1e24), np.zeros(3_000)
    mae.update(p, y)
    with pytest.raises(EvaluationError, match="asked to add up 'mae'; its sum 'limb_3' leaves"):
        mae.update(p, y)
    assert mae.n == 3_000
    assert mae.value() == pytest.approx(1e24)
    other = MAE()
    other.update(p, y)
    with pytest.raises(EvaluationError, match="leaves int64"):
        other.merge(mae)
    assert other.n == 3_000


def test_only_what_scores_the_same_merges() -> None:
    with pytest.raises(EvaluationError, match="do not score the same"):
        AUC().merge(GAUC())
    with pytest.raises(EvaluationError, match=r"'threshold': 0.3.*'threshold': 0.5.*do not score"):
        made("f1", {}).merge(made("f1", {"threshold": 0.3}))
    with pytest.raises(EvaluationError, match="in the state of"):
        LogLoss().from_state(AUC().state())


@pytest.mark.parametrize(
    ("name", "told"), [("ece", {"bins": 0}), ("f1", {"threshold": 1.5}), ("f1", {"threshold": -1})]
)
def test_what_no_metric_can_be_told_is_refused(name: str, told: dict[str, object]) -> None:
    with pytest.raises(EvaluationError):
        made(name, told)
