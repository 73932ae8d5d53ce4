"""The stability index: known answers, the law that counts add up, and what its bins are."""

from __future__ import annotations

import doctest
import math
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.operators.drift import MOST_VALUES, Counts, psi, said
from headrace.operators.types import Type
from tests.test_differential import FEW

CASES = Path(__file__).parent / "cases" / "drift" / "psi.txt"


Case = tuple[str, list[tuple[str, int, int]], str, str]


def known() -> list[Case]:
    """Read the table: a line for each case, with its bins, its index and its word."""
    cases: list[Case] = []
    about = ""
    for line in CASES.read_text("utf-8").splitlines():
        if line.startswith("#"):
            about = line[1:].strip()
        elif "=>" in line:
            given_bins, _, wanted = line.partition("=>")
            rows = [each.split() for each in given_bins.split("|")]
            bins = [(str(n), int(base), int(now)) for n, (base, now) in enumerate(rows)]
            index, word = (each.strip() for each in wanted.split("|"))
            cases.append((about, bins, index, word))
    return cases


@pytest.mark.parametrize(("about", "bins", "index", "word"), known())
def test_known_answers(about: str, bins: list[tuple[str, int, int]], index: str, word: str) -> None:
    found = psi(bins)
    if index == "null":
        assert found is None, about
        return
    assert found is not None
    assert f"{found:.6f}" == index, about
    assert said(found) == word


def test_there_are_known_answers() -> None:
    assert len(known()) >= 9


def counted(kind: Type, *parts: Sequence[object]) -> Counts:
    """Count values, a part at a time."""
    counts = Counts.of(kind)
    for part in parts:
        counts.add(pa.array(part, kind.arrow))
    return counts


def test_tenths_of_the_baseline_and_nulls_are_bins() -> None:
    before = counted(Type.INT64, [*range(1, 101), None])
    now = counted(Type.INT64, [10, 11, 1_000, -5, None, None])
    bins = before.beside(now)
    assert [name for name, _, _ in bins] == [
        *(f"≤ {end}" for end in range(10, 100, 10)),
        "> 90",
        "null",
    ]
    assert [n for _, n, _ in bins] == [10] * 10 + [1]
    assert [n for _, _, n in bins] == [2, 1, 0, 0, 0, 0, 0, 0, 0, 1, 2]


def test_a_number_that_is_often_there_is_one_bin() -> None:
    bins = counted(Type.INT64, [0] * 95 + [7] * 5).beside(counted(Type.INT64, [0, 7, 7, 9]))
    assert bins == [("≤ 0", 95, 1), ("> 0", 5, 3)]


def test_a_float_is_cut_in_fixed_point() -> None:
    before = counted(Type.FLOAT64, [0.25, 0.5, -0.5, None])
    bins = before.beside(counted(Type.FLOAT64, [0.25, 0.3, 1e300, -1e300]))
    assert sum(n for _, n, _ in bins) == 4
    assert sum(n for _, _, n in bins) == 4


@pytest.mark.parametrize("kind", [Type.STRING, Type.BOOL, Type.list_of(Type.STRING)])
def test_values_without_an_order_are_bins(kind: Type) -> None:
    one, other = {"string": ("a", "b"), "bool": (True, False)}.get(kind.value, (["a"], ["b", "a"]))
    before = counted(kind, [one, one, None])
    bins = before.beside(counted(kind, [one, other, other]))
    assert bins == [(str(one), 2, 1), ("other", 0, 2), ("null", 1, 0)]


def test_rare_values_are_one_bin() -> None:
    often = [str(n) for n in range(MOST_VALUES)] * 2
    before = counted(Type.STRING, [*often, "rare", "rarer"])
    bins = before.beside(counted(Type.STRING, ["rare", "new", "0"]))
    assert len(bins) == MOST_VALUES + 1
    assert bins[-1] == ("other", 2, 2)


def test_nothing_moved_is_zero_whatever_the_size() -> None:
    values: list[object] = [1, 2, 3, None] * 25
    once, thrice = counted(Type.INT64, values), counted(Type.INT64, values * 3)
    assert psi(once.beside(once)) == 0.0
    index = psi(once.beside(thrice))
    assert index is not None
    assert index < 1e-4
    assert psi(once.beside(Counts.of(Type.INT64))) is None


def test_a_shift_by_half_a_deviation_is_a_quarter() -> None:
    """Of two normals of deviation 1 that are d apart it is d², were the bins infinitely small."""
    normal = [_quantile((n + 0.5) / 20_000) for n in range(20_000)]
    before = counted(Type.FLOAT64, list(normal))
    index = psi(before.beside(counted(Type.FLOAT64, [x + 0.5 for x in normal])))
    assert index is not None
    assert 0.23 < index < 0.25


def _quantile(share: float) -> float:
    """Give a normal quantile by bisection."""
    low, high = -6.0, 6.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if math.erf(middle / math.sqrt(2)) < 2 * share - 1 else (low, middle)
        )
    return low


numbers = st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=30)


@FEW
@given(numbers, numbers, numbers)
def test_counts_add_up(
    before: list[int | None], one: list[int | None], other: list[int | None]
) -> None:
    """Parts, order and merges change nothing, not a bit."""
    for kind in (Type.INT64, Type.FLOAT64, Type.STRING):
        a, b, c = (
            [x if x is None else kind.arrow.to_pandas_dtype()(x) for x in each]
            if kind is not Type.STRING
            else [x if x is None else str(x) for x in each]
            for each in (before, one, other)
        )
        base = counted(kind, a)
        left, right = counted(kind, b), counted(kind, c)
        left.merge(right)
        whole = counted(kind, [*c, *b])
        assert left.rows == whole.rows == len(one) + len(other)
        assert base.beside(left) == base.beside(whole)
        assert psi(base.beside(left)) == psi(base.beside(whole))


def test_the_page_is_right() -> None:
    page = Path(__file__).parents[1] / "docs" / "trust.md"
    result = doctest.testfile(str(page), module_relative=False, encoding="utf-8")
    assert (result.attempted >= 7, result.failed) == (True, 0)
