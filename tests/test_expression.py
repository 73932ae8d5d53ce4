"""Expressions: one meaning in Python and in DuckDB, and every refusal word for word.

Each expression of `tests/cases/functions` is evaluated on every row, in both; its table says what
it must be on one of them. `tests/test_functions_job.py` puts the same through Flink.
"""

from __future__ import annotations

import doctest
import textwrap
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.operators.errors import HeadraceError
from headrace.operators.expression import parse
from headrace.operators.functions import ALIASES, FAMILIES, FUNCTIONS, REFUSED, Entry, Value
from headrace.operators.functions.zone import ZONE_END_MS, Zone
from tests.formulas import (
    COLUMNS,
    EXPRESSIONS,
    ROWS,
    TABLES,
    by_duckdb,
    functions_of,
    python,
)
from tests.fuzz_expressions import ZONES, functions_tried, run

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


def test_every_function_has_three_cases_and_one_on_null() -> None:
    cases: dict[str, set[tuple[str, str]]] = {name: set() for name in FUNCTIONS}
    for table in TABLES.values():
        for text, row, _ in table:
            for name in functions_of(parse(text, COLUMNS)) & set(FUNCTIONS):
                cases[name].add((text, row))
    assert [name for name, found in cases.items() if len(found) < 3] == []
    nulls = {
        name
        for name, found in cases.items()
        if any(None in ROWS[row].values() or "NULL" in text for text, row in found)
    }
    assert nulls == set(FUNCTIONS)


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
NONE = "known: 'b', 'c', 'd', 'i', 'j', 's', 't', 'u', 'x', 'y'"
OUT = "compute it before, or leave it out"
CAST = "cast or change an argument"
REFUSED_TEXTS = {
    "t.i": f"COLUMN with table has no meaning here; {USE}",
    "a.t.i + 1": f"COLUMN with table has no meaning here; {USE}",
    "b IS b": "IS has no meaning here; write IS NULL, or compare it with =",
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
    "i IN (SELECT 1)": f"IN with query has no meaning here; {USE}",
    "i IN j": f"IN with field has no meaning here; {USE}",
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
    "i & 2": f"BITWISEAND has no meaning here; {USE}",
    "(i, j)": f"TUPLE has no meaning here; {USE}",
    "?": f"PLACEHOLDER has no meaning here; {USE}",
    "INTERVAL '1' DAY": f"INTERVAL has no meaning here; {USE}",
    "ABS(i := 1)": f"PROPERTYEQ has no meaning here; {USE}",
    "E'a'": f"BYTESTRING has no meaning here; {USE}",
    "i +": "Required keyword: 'expression' missing for <class "
    f"'sqlglot.expressions.core.Add'>; {WRITE}",
    "'abc": f"Error tokenizing ''ab'; {WRITE}",
    "'a\0b'": "a text has the character U+0000; remove it",
    "(" * 2000 + "i" + ")" * 2000: "it is nested too deep; write it shorter",
    "abs(" * 20 + "i" + ")" * 20: "it is more than 100000 characters of SQL for flink; "
    "nest fewer functions in one another",
}
NAMELESS = {
    "k": f"asked for the column 'k'; {NONE}; use one of the known names",
    "I": f"asked for the column 'I'; {NONE}; did you mean 'i'?",
    "leest(i, 1)": "asked for the function 'leest'; known (nearest of 94): 'least', 'left', "
    "'greatest'; did you mean 'least'?",
    "[i, j]": "asked for the function 'array'; none of the 94 known names is near it; "
    "use one of the known names",
    "qqqq(i)": "asked for the function 'qqqq'; none of the 94 known names is near it; "
    "use one of the known names",
    "COUNT(i)": "asked for the function 'count'; never: an expression sees one row; "
    f"features of views see many; {OUT}",
    "exp(x)": "asked for the function 'exp'; never: the engines' mathematical libraries differ in "
    f"the last bit; {OUT}",
    "x ^ 2": "asked for the function 'power'; never: the engines' mathematical libraries differ in "
    f"the last bit; {OUT}",
    "RANDOM()": "asked for the function 'random'; never: a value depends on the log alone; hash64 "
    f"of a column is as good as random; {OUT}",
    "current_timestamp": "asked for the function 'current_timestamp'; never: a value depends on "
    f"the log alone, not on when it is computed; {OUT}",
    "s LIKE 'a%'": "asked for the function 'like'; not yet: Flink's % and _ pass over no line "
    f"feed; use starts_with, contains or regexp_matches; {OUT}",
    "json_value(d, '$.a')": "asked for the function 'json_value'; never: engines write one number "
    f"as 1.5, 1.50 and 1.5E0; use json_string, json_int64, json_float64; {OUT}",
    "CAST(x AS VARCHAR)": "asked for a cast in 'CAST(x AS VARCHAR)'; from float64 to string; "
    "never: Flink writes 1.0E21 and DuckDB 1e+21 for one number; leave it as it is",
    "CAST(s AS DATE)": "asked for a cast in 'CAST(s AS DATE)'; the type DATE is none of those that "
    "have a cast; use BIGINT, DOUBLE, VARCHAR or BOOLEAN",
    "CAST(i AS INT)": "asked for a cast in 'CAST(i AS INT)'; the type INT is none of those that "
    "have a cast; use BIGINT, DOUBLE, VARCHAR or BOOLEAN",
    "i + s": f"asked for add(int64, string) in 'i + s'; add takes two operands of one type; {CAST}",
    "i % x": f"asked for mod(int64, float64) in 'i % x'; mod takes two int64; {CAST}",
    "i IN (1, 'a')": "asked for in(int64, int64, string) in \"i IN (1, 'a')\"; in takes an operand "
    f"and a list of the same type; {CAST}",
    "CASE WHEN i THEN 1 END": "asked for case(int64, int64, int64) in 'CASE WHEN i THEN 1 END'; "
    f"case takes conditions and results of one type; {CAST}",
    "CASE WHEN b THEN 1 ELSE 'x' END": "asked for case(bool, int64, string) in "
    "\"CASE WHEN b THEN 1 ELSE 'x' END\"; case takes conditions and results of one type; "
    f"{CAST}",
    "ABS(i, 2)": f"asked for abs(int64, int64) in 'ABS(i, 2)'; abs takes one number; {CAST}",
    "FLOOR(x, 1)": "asked for floor(float64, int64) in 'FLOOR(x, 1)'; floor takes one number; "
    f"{CAST}",
    "b = 1": f"asked for eq(bool, int64) in 'b = 1'; eq takes two operands of one type; {CAST}",
    "hash64(x)": "asked for hash64(float64) in 'hash64(x)'; hash64 takes one string, int64 or "
    f"bool; {CAST}",
    "left(s, i)": "asked for left in 'left(s, i)'; its argument 2 is no constant; "
    "left takes a string and a count",
    "hour(t, s)": "asked for hour in 'hour(t, s)'; its argument 2 is no constant; "
    "hour takes a time in ms (int64) and, if wanted, a zone's name",
}
LOOKAROUND = "RE2 has no lookaround; groups are (…) and (?:…)"
CONSTANTS = {
    "left(s, -1)": "the count is a whole number from 0 to 1000000, written out",
    "substring(s, 0)": "the place, counted from 1, is a whole number from 1 to 1000000, "
    "written out",
    "repeat(s, 1001)": "the count is a whole number from 0 to 1000, written out",
    "lpad(s, 3, '')": "the filling is a text that is not empty, written out",
    "split_part(s, '', 1)": "the separator is a text that is not empty, written out",
    "round(x, 16)": "the number of digits is a whole number from 0 to 15, written out",
    "bucketise(x, [2, 1])": "the edges are numbers that ascend, like [0, 15, 60]",
    "bucketise(x, [])": "the edges are a list of 1 to 100 numbers, like [0, 15, 60]",
    "hash_bucket(s, 0)": "the number of buckets is a whole number from 1 to 16777216, written out",
    "hour(t, 'Mars/Olympus')": "no time zone is called 'Mars/Olympus'; "
    "write it like 'America/New_York'",
    "hour(t, '../zone.tab')": "no time zone is called '../zone.tab'; "
    "write it like 'America/New_York'",
    "floor_time(t, '15')": "a duration is a whole number and a unit (ms, s, m, h or d), like '15m'",
    "floor_time(t, '0s')": "the step is above 0",
    "json_string(d, 'a')": "the path is written like '$.a' or '$.a.b', with at most three names",
    "json_string(d, '$.a[0]')": "the path is written like '$.a' or '$.a.b', "
    "with at most three names",
    "regexp_matches(s, '')": "a pattern has from 1 to 200 characters",
    "regexp_matches(s, '(?=a)')": f"'(?=' in a pattern: {LOOKAROUND}",
    "regexp_matches(s, '(?<!a)b')": f"'(?<' in a pattern: {LOOKAROUND}",
    "regexp_matches(s, '(?i)a')": f"'(?i' in a pattern: {LOOKAROUND}",
    "regexp_matches(s, 'a++')": "'++' in a pattern: RE2 has no possessive repetition",
    "regexp_matches(s, 'a*?+')": "'*+' in a pattern: RE2 has no possessive repetition",
    "regexp_matches(s, '(a|b)*')": "'*' after a group: Java's stack is finite; "
    "repeat it like {1,100}",
    "regexp_matches(s, '(a?){1,2}')": "'{1,2}' after a group that may match nothing, "
    "which engines count apart",
    "regexp_matches(s, 'a{1,101}')": "'{1,101}' in a pattern: it counts up, to 100 at most",
    "regexp_matches(s, 'a*b*c*d*')": "a pattern with more than 3 of * and +: Java may try for ever",
    "regexp_matches(s, '(a')": "'(' in a pattern without its ')'",
    "regexp_matches(s, 'a)')": "')' in a pattern without its '('",
    "regexp_matches(s, '*a')": "'*' in a pattern where it means nothing; "
    "write it after a backslash",
    "regexp_matches(s, '[]')": "'[]' in a pattern: a class has a character",
    "regexp_matches(s, '[[:alpha:]]')": "'[' in a class of a pattern; write it after a backslash",
    "regexp_matches(s, '[a&&b]')": "'&' in a class: Java's own",
    "regexp_extract(s, '(a)', 2)": "the group is a whole number from 0 to 1, written out",
    "regexp_replace(s, 'a*', 'b')": "the pattern may match nothing, which engines replace apart",
    r"regexp_matches(s, '\b')": r"'\\b' in a pattern: engines read it apart; known are "
    r"\d \s \w \D \S \W \t \n \r \f and signs",
    r"regexp_matches(s, '(a)\1')": r"'\\1' in a pattern: engines read it apart; known are "
    r"\d \s \w \D \S \W \t \n \r \f and signs",
}


