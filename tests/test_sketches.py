"""Sketches keep the errors that they state, and large ones are the same bits in every engine."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import duckdb
import numpy as np
import pytest

from headrace.operators.aggregates import AGGREGATES
from headrace.operators.aggregates.entropy import Entropy
from headrace.operators.aggregates.hll import Hll
from headrace.operators.aggregates.logarithm import ln, ln_of, ln_sql
from headrace.operators.aggregates.quantile import Quantile
from headrace.operators.source import Column, Source
from headrace.operators.types import Type
from headrace.operators.view import Feature, View
from tests.engines import ENGINES, Ask
from tests.logs import placed

SEED = 20_130_101


def _dice(seed: int = SEED) -> random.Random:
    return random.Random(seed)  # noqa: S311 - a seeded log, no secret


@pytest.mark.parametrize(
    ("distinct", "stated"), [(100, 0.013), (3_000, 0.013), (11_000, 0.02), (40_000, 0.0163)]
)
def test_the_error_of_hll_is_the_stated_one(distinct: int, stated: float) -> None:
    errors = []
    for seed in range(12):
        start = _dice(seed).randrange(1 << 40)
        errors.append(Hll("x").of(range(start, start + distinct)) / distinct - 1)
    assert max(map(abs, errors)) < 3.5 * stated
    # Of 12 errors the root of the mean square is below 1.5 times the true one, 999 times in 1000.
    assert math.sqrt(sum(error * error for error in errors) / len(errors)) < 1.5 * stated


@pytest.mark.parametrize("kind", [Type.INT64, Type.FLOAT64])
@pytest.mark.parametrize("q", [0.0, 0.01, 0.25, 0.5, 0.9, 0.99, 1.0])
def test_the_error_of_a_quantile_is_the_stated_one(kind: Type, q: float) -> None:
    dice = _dice()
    draws: list[Callable[[], float]] = [
        lambda: dice.gauss(0, 1e6),
        lambda: dice.lognormvariate(3, 4),
        dice.random,
    ]
    for draw in draws:
        values = [draw() for _ in range(2_001)]
        if kind is Type.INT64:
            values = [int(value) for value in values]
        true = sorted(values)[max(1, math.ceil(q * len(values))) - 1]
        found = Quantile("x", kind, q).of(values)
        assert found is not None
        assert abs(found - true) <= abs(true) * 2**-7 + (1e-6 if kind is Type.FLOAT64 else 0)


def test_a_whole_number_up_to_127_is_its_own_bin() -> None:
    bins = Quantile("x", Type.INT64, 0.5).rows
    assert [bins.of(x) for x in range(-127, 128)] == [(x, 1) for x in range(-127, 128)]
    edges = [s * (1 << k) + d for k in range(63) for s in (1, -1) for d in (-1, 0, 1)]
    some = {bins.of(x)[0] for x in [*edges, -(2**63), 2**63 - 1]}
    assert len(some) < (bins.most_rows or 0)


def test_the_error_of_entropy_is_the_stated_one() -> None:
    dice = _dice()
    for most in (2, 30, 1_000):
        values = [int(dice.paretovariate(1)) % most for _ in range(5_000)]
        shares = [values.count(each) / len(values) for each in set(values)]
        true = -sum(share * math.log(share) for share in shares)
        assert abs((Entropy("x").of(values) or 0) - true) <= 1e-6


def test_a_logarithm_has_the_same_bits_in_every_engine() -> None:
    dice = _dice()
    numbers = [*range(1, 5_000), *(dice.randrange(1, 1 << k) for k in range(1, 53) for _ in "1234")]
    truth = [ln_of(n) for n in numbers]
    assert all(
        abs(mine - math.log(n)) <= 1e-15 * math.log(n)
        for mine, n in zip(truth, numbers, strict=True)
    )
    assert repr(ln(np.array(numbers)).tolist()) == repr(truth)
    with duckdb.connect() as connection:
        rows = ", ".join(f"({place}, CAST({n} AS BIGINT))" for place, n in enumerate(numbers))
        found = connection.sql(
            f"SELECT found FROM (SELECT place, {ln_sql('n', 'found')} "
            f"FROM (VALUES {rows}) AS t(place, n)) ORDER BY place"
        ).fetchall()
    assert repr([value for (value,) in found]) == repr(truth)


def test_large_sketches_have_the_same_bits_in_every_engine() -> None:
    """Some 20,000 different values: past the registers that are counted empty."""
    told = {"quantile": (0.73,), "top_k": (7,)}
    source = Source("events", "events", (Column("k", Type.STRING), Column("x", Type.INT64)))
    features = tuple(
        Feature(f"{name}_{window}", AGGREGATES[name]("x", Type.INT64, *told.get(name, ())), window)
        for name in ("count_distinct", "hll", "entropy", "quantile", "top_k")
        for window in (None, 20)
    )
    view = View("v", source, ("k",), 10, features)
    dice = _dice()
    rows = [
        f'{{"at": {n // 500}, "k": "a", "x": {int(dice.lognormvariate(20, 9)) % 2**63}}}'.encode()
        for n in range(25_000)
    ]
    asks: list[Ask] = [(("a",), at) for at in (0, 10, 30, 50)]
    log = placed([(0, row) for row in rows])
    truth = ENGINES["in_process"](view, log, asks)
    place = [feature.name for feature in features].index("hll_None")
    assert truth[-1][place] != truth[-1][place - 2]  # an estimate
    assert abs(int(str(truth[-1][place])) / int(str(truth[-1][place - 2])) - 1) < 0.06
    assert len(set(map(repr, truth))) == len(asks)
    for engine in ("duckdb", "index"):
        assert repr(ENGINES[engine](view, log, asks)) == repr(truth)
