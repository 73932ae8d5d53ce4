"""Sums against plain Python: dictionaries, fractions, and DuckDB's wide integers."""

from __future__ import annotations

import random
from collections import defaultdict
from fractions import Fraction

import duckdb
import numpy as np
import pytest

from headrace.operators.evaluation.sums import LIMBS, ONE, Tally, double, fixed, limbs, limbs_total


@pytest.mark.parametrize("keys", [1, 50, 100_000])
def test_a_tally_is_a_dictionary(keys: int) -> None:
    rng = np.random.default_rng(keys)
    tally = Tally(("rows", "wins"))
    slow: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    for size in rng.integers(0, 40, 300).tolist():
        key = rng.integers(-keys, keys, size)
        terms = np.stack([np.ones(size, np.int64), rng.integers(0, 2**40, size)], axis=1)
        tally.add(key, terms)
        for place, (one, wins) in zip(key.tolist(), terms.tolist(), strict=True):
            slow[place] = [slow[place][0] + one, slow[place][1] + wins]
        if size == 7:
            assert tally.total("rows") == sum(rows for rows, _ in slow.values())
    assert tally.keys.tolist() == sorted(slow)
    assert tally.sums.tolist() == [slow[key] for key in sorted(slow)]


def test_a_sum_that_could_leave_int64_is_refused_and_leaves_nothing() -> None:
    tally = Tally(("rows", "wins"))
    keys, big = np.array([1, 2]), np.array([[1, 2**61], [1, 2**61 - 2**10]])
    tally.add(keys, big)
    with pytest.raises(OverflowError, match="wins"):
        tally.add(keys, big)
    assert tally.sums.tolist() == big.tolist()


def test_limbs_hold_a_number_down_to_the_last_bit_kept() -> None:
    rng = random.Random(2)  # noqa: S311 - seeded numbers, no secret
    numbers = [rng.random() * 2.0 ** rng.randint(-70, 79) for _ in range(2_000)]
    cut = limbs(np.array([*numbers, 0.0]))
    assert len(cut) == len(LIMBS)
    for place, number in enumerate(numbers):
        parts = [int(limb[place]) for limb in cut]
        held = sum(part << 30 * (3 - i) for i, part in enumerate(parts))
        assert held == int(Fraction(number) * 2**60)
        assert limbs_total(parts) == pytest.approx(float(Fraction(held, 2**60)), rel=1e-15)


def test_fixed_point_rounds_to_the_nearest() -> None:
    x = np.random.default_rng(3).random(1_000) * 17
    expected = [int(Fraction(value) * ONE + Fraction(1, 2)) for value in x.tolist()]
    assert fixed(x).tolist() == expected


def test_a_wide_sum_becomes_the_double_that_duckdb_makes_of_it() -> None:
    rng = random.Random(5)  # noqa: S311 - seeded numbers, no secret
    numbers = [rng.getrandbits(rng.randrange(1, 127)) for _ in range(1_000)]
    with duckdb.connect() as connection:
        listed = ", ".join(f"({i}, {number}::HUGEINT)" for i, number in enumerate(numbers))
        query = f"SELECT CAST(n AS DOUBLE) FROM (VALUES {listed}) AS t(i, n) ORDER BY i"
        found = [value for (value,) in connection.execute(query).fetchall()]
    assert found == [double(number) for number in numbers]
    assert found != [float(number) for number in numbers]
