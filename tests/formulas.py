r"""Tables of expressions and of the rows they are computed on, one table for each family.

::

    # a note on the cases below it
    plain  i + j     => 9            a row's name, an expression, its value on that row, as JSON
    high   i + 1     => beyond       a number leaves its type: the row is a dead letter

Each expression is computed on every row by every engine; the table says what it is on one of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from headrace.operators.expression import Call, Column, Expression, parse, range_checks
from headrace.operators.functions import Value
from headrace.operators.types import Type

CASES = Path(__file__).with_name("cases") / "functions"
COLUMNS = {
    "i": Type.INT64,
    "j": Type.INT64,
    "x": Type.FLOAT64,
    "y": Type.FLOAT64,
    "b": Type.BOOL,
    "c": Type.BOOL,
    "s": Type.STRING,
    "u": Type.STRING,
    "t": Type.INT64,
    "d": Type.STRING,
}
LEAST, MOST = -(2**63), 2**63 - 1
# New York's clock goes from 2 to 3 at the first of these, and from 2 to 1 at the second.
SPRING, AUTUMN = 1_362_898_800_000, 1_383_458_400_000
LONG = json.dumps({"a": {"b": "x" * 1_100}, "n": 5})
DEEP = '{"a": ' + "[" * 600 + "]" * 600 + ', "n": 5}'
_ROWS: Mapping[str, Sequence[Value]] = {
    "plain": (7, 2, 2.5, 0.1, True, False, "Été À 'b'", "été", SPRING - 1, '{"a": {"b": "x"}}'),
    "minus": (-7, 2, -2.5, -0.1, False, False, "a", "B", SPRING, '{"a": "x", "n": -0, "t": true}'),
    "zeros": (0, 0, 0.0, 0.0, False, True, "", "", 0, ""),
    "nulls": (None,) * len(COLUMNS),
    "half": (None, 3, None, 1.0, None, True, None, "ẞİΣ", AUTUMN - 1, '{"a": null, "n": 1e2}'),
    "other": (5, None, 5.5, None, True, None, "😀🏳️", None, AUTUMN, '{"n": 1, "n": 2, "t": false}'),
    "wide": (
        *(LEAST, -1, 1.7976931348623157e308, 5e-324, True, True, "\\", "%"),
        *(-1, '{"n": 9223372036854775808, "f": 1e400}'),
    ),
    "high": (
        *(MOST, 2**53 + 1, float(2**53), 1e-300, False, True, '"', "a|b"),
        *(
            253_402_300_799_999,
            '{"n": 9223372036854775807, "f": -0.0, "a": {"b": "\\ud83d\\ude00"}}',
        ),
    ),
    "leap": (
        12,
        5,
        2.675,
        -0.5,
        True,
        True,
        "  a b ",
        " ",
        1_330_516_800_000,
        '{"a": {"b": "\\ud800"}}',
    ),
    "early": (
        *(-12, 7, 0.49999999999999994, 45.0, False, False, "flight 12\n", "t 1"),
        *(-62_135_596_800_000, '{"n": 1} x'),
    ),
    "parts": (
        *(3, 3, 40.6413, -73.7781, True, False, "a|b||c", "|", 4_102_444_799_999),
        ' {"f": 0.1e-5, "n": 12345678901234567890123, "a": {"b": ""}} ',
    ),
    "after": (15, -3, -1.005, 180.0, None, False, "007", "7", 4_102_444_800_000, '[{"n": 1}]'),
    "digits": (1, 10, 1e15, -9.3e18, False, None, "12", "-1.5e3", 1, '{"n": 1, "a": {"b": 2},}'),
    "words": (2, 4, 9.3e18, 0.5, True, False, "true", "false", 951_782_400_000, '{"f": NaN}'),
    "edges": (
        *(9, 8, -0.4, 4503599627370497.5, False, True, "-9223372036854775808", "1e400"),
        *(253_402_300_800_000, '{"a": {"b": "NaN,]\\"}"}, "f": 1.50, "n": "5"}'),
    ),
    "marks": (
        -1,
        -7,
        -1e300,
        2.5,
        True,
        True,
        "e\u0301x\u2028\u00a0 ",
        "\u0301",
        -62_135_596_800_001,
        LONG,
    ),
    "blank": (4, 1, 33.9416, -118.4085, None, None, "a\tb\r\nc", "\n", 68_169_600_000, DEEP),
    "paths": (
        6,
        6,
        1e-5,
        -1e-5,
        True,
        True,
        "aXbXXc",
        "X",
        1_704_067_200_000,
        '{"a": [{"b": 1}], "f": Infinity}',
    ),
}
ROWS: dict[str, dict[str, Value]] = {
    name: dict(zip(COLUMNS, values, strict=True)) for name, values in _ROWS.items()
}
BEYOND = "beyond its type"
Case = tuple[str, str, Value]
"""An expression, a row's name, the value."""

