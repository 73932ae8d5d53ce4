"""Random expressions on random rows: in process = DuckDB, and Flink where it is asked for.

::

    seed ─► columns, rows, expressions ─┬─► Python ─┐
             (a batch of hundreds)      ├─► DuckDB ─┼─► differences, made small
                                        └─► Flink  ─┘

`run(count, seed)` tries `count` expressions. What it finds becomes a case of
`tests/cases/functions`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from headrace.operators.errors import HeadraceError
from headrace.operators.expression import Call, Expression, parse
from headrace.operators.functions import Value
from headrace.operators.types import Type
from tests.flink import by_flink
from tests.formulas import AUTUMN, LEAST, MOST, SPRING, by_duckdb, functions_of, python

BATCH = 250
ROWS = 12

_WORDS = (
    *("", " ", "a", "A", "é", "É", "ß", "ẞİΣ", "😀🏳️", "e\u0301", "a|b||c", "|", "\\", "'", '"'),
    *(
        "12",
        "007",
        "-0",
        "1.5",
        "1e3",
        "-1e400",
        "true",
        "TRUE",
        "false",
        "null",
        "%_",
        "$1",
        "\\1",
    ),
    *("\n", "a\nb", "\u2028", "\u00a0x ", "  a b ", "{}", "XX", "aXbXXc", "9223372036854775807"),
)
_DOCUMENTS = (
    *('{"a": 1}', '{"a": "x", "a": 2}', '{"a": {"b": "é"}, "c": true}', '{"a": 1.50}', "{}", "[]"),
    *('{"a": NaN}', '{"a": 1,}', '{"a": 1} x', '{"a": "\\ud800"}', '{"a": "\\ud83d\\ude00"}'),
    *('{"a": -0.0, "b": 1e5}', '{"a": {"b": null}}', '{"a": 1e400}', '{"c": false}', '{"a":[1]}'),
    *('{"a":{"b":1,"b":{"c":7}}}', ' {"a"\n:"\\n"} ', '{"a": 0123}', '{"\\u0061": 9}', "nul"),
)
_TIMES = (
    *(0, -1, 1, SPRING, SPRING - 1, AUTUMN, AUTUMN - 1, 1_330_473_600_000, 951_868_799_999),
    *(-62_135_596_800_000, 253_402_300_799_999, 4_102_444_799_999, 1_325_239_200_000, 86_399_999),
)
_POOLS: dict[str, Sequence[Value]] = {
    "i": (
        0,
        1,
        -1,
        2,
        7,
        -7,
        12,
        100,
        2**31,
        2**53 + 1,
        -(2**53) - 1,
        LEAST,
        MOST,
        MOST - 1,
        10**9,
    ),
    "x": (
        *(0.0, 1.0, -1.0, 0.5, -0.5, 2.5, -2.675, 0.1, 1e-300, 5e-324, 1e16, 9.3e18, -9.3e18),
        *(1.7976931348623157e308, -1e300, 2.0**52 + 0.5, 0.49999999999999994, 89.9, -179.5),
    ),
    "b": (True, False),
    "s": _WORDS,
    "t": _TIMES,
    "d": _DOCUMENTS,
}
_KINDS = {
    "i": Type.INT64,
    "x": Type.FLOAT64,
    "b": Type.BOOL,
    "s": Type.STRING,
    "t": Type.INT64,
    "d": Type.STRING,
}
ZONES = (
    *("America/New_York", "Europe/Paris", "Asia/Kolkata", "Pacific/Apia", "Africa/Casablanca"),
    *("Australia/Lord_Howe", "America/Sao_Paulo", "UTC", "Africa/Monrovia", "Antarctica/Troll"),
)
_PATTERNS = (
    *("a", "^a", "b$", "[0-9]+", "\\s", "\\w", ".", "(a)|(X+)", "X.*?c", "[^a-z]", "^$", "a.b"),
    *("\\|", "\\\\", "(?:a|b){1,3}", "é", "[é😀]", "\\d{2,}", "(\\d)?x", "^.{2}", "'"),
)
# Per type of the result the forms of calls; a brace holds the types that may stand there.
_FORMS: Mapping[str, Sequence[str]] = {
    "i": (
        *("{i} + {i}", "{i} - {i}", "{i} * {i}", "{i} // {i}", "{i} % {i}", "-{i}", "abs({i})"),
        *("sign({n})", "nullif({i}, {i})", "coalesce({i}, {i})", "if({b}, {i}, {i})"),
        *(
            "CASE WHEN {b} THEN {i} WHEN {b} THEN {i} END",
            "least({i}, {i})",
            "greatest({i}, {i}, 0)",
        ),
        *("length({s})", "position({s}, {s})", "CAST({x} AS BIGINT)", "CAST({s} AS BIGINT)"),
        *("TRY_CAST({s} AS BIGINT)", "TRY_CAST({x} AS BIGINT)", "CAST({b} AS BIGINT)"),
        *("hash64({s})", "hash64({i})", "hash_bucket({s}, {k9})", "clip({i}, {i}, {i})"),
        *("bucketise({n}, [-1, 0, 7])", "bucketise({x}, [-0.5, 1e9])", "json_int64({d}, {kpath})"),
        *("json_int64({s}, '$.a')", "haversine({x}, {x}, {x}, {n})", "floor_time({t}, {kstep})"),
        *(
            "duration({kstep})",
            "local_time({t}, {kzone})",
            "weekday({t}, {kzone})",
            "hour({t}, {kzone})",
        ),
        *(
            "year({t})",
            "quarter({t})",
            "month({t}, {kzone})",
            "day({t}, {kzone})",
            "day_of_year({t})",
        ),
        *("hour({t})", "minute({t}, {kzone})", "second({t})", "weekday({t})", "minute({i})"),
    ),
    "x": (
        *("{x} + {n}", "{n} - {x}", "{x} * {n}", "{n} / {n}", "-{x}", "abs({x})", "sqrt({n})"),
        *("square({n})", "floor({n})", "ceil({n})", "trunc({n})", "round({n})", "round({x}, {k9})"),
        *("clip({x}, {n}, {n})", "nullif({x}, {n})", "coalesce({x}, {n})", "if({b}, {x}, {i})"),
        *("least({x}, {n})", "greatest({x}, {x})", "CAST({i} AS DOUBLE)", "CAST({s} AS DOUBLE)"),
        *("TRY_CAST({s} AS DOUBLE)", "json_float64({d}, {kpath})", "CAST({b} AS DOUBLE)"),
        *("CASE WHEN {b} THEN {x} ELSE {n} END",),
    ),
    "b": (
        *("{n} = {n}", "{n} <> {n}", "{n} < {n}", "{n} <= {n}", "{n} > {n}", "{n} >= {n}"),
        *("{s} = {s}", "{s} < {s}", "{b} = {b}", "{n} BETWEEN {n} AND {n}", "{s} IN ({s}, 'a')"),
        *("{i} IN ({i}, 7, NULL)", "{n} NOT IN ({n}, {n})", "{n} IS DISTINCT FROM {n}"),
        *("{s} IS NOT DISTINCT FROM {s}", "{b} AND {b}", "{b} OR {b}", "NOT {b}", "xor({b}, {b})"),
        *(
            "{i} IS NULL",
            "{x} IS NOT NULL",
            "{b} IS TRUE",
            "{b} IS NOT FALSE",
            "contains({s}, {s})",
        ),
        *("starts_with({s}, {s})", "ends_with({s}, {s})", "regexp_matches({s}, {kpattern})"),
        *("CAST({s} AS BOOLEAN)", "TRY_CAST({s} AS BOOLEAN)", "json_bool({d}, {kpath})"),
        *("coalesce({b}, {b})", "if({b}, {b}, {b})"),
    ),
    "s": (
        *("lower({s})", "upper({s})", "trim({s})", "ltrim({s})", "rtrim({s})", "reverse({s})"),
        *("{s} || {s}", "concat({s}, {s}, '-')", "replace({s}, {s}, {s})", "left({s}, {k9})"),
        *(
            "right({s}, {k9})",
            "substring({s}, {k9}, {k9})",
            "substring({s}, {k9})",
            "nullif({s}, {s})",
        ),
        *("lpad({s}, {k9}, 'é😀')", "rpad({s}, {k9}, '''x')", "repeat({s}, {k9})"),
        *("split_part({s}, {kword}, {k9})", "regexp_extract({s}, {kpattern})"),
        *("regexp_replace({s}, {kpattern}, {kword})", "json_string({d}, {kpath})"),
        *("json_string({s}, '$.a')", "md5({s})", "sha256({s})", "cross({s}, {i}, {b})"),
        *("CAST({i} AS VARCHAR)", "CAST({b} AS VARCHAR)", "coalesce({s}, {s})", "least({s}, {s})"),
        *("greatest({s}, {s})", "if({b}, {s}, 'long')", "CASE WHEN {b} THEN {s} ELSE {s} END"),
    ),
}
_HOLE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Difference:
    """An expression, a row, and what two engines say."""

    text: str
    row: Mapping[str, Value]
    engine: str
    theirs: Value
    ours: Value


@dataclass(frozen=True)
class _Maker:
    """Makes expressions over columns, each named by its kind and a number."""

    chance: random.Random
    columns: Sequence[str]

    def make(self, kind: str, depth: int) -> str:
        """Make an expression of a type: a column, a constant or a call."""
        if kind == "n":
            kind = self.chance.choice("ix")
        if depth <= 0 or self.chance.random() < 0.2 or kind in "td":
            return self._leaf(kind, depth)
        form = self.chance.choice(_FORMS[kind])
        return "(" + _HOLE.sub(lambda hole: self._hole(hole[1], depth - 1), form) + ")"

    def _hole(self, what: str, depth: int) -> str:
        if not what.startswith("k"):
            return self.make(what, depth)
        makes: dict[str, Callable[[], str]] = {
            "k9": lambda: str(self.chance.choice((1, 1, 2, 3, 9))),
            "kstep": lambda: _quoted(self.chance.choice(("1s", "15m", "1h", "7d", "7ms"))),
            "kzone": lambda: _quoted(self.chance.choice(ZONES)),
            "kpath": lambda: _quoted(self.chance.choice(("$.a", "$.a.b", "$.c", "$.a.b.c"))),
            "kword": lambda: _quoted(self.chance.choice([word for word in _WORDS if word])),
            "kpattern": lambda: _quoted(self.chance.choice(_PATTERNS)),
        }
        return makes[what]()

    def _leaf(self, kind: str, depth: int) -> str:
        mine = [column for column in self.columns if column[0] == kind]
        if mine and self.chance.random() < 0.75:
            return self.chance.choice(mine)
        if kind == "t" and depth > 0 and self.chance.random() < 0.5:
            return f"({self.make('t', 0)} + {self.make('i', 0)})"
        if self.chance.random() < 0.1:
            return "NULL"
        value = self.chance.choice(_POOLS[kind])
        if isinstance(value, bool):
            return "TRUE" if value else "FALSE"
        return _quoted(value) if isinstance(value, str) else repr(value)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _rows(chance: random.Random, columns: Sequence[str]) -> list[dict[str, Value]]:
    def value(column: str) -> Value:
        kind = column[0]
        draw = chance.random()
        if draw < 0.12:
            return None
        if draw > 0.7 and kind == "i":
            return chance.randrange(-(10**6), 10**6) * chance.choice((1, 1, 10**9))
        if draw > 0.7 and kind == "x":
            return chance.uniform(-1, 1) * 10.0 ** chance.randrange(-8, 17)
        if draw > 0.4 and kind == "t":
            return chance.randrange(-(10**12), 5 * 10**12)
        if draw > 0.7 and kind == "s":
            return "".join(chance.choices(["a", "b", "X", "1", " ", "é", "😀", "|", "\n"], k=6))
        return chance.choice(_POOLS[kind])

    return [{column: value(column) for column in columns} for _ in range(ROWS)]


def batches(
    count: int, seed: int
) -> Iterator[tuple[dict[str, Type], list[dict[str, Value]], list[str]]]:
    """Give batches of columns, rows and expressions that have a meaning."""
    chance = random.Random(seed)  # noqa: S311 - cases, no secrets
    while count > 0:
        columns = [f"{kind}{n}" for kind in _KINDS for n in range(chance.choice((1, 1, 2, 3)))]
        kinds = {column: _KINDS[column[0]] for column in columns}
        maker = _Maker(chance, columns)
        texts: list[str] = []
        while len(texts) < min(BATCH, count):
            text = maker.make(chance.choice("ixbs"), chance.choice((1, 2, 2, 3, 4)))
            if len(text) <= 600 and _understood(text, kinds):
                texts.append(text)
        count -= len(texts)
        yield kinds, _rows(chance, columns), texts


def _understood(text: str, columns: Mapping[str, Type]) -> bool:
    try:
        return isinstance(parse(text, columns), Call)
    except HeadraceError:  # NULL where no type fits, a pattern that may match nothing, too long
        return False


def differences(
    columns: Mapping[str, Type],
    rows: Sequence[Mapping[str, Value]],
    texts: Sequence[str],
    engine: str = "duckdb",
    folder: Path | None = None,
) -> Iterator[Difference]:
    """Compute a batch in process and by an engine, and give what differs."""
    trees = [parse(text, columns) for text in texts]
    if engine == "flink":
        assert folder is not None
        theirs = by_flink(trees, columns, rows, folder)
    else:
        theirs = _by_duckdb(trees, rows)
    for row, values in zip(rows, theirs, strict=True):
        for text, tree, value in zip(texts, trees, values, strict=True):
            ours = python(tree, row)
            if repr(value) != repr(ours):
                yield Difference(text, row, engine, value, ours)


def _by_duckdb(
    trees: Sequence[Expression], rows: Sequence[Mapping[str, Value]]
) -> list[list[Value]]:
    """Compute by DuckDB; a query that it ends with an error is halved, down to who is at fault."""
    try:
        return by_duckdb(trees, rows)
    except duckdb.Error as error:
        if len(trees) == 1:
            return [[f"{type(error).__name__}: {error}"] for _ in rows]
        half = len(trees) // 2
        first, second = _by_duckdb(trees[:half], rows), _by_duckdb(trees[half:], rows)
        return [[*a, *b] for a, b in zip(first, second, strict=True)]


def shrunk(found: Difference, columns: Mapping[str, Type]) -> Difference:
    """Take parts of the expression for the whole, while DuckDB differs still."""
    for part in _parts(found.text):
        if _understood(part, columns):
            smaller = next(differences(columns, [found.row], [part]), None)
            if smaller is not None:
                return shrunk(smaller, columns)
    return found


def _parts(text: str) -> Iterator[str]:
    """Give what stands between each pair of brackets within the text, the shortest first."""
    opened, spans = [], []
    for place, sign in enumerate(text):
        if sign == "(":
            opened.append(place)
        elif sign == ")" and opened:
            spans.append((opened.pop(), place))
    whole = {text[a : b + 1] for a, b in spans}
    yield from sorted((part for part in whole if len(part) < len(text)), key=len)


def run(count: int, seed: int) -> tuple[int, list[Difference]]:
    """Try `count` expressions in process and in DuckDB; give how many, and what differs."""
    tried, found = 0, list[Difference]()
    for columns, rows, texts in batches(count, seed):
        first: dict[str, Difference] = {}
        for each in differences(columns, rows, texts):
            first.setdefault(each.text, each)
        found += [shrunk(each, columns) for each in first.values()]
        tried += len(texts)
    return tried, found


def run_flink(count: int, seed: int, folder: Path) -> tuple[int, list[Difference]]:
    """Try `count` expressions in process and in Flink, a job for each batch."""
    tried, found = 0, list[Difference]()
    for place, (columns, rows, texts) in enumerate(batches(count, seed)):
        batch = folder / str(place)
        batch.mkdir(parents=True)
        found += differences(columns, rows, texts, "flink", batch)
        tried += len(texts)
    return tried, found


def functions_tried(count: int, seed: int) -> set[str]:
    """Name the functions that the expressions have."""
    return {
        name
        for columns, _, texts in batches(count, seed)
        for text in texts
        for name in functions_of(parse(text, columns))
    }