def refusal(text: str) -> str:
    with pytest.raises(HeadraceError) as refused:
        parse(text, COLUMNS)
    return str(refused.value)


@pytest.mark.parametrize("text", REFUSED_TEXTS, ids=[text[:30] for text in REFUSED_TEXTS])
def test_what_is_not_understood_is_refused(text: str) -> None:
    shown = text if len(text) <= 60 else f"{text[:60]}…"
    assert refusal(text) == f"asked for the expression {shown!r}; {REFUSED_TEXTS[text]}"


@pytest.mark.parametrize("text", NAMELESS)
def test_an_unknown_name_or_a_wrong_type_is_refused(text: str) -> None:
    assert refusal(text) == NAMELESS[text]


@pytest.mark.parametrize("text", CONSTANTS)
def test_a_constant_that_has_no_one_meaning_is_refused(text: str) -> None:
    name = text.partition("(")[0]
    shown = f"asked for {name} in {text!r}; {CONSTANTS[text]}; change the constant"
    assert refusal(text) == shown


def test_a_function_that_there_is_not_has_its_reason() -> None:
    assert len(REFUSED) > 40
    for name, reason in REFUSED.items():
        shown = f"asked for the function {name!r}; {reason}; {OUT}"
        assert refusal(f"{name}(x)") == shown


def test_random_expressions_are_the_same_in_duckdb() -> None:
    tried, found = run(200, seed=20_130_310)
    assert tried == 200
    assert found == []


def test_the_random_expressions_have_every_function() -> None:
    assert functions_tried(2_000, seed=3) >= set(FUNCTIONS)


@given(st.sampled_from(ZONES), st.integers(0, ZONE_END_MS - 1))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_a_zone_has_the_offsets_of_its_rules(name: str, at: int) -> None:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at)
    with files("tzdata.zoneinfo").joinpath(name).open("rb") as data:
        offset = moment.astimezone(ZoneInfo.from_file(data)).utcoffset() or timedelta()
    assert Zone.named(name).local(at) == at + offset // timedelta(milliseconds=1)


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("i + kk", 4),
        ("abs(leest(i))", 4),
        ("i + (s || j)", 5),
        ("1 + abs('a')", 4),
        ("j + NOW()", 4),
    ],
)
def test_an_error_says_where_it_is_in_the_text(text: str, start: int) -> None:
    with pytest.raises(HeadraceError) as refused:
        parse(text, COLUMNS)
    assert refused.value.start == start
