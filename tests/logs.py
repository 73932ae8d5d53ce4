"""A source with every type, three views with every aggregate, and logs that are hard to read.

The same cells make the logs of Hypothesis and the seeded one that goes through Kafka and Flink.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from headrace.operators.engines.in_process import Message
from headrace.operators.expression import parse
from headrace.operators.source import Column, Source
from headrace.operators.types import Type
from headrace.operators.view import Feature, View
from headrace.pipelines import feature
from headrace.pipelines.hidden import with_hidden
from headrace.pipelines.values import duration

EVERY, LATENESS, AHEAD, STAMP = 1_000, 2_000, 5_000, 30_000
_COLUMNS = (
    Column("name", Type.STRING, required=True),
    Column("k", Type.STRING),
    Column("h", Type.STRING),
    Column("g", Type.INT64),
    Column("i", Type.INT64),
    Column("w", Type.INT64),
    Column("c", Type.INT64),
    Column("x", Type.FLOAT64),
    Column("z", Type.FLOAT64),
    Column("s", Type.STRING),
    Column("b", Type.BOOL),
    Column("n", Type.INT32),
    Column("m", Type.TIMESTAMP_MS),
)
_TYPES = {"at": Type.INT64, **{column.name: column.type.held for column in _COLUMNS}}
DERIVED = {
    "least": "LEAST(i, 100)",
    "next": "w + 1",
    "twice": "z * 2",
    "square": "x * -x",
    "said": "LOWER(s) || '!'",
    "wider": "n + 1",
    "hour": "hour(m)",
    "known": "CASE WHEN b THEN 'yes' WHEN i IS NULL THEN s END",
}
FEATURES: dict[str, tuple[str, ...]] = {
    "by_key": (
        *("count()", "count() over 1s", "count(i) over 3s", "sum(i)", "sum(i) over 3s"),
        *("mean(i) over 1s", "min(w)", "max(w) over 3s", "latest(w)", "latest(s) within 3s"),
        *("latest(z)", "age()", "count(where i >= 7) over 2s", "latest(s || h)"),
        *("var(i) over 3s", "std(i)", "rate() over 2s", "ratio(i, c) over 3s", "decayed_count(2s)"),
        *("decayed_sum(i, 3s) over 12s", "decayed_mean(i, 5s)", "ratio(c, x)", "var(c)"),
    ),
    "by_pair": (
        *("sum(x) over 3s", "mean(x) over 2s", "mean(square)", "min(z) over 3s", "max(z)"),
        *("min(x) over 1s", "latest(b)", "latest(said) within 2s", "latest(known)"),
        *("age() within 3s", "mean(x * 2 where NOT b OR s = 'É') over 3s", "count(where b)"),
        *("std(x) over 2s", "var(x)", "ratio(x, square)", "rate(x) over 3s"),
        *("decayed_mean(x, 1s)", "decayed_sum(square, 7s) over 9s", "decayed_count(b, 1s where b)"),
        *("count_distinct(s) over 3s", "count_distinct(w)", "count_distinct(b) over 1s", "hll(s)"),
        *(
            "top_k(said, 2)",
            "entropy(s) over 3s",
            "last(s)",
            "last_n(z, 3)",
            "last_n(z, 2) over 3s",
        ),
        *("first(said)", "quantile(x, 0.5) over 3s", "quantile(w, 0.9)", "first(w) over 2s"),
        *("time_since_last(x) over 3s", "last(i where b) over 2s", "top_k(s || h, 2 where i > 0)"),
    ),
    "by_number": (
        *("mean(least)", "max(next) over 3s", "count(s)", "min(twice)", "sum(i) over 1s"),
        *("sum(LEAST(next, i) where w > 0)", "max(LEAST(next, i) where w > 0) over 2s"),
        *("var(least) over 2s", "decayed_mean(least, 3s)", "hll(w) over 3s", "hll(b)"),
        *("top_k(w, 3) over 3s", "entropy(b)", "top_k(b, 1) over 2s", "last(b)", "last(i) over 1s"),
        *("last_n(s, 4) over 3s", "first(z)", "first(b) over 3s", "time_since_last(s)"),
        *("quantile(z, 0)", "quantile(i, 1) over 1s", "count_distinct(LOWER(s)) over 2s"),
    ),
}
"""Per view its features, as a pipeline says them."""
KEYS = {"by_key": ("k",), "by_pair": ("k", "h"), "by_number": ("g",)}


def _views() -> tuple[Source, dict[str, View]]:
    written = Source(
        "events",
        "events",
        _COLUMNS,
        {name: parse(text, _TYPES) for name, text in DERIVED.items()},
        lateness_ms=LATENESS,
        ahead_ms=AHEAD,
        partitions=2,
    )
    hides, features = [], dict[str, tuple[Feature, ...]]()
    for view, texts in FEATURES.items():
        for place, text in enumerate(texts):
            asked = feature.parse(text, written)
            window = None if asked.window is None else duration(asked.window)
            name = f"{view}_{place}"
            features[view] = (*features.get(view, ()), Feature(name, asked.aggregate, window))
            hides += [(name, column, tree) for column, tree in asked.hidden.items()]
    source = with_hidden(written, hides)
    return source, {
        view: View(view, source, key, EVERY, features[view], 2) for view, key in KEYS.items()
    }


SOURCE, VIEWS = _views()

_TEXTS = (
    *('"a"', '"b"', '"a"', '"b"', '""', '"a|b"', '"|"', '"é"', '"É"', '"😀"', '"\\ud83d\\ude00"'),
    *('"\\"\\\\"', '"\\\\ud800"', '"\\u0000"', '"null"', '" "', '"\\n"', '"{}"', '"\u2028"'),
    *("1", "-0", "1.50", "1e3", "0.0000001", "-0.0", "1e400", "true", "null", "[]", "{}"),
    *('"\\ufeff"', "12345678901234567890123", '"[{\\"d\\":1},"', '"NaN"', '",]"', '", }"'),
)
_WHOLE = (
    *("0", "1", "-1", "7", "100", "101", "-12345", "999999999999", "null", '"7"', "-0", "1e0"),
    *("1.5e1", "12.5e1", "[1]"),
)
_WIDE = ("9223372036854775806", "-9223372036854775808", "9007199254740993", "3", "null", "-1")
# A hundred of these stay within int64, and their squares are far beyond it.
_LARGE = ("36028797018963967", "-36028797018963967", "-36028797018963966", "0", "1", "null")
_NUMBERS = (
    *("0.1", "0.2", "0.3", "-0.0", "0", "1", "-2.5", "1234.567891", "0.0000005", "-0.0000005"),
    *("1e3", "null", "{}", '"2.5"', '"-1e-3"', "9999.999999499999", "1e-400"),
)
_FAR = (
    *("8.9e307", "-8.9e307", "4.9e-324", "2.2250738585072014E-308", "-0.0", "0.1", "null"),
    *("123456789012345678901", "0.30000000000000004", "5"),
)
CELLS: dict[str, Sequence[str | None]] = {
    "name": ('"id"', '"id"', '"other"', '""', "12"),
    "k": (*_TEXTS, None),
    "h": (*_TEXTS, None),
    "g": (*_WHOLE, "9223372036854775807", None),
    "i": (*_WHOLE, None),
    "w": (*_WIDE, None),
    "c": (*_LARGE, None),
    "x": (*_NUMBERS, None),
    "z": (*_FAR, None),
    "s": (*_TEXTS, None),
    "b": ("true", "false", '"true"', "null", None),
    "n": ("0", "-2147483648", "2147483647", "7", "null", None),
    "m": ("0", "-62135596800000", "253402300799999", "1362898800000", "null", None),
}
"""Per column the cells that are values, null or missing (None)."""

BAD_CELLS: dict[str, Sequence[str | None]] = {
    "name": (None, "null", "[]"),
    "g": ('"007"', "1.0", "1e3000", '"x"', "9223372036854775808", "true", '""'),
    "i": ("1.50", "12.55e1", '" 7"', "-9223372036854775809", '"1_000"', '"7\\n"', "0.5"),
    "w": ("9223372036854775807", "1e-1", '"+1"', "10E-1", '"0x10"'),
    "x": ('"1d"', '" 1"', '"inf"', '"NaN"', "1e400", '"1_0"', '".5"', '"5."', '"1\\n"', "true"),
    "z": ("1.7976931348623157e308", "-1e999", '"Infinity"', '"0x1p3"', '"\u0663"', '""'),
    "b": ("1", '"TRUE"', '"t"', "0.0", '""'),
    "n": ("2147483648", "-2147483649", "1.5", '"x"'),
    "m": ("253402300800000", "-62135596800001", '"2013-03-10"'),
}
"""Cells that make a dead letter, by themselves or by what is derived from them."""

BAD_TIMES = (
    "12e2",
    *(
        "-5",
        '"-5"',
        "1.0",
        "5.5",
        "true",
        "null",
        None,
        "[5]",
        '"5 "',
        '"5\\n"',
        '"\u0661"',
        "1e999",
    ),
    *(str(STAMP + AHEAD + 1), "99999999999999", "123456789012345", '""'),
)
ODD_TIMES = ('"0300"', "1.5e1", f"{STAMP + AHEAD}", '"1000"')

BROKEN: tuple[bytes | None, ...] = (
    None,
    b"",
    b" ",
    b"{",
    b"[]",
    b"null",
    b'"id"',
    b"17",
    b"\xff",
    b'{"at":9000,"name":"\xff"}',
    b'{"at":9000,"name":"\xed\xa0\x80"}',
    b'{"at":9000,"name":"\xc0\x80"}',
    b'{"at":9000,"name":"a"} x',
    b'{"at":9000,"name":"a"} {"at":1}',
    b'{"at":9000,"name":"a"}}',
    b'{"at":9000,"name":"a"}]',
    b'{"at":9000,"name":"a"},{"at":1}',
    b'{"at":9000,"name":"{a}"}}',
    b'{"at":9000,"name":"{a}"}, "x": 1',
    b'{"at":9000,"name":{"a":1}}, "x"',
    b'{"at":9000,"name":"a"}\x00',
    b'{"at":9000,"name":"a",}',
    b'{"at":9000,"name":"a",\n}',
    b'{"at":9000,"name":"a","q":[1,]}',
    b'{"at":9000,"name":"a","q":NaN}',
    b'{"at":9000,"name":"a","q":[-Infinity]}',
    b'{"at":9000,"name":"a","q":-inf}',
    b'{"at":9000,"name":"a","x":007}',
    b'{"at":9000,"name":"a","x":+1}',
    b'{"at":9000,"name":"a","x":.5}',
    b'{"at":9000,"name":"a","x":5.}',
    b"{'at':9000,'name':'a'}",
    b'{"at":9000,"name":"a"/**/}',
    b'{"at":9000,"name":"\\ud800"}',
    b'{"at":9000,"name":"\\udc00\\ud800"}',
    b'{"at":9000,"name":"\\ud800\\\\udc00"}',
    b'{"at":9000,"name":"a","q":["\\uDBFF"]}',
    b'{"at":9000,"name":"a","\\udfff":1}',
    b'{"at":9000,"name":"a\tb"}',
    b'{"at":9000,"name":"\\q"}',
    b'\xef\xbb\xbf{"at":9000,"name":"a"}',
    b'\xc2\xa0{"at":9000,"name":"a"}',
    b'{"at":9000,"name":"a","q":' + b"[" * 1_100 + b"]" * 1_100 + b"}",
    b'{"at":9000,"name":"a","q":' + b"1" * 1_100 + b"}",
    b'{"at":9000,"name":"a","q":0.' + b"1" * 1_100 + b"}",
    b'{"at":9000,"name":"a","q":1e99999999999}',
)
"""What is no JSON object, or looks like one; the times in it must move no watermark."""

ODD: tuple[bytes, ...] = (
    b' \t\r\n{"at":9000,"name":"a","k":"a","i":1}\n\n',
    b'{"at":9000,"name":"a","k":"b","k":"a","i":1,"i":2}',
    b'{"at":9000,"name":"a","k":"a","k":null}',
    b'{"at":9000,"name":"a","k":"a","k":[1]}',
    b'{"at":1,"at":9000,"name":"a","k":"a"}',
    b'{"\\u0061t":9000,"name":"a","\\u006b":"a","i":1}',
    b'{"at":9000,"name":"{a}","k":"a","i":1}',
    b'{"at":9000,"name":"a","q":{"k":"b","at":1},"k":"a"}',
    b'{"at":9000,"name":"a","k":"NaN","s":": nan, ]","q":[1e5,{}]}',
    b'{"at":9000,"name":"a","k":"\\ud83d\\ude00","s":"\\\\ud800","q":"\\\\\\ud83d\\ude00"}',
    b'{"at":9000,"name":"a","k":"a","":3,"q":1e999999999}',
    b'{"at":9000,"name":"a","k":"a","q":' + b"[" * 300 + b"]" * 300 + b',"i":3}',
    b'{"at":9000,"name":"a","k":"a","q":' + b"1" * 1_000 + b',"i":3}',
    b'{"at":9000,"name":"a","k":"a","q":"' + b"1" * 2_000 + b'","i":3}',
    b'{"at":9000,"name":"a","k":"a","s":"' + "é".encode() * 600 + b'"}',
    b'{"at": 9000}',
    b'{"at":9000,"name":null,"k":null,"q":1}',
    b'{"at":12000}',
)
"""Good messages that are easily misread; the last ones are progress events."""
PROGRESS = ODD[-3:]


def payload(at: str | None, cells: Mapping[str, str | None]) -> bytes:
    """Write a message as its cells say."""
    fields = {"at": at, **cells}
    said = (f'"{name}": {cell}' for name, cell in fields.items() if cell is not None)
    return ("{" + ", ".join(said) + "}").encode()


def placed(
    payloads: Sequence[tuple[int, bytes | None]], stamp: Callable[[int], int] = lambda _: STAMP
) -> list[Message]:
    """Give messages, each with its partition, their offsets."""
    log: list[Message] = []
    ends: dict[int, int] = {}
    for partition, said in payloads:
        offset = ends.get(partition, 0)
        log.append((partition, offset, stamp(len(log)), said))
        ends[partition] = offset + 1
    return log
