"""Decayed sums against a slow computation in decimals, and the order in which tiles are added."""

from __future__ import annotations

import random
from decimal import Decimal, localcontext

import duckdb
import pytest

from headrace.operators.decay import MOST_HALF_LIVES, MOST_STEPS, Decay
from headrace.operators.engines.in_process import Message
from headrace.operators.source import Column, Source
from headrace.operators.types import Type
from headrace.operators.view import Feature, View
from headrace.pipelines.feature import parse
from tests.engines import ENGINES

SEED = 13
EVERY = 1_000
SOURCE = Source("s", "s", (Column("k", Type.STRING), Column("x", Type.FLOAT64)), lateness_ms=10**9)
SPANS = {"3s": 3_000, "7s": 7_000, "1m": 60_000, "97s": 97_000}
CLOSE = 1e-12


def _slow(rows: list[tuple[int, Decimal]], at: int, half_life: int) -> tuple[Decimal, Decimal]:
    """Give the count and the sum, row by row, with 50 digits."""
    with localcontext() as context:
        context.prec = 50
        high = at // EVERY * EVERY
        count = total = Decimal(0)
        for when, value in rows:
            end = (when // EVERY + 1) * EVERY
            if end <= high and high - end < MOST_HALF_LIVES * half_life:
                weight = Decimal(2) ** (Decimal(end - high) / Decimal(half_life))
                count, total = count + weight, total + weight * value
        return count, total


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("written", SPANS)
def test_a_decayed_sum_is_what_decimals_say(engine: str, written: str) -> None:
    chance = random.Random(SEED)  # noqa: S311 - seeded rows, no secret
    values = [Decimal(chance.randrange(-(10**9), 10**10)).scaleb(-6) for _ in range(150)]
    rows = [(chance.randrange(300_000), value) for value in values]
    log: list[Message] = [
        (0, offset, 10**9, f'{{"at": {at}, "k": "a", "x": {value:f}}}'.encode())
        for offset, (at, value) in enumerate(rows)
    ]
    texts = ("decayed_count({})", "decayed_sum(x, {})", "decayed_mean(x, {})")
    aggregates = [parse(text.format(written), SOURCE).aggregate for text in texts]
    features = tuple(Feature(each.name, each) for each in aggregates)
    view = View("v", SOURCE, ("k",), EVERY, features)
    times = [chance.randrange(400_000) for _ in range(40)]
    answers = ENGINES[engine](view, log, [(("a",), at) for at in times])
    known = 0
    for at, answer in zip(times, answers, strict=True):
        count, total = _slow(rows, at, SPANS[written])
        truth = (count, total, total / count if count else None)
        for mine, exact in zip(answer, truth, strict=True):
            assert (mine is None) == (exact is None)
            if exact is not None:
                # Of what was added, not of what is left when signs cancel.
                size = max(abs(exact), sum((abs(value) for _, value in rows), Decimal(0)) / 10**6)
                assert abs(Decimal(float(str(mine))) - exact) <= Decimal(CLOSE) * size
                known += 1
    assert known > 80


def test_each_weight_is_within_two_roundings() -> None:
    for half_life in (1, 2, 3, 5, 60, 1_440, 604_800, MOST_STEPS):
        decay = Decay(half_life)
        assert max(len(decay.coarse), len(decay.fine)) <= 3_163
        last = half_life * MOST_HALF_LIVES - 1
        for steps in {0, 1, half_life - 1, half_life, half_life + 1, last // 3, last}:
            exact = Decimal(2) ** (Decimal(-steps) / Decimal(half_life))
            assert abs(Decimal(decay.weight(min(steps, last))) / exact - 1) < Decimal(2) ** -51


def test_duckdb_has_the_same_weights() -> None:
    decay = Decay(97)
    steps = list(range(97 * MOST_HALF_LIVES))
    query = f"SELECT {decay.weight_sql('n')} FROM range({len(steps)}) AS t(n) ORDER BY n"
    with duckdb.connect() as connection:
        weights = [row[0] for row in connection.execute(query).fetchall()]
    assert weights == [decay.weight(each) for each in steps]


def test_list_reduce_adds_from_the_left() -> None:
    """By pairs, or from the right, these come to something else."""
    chance = random.Random(SEED)  # noqa: S311 - seeded numbers, no secret
    numbers = [chance.uniform(-1, 1) * 2.0 ** chance.randrange(60) for _ in range(2_000)]
    folded = numbers[0]
    for number in numbers[1:]:
        folded += number
    backwards = numbers[-1]
    for number in numbers[-2::-1]:
        backwards += number
    assert folded != backwards
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE t (n BIGINT, x DOUBLE)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", list(enumerate(numbers)))
        query = "SELECT list_reduce(list(x ORDER BY n), lambda a, b: a + b) FROM t"
        assert connection.sql(query).fetchall() == [(folded,)]
