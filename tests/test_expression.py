"""Expressions: one meaning in Python and in DuckDB, and every refusal word for word.

Each expression is evaluated on every row, in both; the table says what it must be on one of them.
`tests/test_views_job.py` puts the same expressions through Flink.
"""

from __future__ import annotations

from collections.abc import Mapping

import duckdb
import pyarrow as pa
import pytest

from headrace.operators.errors import HeadraceError
from headrace.operators.expression import Expression, parse, range_checks
from headrace.operators.functions import FUNCTIONS, Value
from headrace.operators.types import Type

COLUMNS = {
    "i": Type.INT64,
    "j": Type.INT64,
    "x": Type.FLOAT64,
    "y": Type.FLOAT64,
    "b": Type.BOOL,
    "c": Type.BOOL,
    "s": Type.STRING,
    "u": Type.STRING,
}
LEAST, MOST = -(2**63), 2**63 - 1
ROWS: dict[str, dict[str, Value]] = {
    name: dict(zip(COLUMNS, values, strict=True))
    for name, values in {
        "plain": (7, 2, 2.5, 0.1, True, False, "Été À 'b'", "été"),
        "minus": (-7, 2, -2.5, -0.1, False, False, "a", "B"),
        "zeros": (0, 0, 0.0, 0.0, False, True, "", ""),
        "nulls": (None,) * len(COLUMNS),
        "half": (None, 3, None, 1.0, None, True, None, "ẞİΣ"),
        "other": (5, None, 5.5, None, True, None, "😀🏳️", None),
        "wide": (LEAST, -1, 1.7976931348623157e308, 5e-324, True, True, "\\", "%"),
        "high": (MOST, 2**53 + 1, float(2**53), 1e-300, False, True, '"', "a|b"),
    }.items()
}
BEYOND = "beyond its type"
CASES: tuple[tuple[str, str, Value], ...] = (
    ("i + j", "plain", 9),
    ("i + 1", "high", BEYOND),
    ("i - 1", "wide", BEYOND),
    ("i - j", "half", None),
    ("i * j", "minus", -14),
    ("i * j", "wide", BEYOND),
    ("i * i", "high", BEYOND),
    ("(i + 1) * 0", "high", BEYOND),
    ("CASE WHEN i < 10 THEN i + 1 ELSE i END", "high", BEYOND),
    ("i + x", "plain", 9.5),
    ("x * 10", "wide", BEYOND),
    ("x * y", "zeros", 0.0),
    ("x * -1", "zeros", 0.0),
    ("x * -1 * y", "high", -9007199254740992.0 * 1e-300),
    ("y * y * -1", "wide", 0.0),
    ("x + x - x", "wide", BEYOND),
    ("i / j", "plain", 3.5),
    ("i / j", "minus", -3.5),
    ("i / j", "zeros", None),
    ("x / 0", "plain", None),
    ("x / y", "wide", BEYOND),
    ("0 / x", "minus", 0.0),
    ("-i", "minus", 7),
    ("-i", "wide", BEYOND),
    ("-x", "zeros", 0.0),
    ("- -5", "nulls", 5),
    ("abs(i)", "minus", 7),
    ("abs(i)", "wide", BEYOND),
    ("ABS(x)", "minus", 2.5),
    ("FLOOR(x)", "minus", -3.0),
    ("FLOOR(i)", "plain", 7.0),
    ("FLOOR(-0.0 * x)", "plain", 0.0),
    ("i = j", "nulls", None),
    ("i == 7", "plain", True),
    ("i <> j", "plain", True),
    ("i != j", "half", None),
    ("x < j", "high", False),
    ("j > x", "high", False),
    ("j = 9007199254740993", "high", True),
    ("i <= 7 AND x >= 2.5", "plain", True),
    ("s < u", "minus", False),
    ("s > 'a'", "plain", True),
    ("s <= u", "zeros", True),
    ("b = c", "minus", True),
    ("b AND c", "half", None),
    ("b AND c", "zeros", False),
    ("c AND b", "nulls", None),
    ("b OR c", "half", True),
    ("b OR NULL", "plain", True),
    ("NOT b", "minus", True),
    ("NOT b", "nulls", None),
    ("s IS NULL", "nulls", True),
    ("i IS NOT NULL", "nulls", False),
    ("NOT i IS NULL", "plain", True),
    ("(b AND c) IS NULL", "half", True),
    ("COALESCE(i, j, 1)", "half", 3),
    ("COALESCE(i, x)", "plain", 7.0),
    ("COALESCE(s, 'none')", "nulls", "none"),
    ("IFNULL(b, FALSE)", "nulls", False),
    ("LEAST(i, 5)", "plain", 5),
    ("LEAST(i, j)", "half", None),
    ("LEAST(i, 2.5)", "minus", -7.0),
    ("LEAST(s, u)", "minus", "B"),
    ("GREATEST(x, y, 0)", "minus", 0.0),
    ("GREATEST(x, NULL)", "plain", None),
    ("GREATEST(s, u)", "half", None),
    ("CASE WHEN b THEN 'x' END", "minus", None),
    ("CASE WHEN b THEN 'x' END", "plain", "x"),
    ("CASE WHEN b THEN NULL ELSE s END", "minus", "a"),
    ("CASE WHEN NULL THEN 1 ELSE 2.5 END", "plain", 2.5),
    ("CASE WHEN b THEN i WHEN c THEN x ELSE 0 END", "zeros", 0.0),
    ("CASE WHEN i > 0 THEN i END", "half", None),
    ("CASE WHEN x IS NULL THEN -1 WHEN x > 2 THEN 1 ELSE 0 END", "nulls", -1),
    ("LENGTH(s)", "other", 3),
    ("LENGTH(s)", "zeros", 0),
    ("CHAR_LENGTH(u)", "half", 3),
    ("LOWER(s)", "plain", "Été À 'b'"),
    ("LOWER(u)", "minus", "b"),
    ("LOWER(u)", "half", "ẞİΣ"),
    ("s || u", "plain", "Été À 'b'été"),
    ("s || '''' || u", "nulls", None),
    ("s || '😀\"'", "zeros", '😀"'),
    ("\"s\" = 'Été À ''b'''", "plain", True),
    ("1.5e3", "nulls", 1500.0),
    ("0.30000000000000004", "nulls", 0.30000000000000004),
    ("-0.0", "nulls", 0.0),
    ("1e16 + 0", "nulls", 1e16),
    ("123456789.987654321e-20", "nulls", 123456789.987654321e-20),
    ("-9223372036854775808", "nulls", LEAST),
    ("9223372036854775807", "nulls", MOST),
    ("TRUE", "nulls", True),
    ("NULL", "plain", None),
    ("i /* a note */ + 1 -- and another", "plain", 8),
)
EXPRESSIONS = tuple(dict.fromkeys(text for text, _, _ in CASES))


