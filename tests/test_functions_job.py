"""Every expression of the tables on every row, through a real Flink: one job for all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.operators.expression import Call, parse
from headrace.operators.expression import Column as Operand
from headrace.operators.functions import Function, Value
from headrace.operators.source import Column, check_sql
from headrace.operators.types import Type
from tests.flink import by_flink, plan
from tests.formulas import COLUMNS, EXPRESSIONS, ROWS, TABLES, python

pytestmark = pytest.mark.flink


def test_flink_gives_the_same_on_every_row(tmp_path: Path) -> None:
    trees = [parse(text, COLUMNS) for text in EXPRESSIONS]
    made = by_flink(trees, COLUMNS, list(ROWS.values()), tmp_path)
    wrong = [
        (text, name, value, python(tree, ROWS[name]))
        for name, values in zip(ROWS, made, strict=True)
        for text, tree, value in zip(EXPRESSIONS, trees, values, strict=True)
        if repr(value) != repr(python(tree, ROWS[name]))
    ]
    assert wrong == []
    assert sum(value is not None for values in made for value in values) > len(EXPRESSIONS)


def test_no_comparison_becomes_a_search(tmp_path: Path) -> None:
    # Its Java ends in a comment without an end of line: where another value follows, as in
    # JSON_OBJECT, the program does not compile.
    cases = [*TABLES["comparison"], *TABLES["conditional"]]
    trees = [parse(text, COLUMNS) for text in dict.fromkeys(text for text, _, _ in cases)]
    # A source's bool is a comparison too.
    value, _ = check_sql(Column("flag", Type.BOOL), "{0}", "TRUE")
    flag = Call(Function("flag", Type.BOOL, value, bool), (Operand("s", Type.STRING),), Type.BOOL)
    found = plan([*trees, *(_either_way(flag))], COLUMNS, tmp_path)
    assert "IFNULL((i = 1)" in found
    assert "SEARCH(" not in found


def _either_way(flag: Call) -> list[Call]:
    text = "(({0}) IS NULL OR NOT {0})", "({0} OR {0} IS NOT TRUE)"
    return [Call(Function("flags", Type.BOOL, each, bool), (flag,), Type.BOOL) for each in text]


def test_flink_reads_no_minus_zero(tmp_path: Path) -> None:
    written: dict[str, Value] = {"-0.0": 0.0, "-0": 0.0, "0.0": 0.0, "-2.5": -2.5, "5e-324": 5e-324}
    value, _ = check_sql(Column("x", Type.FLOAT64), "{0}", "TRUE")
    read = Function("read", Type.FLOAT64, value, float)
    tree = Call(read, (Operand("s", Type.STRING),), Type.FLOAT64)
    rows = [{"s": text} for text in written]
    made = by_flink([tree], {"s": Type.STRING}, rows, tmp_path)
    assert repr([value for (value,) in made]) == repr(list(written.values()))
