"""Every aggregate, on every engine, over its table of cases; and the laws."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import pytest

from headrace.operators.aggregates import AGGREGATES
from headrace.operators.engines.in_process import Message
from headrace.operators.errors import StoreError
from headrace.operators.source import Column, Source
from headrace.operators.types import Type
from headrace.operators.view import Feature, View
from tests.engines import ENGINES
from tests.tables import CASES, Case, read

TABLES = {path.stem: read(path) for path in sorted(CASES.glob("*.txt"))}
ALL = [
    pytest.param(engine, case, id=f"{aggregate}-{engine}: {case.name}")
    for aggregate, cases in TABLES.items()
    for case in cases
    for engine in ENGINES
]
EVERY_TABLE_HAS = ("null", "empty|unknown|nothing", "b − 20|boundary", "late", "dead", "partition")


def test_every_aggregate_has_a_table() -> None:
    assert set(TABLES) == set(AGGREGATES)
    assert len(ALL) >= 150


@pytest.mark.parametrize("aggregate", TABLES)
def test_a_table_has_the_cases_that_each_must_have(aggregate: str) -> None:
    names = " ".join(case.name for case in TABLES[aggregate])
    for must in EVERY_TABLE_HAS:
        assert any(word in names for word in must.split("|")), must


@pytest.mark.parametrize(("engine", "case"), ALL)
def test_an_aggregate_has_its_value(engine: str, case: Case) -> None:
    answers = [row[0] for row in ENGINES[engine](case.view, case.log, case.asks)]
    assert repr(answers) == repr(list(case.answers))


def _of_numbers(aggregate: str, kind: Type, numbers: Sequence[str]) -> tuple[View, list[Message]]:
    source = Source("events", "events", (Column("k", Type.STRING), Column("x", kind)))
    view = View("v", source, ("k",), 10, (Feature("y", AGGREGATES[aggregate]("x", kind)),))
    said = [f'{{"at": 1, "k": "a", "x": {number}}}'.encode() for number in numbers]
    return view, [(0, offset, 0, payload) for offset, payload in enumerate(said)]


@pytest.mark.parametrize("aggregate", ["sum", "mean", "var", "std"])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("kind", "numbers"),
    [
        (Type.INT64, ("9223372036854775807", "1")),
        (Type.INT64, ("-9223372036854775808", "-1")),
        (Type.FLOAT64, ("9e12", "9e12")),
        (Type.FLOAT64, ("1e300", "-1e300")),
    ],
)
def test_a_sum_beyond_int64_is_an_error(
    aggregate: str, engine: str, kind: Type, numbers: Sequence[str]
) -> None:
    view, log = _of_numbers(aggregate, kind, numbers)
    with pytest.raises((StoreError, OverflowError)):
        ENGINES[engine](view, log, [(("a",), 10)])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("tiles", [1, 2])
def test_squares_of_39_digits_are_an_error(engine: str, tiles: int) -> None:
    view, log = _of_numbers("var", Type.INT64, ["-9223372036854775808", "9223372036854775807"])
    second = log[1][3] or b""
    log[1] = (0, 1, 0, second.replace(b'"at": 1', b'"at": %d' % (tiles * 10 - 9)))
    with pytest.raises((StoreError, OverflowError, duckdb.DataError)):
        ENGINES[engine](view, log, [(("a",), 20)])