def python(tree: Expression, row: Mapping[str, Value]) -> Value:
    try:
        return tree.of(row)
    except OverflowError:
        return BEYOND


@pytest.fixture(scope="module")
def answers() -> dict[tuple[str, str], Value]:
    """Every expression on every row, by DuckDB."""
    fields = [("row", pa.string()), *((name, kind.arrow) for name, kind in COLUMNS.items())]
    rows = [{"row": name, **row} for name, row in ROWS.items()]
    table = pa.Table.from_pylist(rows, pa.schema(fields))
    trees = [parse(text, COLUMNS) for text in EXPRESSIONS]
    values = ", ".join(f"{tree.sql('duckdb')} AS e{n}" for n, tree in enumerate(trees))
    beyond = ", ".join(
        " OR ".join(f"{check} IS FALSE" for check in ("TRUE", *range_checks(tree, "duckdb")))
        + f" AS f{n}"
        for n, tree in enumerate(trees)
    )
    with duckdb.connect() as connection:
        connection.register("arrow", table)
        connection.execute("CREATE TABLE rows AS SELECT * FROM arrow")
        found = connection.sql(f"SELECT row, {values}, {beyond} FROM rows").to_arrow_table()
    types = [found.schema.field(f"e{n}").type for n in range(len(trees))]
    assert types == [tree.type.arrow for tree in trees]
    return {
        (text, row["row"]): BEYOND if row[f"f{n}"] else row[f"e{n}"]
        for row in found.to_pylist()
        for n, text in enumerate(EXPRESSIONS)
    }


@pytest.mark.parametrize(("text", "row", "value"), CASES, ids=[f"{c[0]} on {c[1]}" for c in CASES])
def test_an_expression_has_its_value(text: str, row: str, value: Value) -> None:
    assert repr(python(parse(text, COLUMNS), ROWS[row])) == repr(value)


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_duckdb_gives_the_same_on_every_row(
    text: str, answers: Mapping[tuple[str, str], Value]
) -> None:
    tree = parse(text, COLUMNS)
    ours = {name: repr(python(tree, row)) for name, row in ROWS.items()}
    assert {name: repr(answers[text, name]) for name in ROWS} == ours


def test_every_function_has_a_case() -> None:
    used: set[str] = set()
    todo = [parse(text, COLUMNS) for text in EXPRESSIONS]
    while todo:
        tree = todo.pop()
        used.add(getattr(getattr(tree, "function", None), "name", ""))
        todo += getattr(tree, "arguments", ())
    assert used - {"", "float64"} == set(FUNCTIONS)