_LINE = re.compile(r"(\w+) +(.+?) +=> (.+)")


def read(path: Path) -> list[Case]:
    """Read a table of cases."""
    cases: list[Case] = []
    for line in path.read_text("utf-8").split("\n"):
        if line and not line.startswith("#"):
            match = _LINE.fullmatch(line)
            assert match, line
            row, text, value = match.groups()
            cases.append((text, row, BEYOND if value == "beyond" else json.loads(value)))
    assert len({(text, row) for text, row, _ in cases}) == len(cases) > 0
    return cases


TABLES = {path.stem: read(path) for path in sorted(CASES.glob("*.txt"))}
EXPRESSIONS = tuple(dict.fromkeys(text for cases in TABLES.values() for text, _, _ in cases))


def python(tree: Expression, row: Mapping[str, Value]) -> Value:
    """Compute by the oracle."""
    try:
        return tree.of(row)
    except OverflowError:
        return BEYOND


def by_duckdb(
    trees: Sequence[Expression], rows: Sequence[Mapping[str, Value]]
) -> list[list[Value]]:
    """Compute every expression on every row in one DuckDB query: by row, by expression."""
    columns = dict.fromkeys(column for row in rows for column in row)
    kinds = {name: kind.arrow for name, kind in _types(trees).items()}
    fields = [("n", pa.int64()), *((name, kinds[name]) for name in columns if name in kinds)]
    table = pa.Table.from_pylist([{"n": n, **row} for n, row in enumerate(rows)], pa.schema(fields))
    values = "".join(f", {tree.sql('duckdb')} AS e{n}" for n, tree in enumerate(trees))
    beyond = "".join(f", {refused(tree, 'duckdb')} AS f{n}" for n, tree in enumerate(trees))
    with duckdb.connect() as connection:
        connection.register("arrow", table)
        connection.execute("CREATE TABLE rows AS SELECT * FROM arrow")
        query = f"SELECT n{values}{beyond} FROM rows ORDER BY n"
        found = connection.sql(query).to_arrow_table()
    assert [found.schema.field(f"e{n}").type for n in range(len(trees))] == [
        tree.type.arrow for tree in trees
    ]
    return [
        [BEYOND if row[f"f{n}"] else row[f"e{n}"] for n in range(len(trees))]
        for row in found.to_pylist()
    ]


def refused(tree: Expression, engine: str) -> str:
    """Print whether an expression refuses a row."""
    return " OR ".join(f"{check} IS FALSE" for check in ("TRUE", *range_checks(tree, engine)))


def _types(trees: Sequence[Expression]) -> dict[str, Type]:
    found: dict[str, Type] = {}
    todo = list(trees)
    while todo:
        tree = todo.pop()
        if isinstance(tree, Call):
            todo += tree.arguments
        elif isinstance(tree, Column):
            found[tree.name] = tree.type
    return found


def functions_of(tree: Expression) -> set[str]:
    """Name the functions of an expression."""
    if not isinstance(tree, Call):
        return set()
    return {tree.function.name}.union(*map(functions_of, tree.arguments))


def _forms() -> tuple[str, ...]:
    """Give an expression for each function: the first of those that refuse the fewest rows."""
    best: dict[str, tuple[int, str]] = {}
    for text in EXPRESSIONS:
        tree = parse(text, COLUMNS)
        refusals = sum(python(tree, row) == BEYOND for row in ROWS.values())
        for name in functions_of(tree):
            if name not in best or refusals < best[name][0]:
                best[name] = (refusals, text)
    return tuple(dict.fromkeys(text for _, text in best.values()))


FORMS = _forms()
