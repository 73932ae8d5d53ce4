"""Every transform: its cases, the laws, a slow version that must agree, and what is refused.

What Hypothesis finds becomes a row of `tests/cases/transforms`. HYPOTHESIS_EXAMPLES sets how long
it looks.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.online_learning.snapshot import Snapshots
from headrace.operators.errors import GapError
from headrace.operators.transforms import (
    ENGINES,
    TRANSFORMS,
    Sees,
    declared_as,
)
from tests.transforms.laws import LAWS, Log, advanced
from tests.transforms.made_up import DECLARED, logs
from tests.transforms.naive import BY_STEP, NAIVE
from tests.transforms.tables import CASES, Case, read, table

EXAMPLES = int(os.environ.get("HYPOTHESIS_EXAMPLES", "10"))
FEW = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TABLES = {path.stem: read(path) for path in sorted(CASES.glob("*.txt"))}
ALL = [
    pytest.param(case, id=f"{name}: {case.name}")
    for name, cases in TABLES.items()
    for case in cases
]
Rows = list[dict[str, Any]]
by_declaration = pytest.mark.parametrize("declared", DECLARED.values(), ids=DECLARED)


def test_every_transform_has_a_table_a_slow_version_and_declarations() -> None:
    assert len(TRANSFORMS) >= 15
    assert set(TABLES) == set(TRANSFORMS)
    assert set(NAIVE) == set(TRANSFORMS)
    assert {each["transform"] for each in DECLARED.values()} == set(TRANSFORMS)
    assert len(ALL) >= 60
    by_step = {name for name, kind in TRANSFORMS.items() if kind.sees is Sees.STEPS}
    assert by_step == set(BY_STEP)


@pytest.mark.parametrize("name", TABLES)
def test_a_table_has_the_cases_that_each_must_have(name: str) -> None:
    names = " ".join(case.name for case in TABLES[name])
    for must in ("null", "empty|nothing", "unseen|beyond|new", "boundary|at the|tie|ends"):
        assert any(word in names for word in must.split("|")), must


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_transform_says_what_it_is(name: str) -> None:
    kind = TRANSFORMS[name]
    assert kind.__doc__
    assert ">>>" in kind.__doc__
    assert kind.takes
    assert set(kind.gaps) <= set(ENGINES[1:])


@pytest.mark.parametrize("case", ALL)
def test_a_transform_has_its_value(case: Case) -> None:
    transform = declared_as(case.declared)
    if case.fits:
        pairs = list(zip(case.rows, case.outputs, strict=True))
        transform.update(table(transform, [row for row, output in pairs if output is None]))
        asked = [row for row, output in pairs if output is not None]
        gave = transform.transform(table(transform, asked)).to_pylist()
        expected = [output for output in case.outputs if output is not None]
    else:
        whole = advanced(transform, [table(transform, list(case.rows))])
        one_by_one = declared_as(case.declared)
        rows = [table(transform, [row]) for row in case.rows]
        assert repr(advanced(one_by_one, rows)) == repr(whole)
        gave, expected = [], []
        for row, output in zip(whole, case.outputs, strict=True):
            if output is not None:
                gave.append(row)
                expected.append(output)
    assert expected
    assert [
        repr({name: row[name] for name in e}) for row, e in zip(gave, expected, strict=True)
    ] == [repr(e) for e in expected]


@by_declaration
def test_the_laws_hold(declared: dict[str, Any], tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path, digest="settings", keep=1)
    cuts = st.lists(st.integers(0, 1000), max_size=4)

    @FEW
    @given(rows=logs(declared), cuts=cuts, seed=st.integers(0, 1000))
    def check(rows: Rows, cuts: list[int], seed: int) -> None:
        for law in LAWS:
            law(Log(declared, rows, cuts, seed, snapshots))

    check()


def test_what_is_said_to_need_its_order_does() -> None:
    for declared in DECLARED.values():
        if TRANSFORMS[declared["transform"]].ordered:
            values: list[Any] = [True, False] if declared["kind"] == "bool" else [7, 8]
            values = ["a", "b"] if declared["kind"] == "string" else values
            log = [{"at": 0, "x": x} for x in values for _ in range(3)]
            one, other = declared_as(declared), declared_as(declared)
            one.update(table(one, log))
            other.update(table(other, log[::-1]))
            assert one.state().arrays["seen"].tolist() != other.state().arrays["seen"].tolist()


def _written(rows: Rows) -> Rows:
    """Give rows as a source has them, without −0.0, and without what no SQL text can say."""
    odd = {0.0: 0.0, "a\0b": "ab"}
    return [
        {**row, "x": odd.get(x, x) if isinstance(x := row["x"], float | str) else x} for row in rows
    ]


@by_declaration
def test_what_was_learned_is_sql_where_it_can_be(declared: dict[str, Any]) -> None:
    kind = TRANSFORMS[declared["transform"]]
    if kind.gaps:
        for engine in kind.gaps:
            with pytest.raises(GapError, match=r"not yet: .*transform in process"):
                declared_as(declared).sql(engine)
        return

    @FEW
    @given(log=logs(declared).map(_written), asked=logs(declared).map(_written))
    def check(log: Rows, asked: Rows) -> None:
        transform = declared_as(declared)
        transform.update(table(transform, log))
        rows = table(transform, asked)
        expected = repr(transform.transform(rows).to_pylist())
        trees = transform.expressions()
        assert {name: tree.type for name, tree in trees.items()} == dict(transform.outputs)
        assert repr([{n: t.of(row) for n, t in trees.items()} for row in asked]) == expected
        said = ", ".join(f'{text} AS "{name}"' for name, text in transform.sql("duckdb").items())
        with duckdb.connect() as connection:
            connection.register("rows_", rows)
            gave = connection.sql(f"SELECT {said} FROM rows_").fetchall()
        assert repr([dict(zip(transform.outputs, row, strict=True)) for row in gave]) == expected
        assert transform.sql("flink").keys() == transform.outputs.keys()

    check()


def test_known_answers() -> None:
    random = np.random.default_rng(11)
    x = random.lognormal(3.0, 2.0, 5000).round(6)
    rows = pa.table({"x": x})

    def out(**declared: Any) -> Any:
        transform = declared_as({"column": "x", "kind": "float64", **declared})
        transform.update(rows)
        return transform.transform(rows).column(0).to_numpy()

    np.testing.assert_allclose(out(transform="standard"), (x - x.mean()) / x.std(), rtol=1e-9)
    np.testing.assert_array_equal(out(transform="min_max"), (x - x.min()) / (x.max() - x.min()))
    low, median, high = np.quantile(x, [0.25, 0.5, 0.75], method="inverted_cdf")
    scaled = out(transform="robust")
    # The three quantiles are each within 1/128.
    near = (abs(x - median) + median) * 0.04 / (high - low)
    assert (np.abs(scaled - (x - median) / (high - low)) <= near + 0.04).all()
    bins = np.bincount(out(transform="quantile_bin"))
    assert bins.shape == (10,)
    assert abs(bins - 500).max() <= 40
    ranks = (x.argsort().argsort() + 0.5) / len(x)
    assert np.abs(out(transform="rank") - ranks).max() < 0.01
    np.testing.assert_allclose(
        out(transform="clip"),
        np.clip(x, *np.quantile(x, [0.01, 0.99], method="inverted_cdf")),
        rtol=1 / 128,
    )
