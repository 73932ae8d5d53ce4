"""Expressions: one meaning in Python and in DuckDB, and every refusal word for word.

Each expression of `tests/cases/functions` is evaluated on every row, in both; its table says what
it must be on one of them. `tests/test_functions_job.py` puts the same through Flink.
"""

from __future__ import annotations

import doctest
import textwrap
from collections import defaultdict

import pytest

from headrace.operators.errors import HeadraceError
from headrace.operators.expression import parse
from headrace.operators.functions import ALIASES, FAMILIES, FUNCTIONS, REFUSED, Entry, Value
from tests.formulas import (
    COLUMNS,
    EXPRESSIONS,
    ROWS,
    TABLES,
    by_duckdb,
    functions_of,
    python,
)

CASES = [
    pytest.param(*case, id=f"{family}: {case[0]} on {case[1]}")
    for family, cases in TABLES.items()
    for case in cases
]
FEWEST_FUNCTIONS = 60


@pytest.fixture(scope="module")
def answers() -> dict[tuple[str, str], Value]:
    """Every expression on every row, by DuckDB."""
    trees = [parse(text, COLUMNS) for text in EXPRESSIONS]
    found = by_duckdb(trees, list(ROWS.values()))
    return {
        (text, name): value
        for name, values in zip(ROWS, found, strict=True)
        for text, value in zip(EXPRESSIONS, values, strict=True)
    }


@pytest.mark.parametrize(("text", "row", "value"), CASES)
def test_an_expression_has_its_value(text: str, row: str, value: Value) -> None:
    assert repr(python(parse(text, COLUMNS), ROWS[row])) == repr(value)


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_duckdb_gives_the_same_on_every_row(
    text: str, answers: dict[tuple[str, str], Value]
) -> None:
    tree = parse(text, COLUMNS)
    ours = {name: repr(python(tree, row)) for name, row in ROWS.items()}
    assert {name: repr(answers[text, name]) for name in ROWS} == ours


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_has_three_cases_and_one_on_null(name: str) -> None:
    rows = defaultdict(set)
    for cases in TABLES.values():
        for text, row, value in cases:
            for function in functions_of(parse(text, COLUMNS)):
                rows[function].add((text, row, value))
    assert len(rows[name]) >= 3
    nulls = {text for text, row, _ in rows[name] if None in ROWS[row].values() or "NULL" in text}
    assert nulls or name == "duration"  # which has no argument


def test_the_catalogue_is_whole() -> None:
    assert set(TABLES) == {*FAMILIES, "literals"}
    assert len(FUNCTIONS) == sum(map(len, FAMILIES.values())) >= FEWEST_FUNCTIONS
    assert set(ALIASES.values()) <= set(FUNCTIONS)
    assert not (set(REFUSED) | set(ALIASES)) & set(FUNCTIONS)


@pytest.mark.parametrize("entry", FUNCTIONS.values(), ids=FUNCTIONS)
def test_the_examples_of_a_function_run(entry: Entry) -> None:
    def of(text: str) -> Value:
        return parse(text, {}).of({})

    about = textwrap.dedent("    " + entry.about)
    test = doctest.DocTestParser().get_doctest(about, {"of": of}, entry.name, None, 0)
    assert test.examples
    said: list[str] = []
    result = doctest.DocTestRunner(verbose=False).run(test, out=said.append)
    assert result.failed == 0, "".join(said)


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