WRITE = "write one SQL expression over the columns"
USE = "use columns, constants, operators and known functions"
NONE = "known: 'b', 'c', 'i', 'j', 's', 'u', 'x', 'y'"
REFUSED = {
    "b IS TRUE": "IS has no meaning here; write IS NULL, or compare it with =",
    "b IS NOT FALSE": "IS has no meaning here; write IS NULL, or compare it with =",
    "t.i": f"COLUMN with table has no meaning here; {USE}",
    "a.t.i + 1": f"COLUMN with table has no meaning here; {USE}",
    "FLOOR(x, 1)": f"FLOOR with decimals has no meaning here; {USE}",
    "1e400": "1e400 is beyond float64; write a number it can hold",
    "1e-400": "1e-400 is beyond float64; write a number it can hold",
    "9223372036854775808": "9223372036854775808 is beyond int64; write it with a fraction",
    "-9223372036854775809": "-9223372036854775809 is beyond int64; write it with a fraction",
    "i + 99999999999999999999": "99999999999999999999 is beyond int64; write it with a fraction",
    "": f"it is empty; {WRITE}",
    "-- i": f"it is empty; {WRITE}",
    "i; j": f"it is 2 statements; {WRITE}",
    "SELECT 1": f"SELECT has no meaning here; {USE}",
    "(SELECT 1)": f"SUBQUERY has no meaning here; {USE}",
    "i IN (SELECT 1)": f"IN has no meaning here; {USE}",
    "FROM t": f"SELECT has no meaning here; {USE}",
    "DROP TABLE t": f"DROP has no meaning here; {USE}",
    "*": f"STAR has no meaning here; {USE}",
    "LEAST(i, *)": f"STAR has no meaning here; {USE}",
    "LEAST(DISTINCT i)": f"DISTINCT has no meaning here; {USE}",
    "ABS(i) FILTER (WHERE b)": "FILTER has no meaning here; " + USE,
    "ABS(i) OVER ()": f"WINDOW has no meaning here; {USE}",
    "LEAST(i ORDER BY j)": f"ORDER has no meaning here; {USE}",
    "LEAST(i IGNORE NULLS)": f"IGNORENULLS has no meaning here; {USE}",
    "CASE i WHEN 7 THEN 1 END": "CASE with this has no meaning here; " + USE,
    "i AS k": f"ALIAS has no meaning here; {USE}",
    "i j": f"ALIAS has no meaning here; {USE}",
    "i BETWEEN 1 AND 2": f"BETWEEN has no meaning here; {USE}",
    "s LIKE 'a%'": f"LIKE has no meaning here; {USE}",
    "i IS DISTINCT FROM j": f"NULLSAFENEQ has no meaning here; {USE}",
    "i % 2": f"MOD has no meaning here; {USE}",
    "i // 2": f"INTDIV has no meaning here; {USE}",
    "(i, j)": f"TUPLE has no meaning here; {USE}",
    "?": f"PLACEHOLDER has no meaning here; {USE}",
    "ABS(i := 1)": f"PROPERTYEQ has no meaning here; {USE}",
    "E'a'": f"BYTESTRING has no meaning here; {USE}",
    "i +": "Required keyword: 'expression' missing for <class "
    f"'sqlglot.expressions.core.Add'>; {WRITE}",
    "'abc": f"Error tokenizing ''ab'; {WRITE}",
    "'a\0b'": "a text has the character U+0000; remove it",
    "(" * 2000 + "i" + ")" * 2000: "it is nested too deep; write it shorter",
}
NAMELESS = {
    "k": f"asked for the column 'k'; {NONE}; use one of the known names",
    "I": f"asked for the column 'I'; {NONE}; did you mean 'i'?",
    "leest(i, 1)": "asked for the function 'leest'; known (nearest of 25): 'least', 'greatest'; "
    "did you mean 'least'?",
    "COUNT(i)": "asked for the function 'count'; none of the 25 known names is near it; "
    "use one of the known names",
    "RANDOM()": "asked for the function 'rand'; known (nearest of 25): 'and'; did you mean 'and'?",
    "CAST(i AS VARCHAR)": "asked for the function 'cast'; known (nearest of 25): 'case', 'least'; "
    "did you mean 'case'?",
    "[i, j]": "asked for the function 'array'; none of the 25 known names is near it; "
    "use one of the known names",
    "i + s": "asked for add(int64, string) in 'i + s'; add takes two operands of one type; "
    "cast or change an argument",
    "CASE WHEN i THEN 1 END": "asked for case(int64, int64, int64) in 'CASE WHEN i THEN 1 END'; "
    "case takes conditions and results of one type; cast or change an argument",
    "CASE WHEN b THEN 1 ELSE 'x' END": "asked for case(bool, int64, string) in "
    "\"CASE WHEN b THEN 1 ELSE 'x' END\"; case takes conditions and results of one type; "
    "cast or change an argument",
    "ABS(i, 2)": "asked for the expression 'ABS(i, 2)'; The number of provided arguments (2) is "
    f"greater than the maximum number of supported arguments (1); {WRITE}",
    "b = 1": "asked for eq(bool, int64) in 'b = 1'; eq takes two operands of one type; "
    "cast or change an argument",
}


def refusal(text: str) -> str:
    with pytest.raises(HeadraceError) as refused:
        parse(text, COLUMNS)
    return str(refused.value)


@pytest.mark.parametrize("text", REFUSED, ids=[text[:30] for text in REFUSED])
def test_what_is_not_understood_is_refused(text: str) -> None:
    shown = text if len(text) <= 60 else f"{text[:60]}…"
    assert refusal(text) == f"asked for the expression {shown!r}; {REFUSED[text]}"


@pytest.mark.parametrize("text", NAMELESS)
def test_an_unknown_name_or_a_wrong_type_is_refused(text: str) -> None:
    assert refusal(text) == NAMELESS[text]
