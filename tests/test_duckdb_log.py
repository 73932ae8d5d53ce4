"""Which messages DuckDB reads itself, and that it reads them as the oracle does."""

from __future__ import annotations

from collections.abc import Sequence
from unittest.mock import patch

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.feature_store import messages as said_by
from headrace.feature_store.history import read
from headrace.operators.engines import in_process
from headrace.operators.engines.duckdb_log import forms, odd_sql
from headrace.operators.engines.in_process import Message
from headrace.operators.source import Column, Source
from headrace.operators.types import Type
from tests import logs
from tests.engines import table_of
from tests.logs import SOURCE
from tests.test_differential import FEW, messages

FIRST = b'{"at":9000,"name":"id","k":"a","i":1,"x":0.5,"b":true,"q":null,"r":[1],"$t":0}'
PLAIN = (
    FIRST,
    b'{"at":9000,"name":"id"}',
    b'{"at":9000}',
    b'{"at": 9000, "name": "id", "k": "b", "i": 7, "x": 2, "b": false, "q": 1e5}',
    b'{"at":9000,"name":"id","k":"b"}\n',
    b'{"name":"id","k":"b"}',
    b'{"name":null,"i":3}',
    b'{"at":0,"name":""}',
    b'{"at":99999999999999,"name":"far ahead"}',
    '{"at":9000,"name":"é😀\u2028\x7f"}'.encode(),
    rb'{"at":9000,"name":"\"\\\/\b\f\n\r\t\u00e9\u0000\uD7FF\ue000"}',
    b'{"at":9000,"name":12,"k":true}',
    b'{"at":9000,"name":"id","i":-999999999999999999,"x":-0.0}',
    b'{"at":9000,"name":"id","x":123456789012345678.123456789012345678901234567890}',
    b'{"at":9000,"name":"id","x":999999999999999999}',
    b'{"at":9000,"name":"id","q":[1,"a",null],"r":{"at":1,"at": 2, "u": -1.50e-3}}',
    b'{"at":9000,"name":"{\'id\':1},]"}',
)
"""All with some of the fields of the first, in their order."""

ODD = (
    None,
    b"",
    b"{}",
    b"{",
    b'{"at":9000,',
    b'{"at":9000,}',
    b'{"at":9000, ',
    b'{"at":9000,"name":"a}',
    b'{"at":9000}}',
    b'{"at":9000} ',
    b'{"at":9000}\n\n',
    b' {"at":9000}',
    b'{"at":9000"name":"a"}',
    b'{,"at":9000}',
    b'{"name":"a","at":9000}',
    b'{"at":9000,"at":9001}',
    b'{"at":9000,"new":1}',
    b'{"at":9000,"name":"a","k":"a","k":"b"}',
    b'{"at":"9000"}',
    b'{"at":null}',
    b'{"at":9e3}',
    b'{"at":-1}',
    b'{"at":123456789012345}',
    b'{"at":9000,"name":1.50}',
    b'{"at":9000,"name":[]}',
    b'{"at":9000,"name":"\xff"}',
    b'{"at":9000,"name":"a\tb"}',
    rb'{"at":9000,"name":"\ud800"}',
    rb'{"at":9000,"name":"\ud83d\ude00"}',
    rb'{"at":9000,"name":"\q"}',
    b'{"at":9000,"name":"a","i":-0}',
    b'{"at":9000,"name":"a","i":01}',
    b'{"at":9000,"name":"a","i":1234567890123456789}',
    b'{"at":9000,"name":"a","i":"7"}',
    b'{"at":9000,"name":"a","x":1e3}',
    b'{"at":9000,"name":"a","x":NaN}',
    b'{"at":9000,"name":"a","b":1}',
    b'{"at":9000,"name":"a","q":NaN}',
    b'{"at":9000,"name":"a","q":[1,]}',
    b'{"at":9000,"name":"a","q":[[1]]}',
    b'{"at":9000,"name":"a","$t":-inf}',
)


def odd(payloads: Sequence[bytes | None], known: Sequence[tuple[str, ...]]) -> list[bytes | None]:
    """Give the messages that DuckDB leaves to the oracle's reader."""
    with duckdb.connect() as connection:
        connection.register("log", table_of(logs.placed([(0, said) for said in payloads])))
        query = f'{odd_sql(SOURCE, "log", known)} ORDER BY "offset"'
        return [row["payload"] for row in connection.sql(query).to_arrow_table().to_pylist()]


def tables(source: Source, log: pa.Table) -> list[str]:
    with duckdb.connect() as connection:
        read(connection, source, log)
        return [
            repr(connection.sql(f"SELECT * FROM {name} ORDER BY ALL").fetchall())
            for name in (f"events_{source.name}", f"refused_{source.name}")
        ]


def test_a_message_is_plain_or_odd() -> None:
    known = forms([FIRST])
    assert [len(form) for form in known] == [9]
    assert odd([*PLAIN, *ODD], known) == [*ODD]
    assert odd([*PLAIN, *ODD], []) == [*PLAIN, *ODD]


def test_each_plain_message_says_what_the_oracle_reads() -> None:
    log: list[Message] = logs.placed(list(enumerate((*PLAIN, *ODD))))
    truth = in_process.events(SOURCE, log)
    assert len(truth.events) > 10
    with duckdb.connect() as connection, patch.object(said_by, "forms", lambda _: forms([FIRST])):
        read(connection, SOURCE, table_of(log))
        query = "SELECT * FROM events_events ORDER BY partition"
        found = connection.sql(query).to_arrow_table().to_pylist()
    assert [repr(row) for row in found] == [
        repr({"partition": event.partition, "offset": event.offset, **event.values})
        for event in truth.events
    ]


tame = {
    **{name: st.sampled_from(('"a"', '"b"', '""', "null", "7")) for name in ("name", "k", "h")},
    **{name: st.sampled_from(("0", "-12", "105", "null")) for name in ("g", "i", "w")},
    **{name: st.sampled_from(("0.5", "-2.25", "3", "-0.0", "null")) for name in ("x", "z")},
    "b": st.sampled_from(("true", "false", "null")),
}
tame_rows = st.builds(
    logs.payload, st.integers(0, 14_000).map(str), st.fixed_dictionaries({}, optional=tame)
)


@FEW
@given(st.lists(st.tuples(st.integers(0, 1), tame_rows | tame_rows | messages), max_size=40))
def test_the_way_that_a_message_takes_changes_no_verdict(
    said: list[tuple[int, bytes | None]],
) -> None:
    log = table_of(logs.placed(said))
    ours = tables(SOURCE, log)
    with patch.object(said_by, "forms", lambda _: []):
        assert tables(SOURCE, log) == ours


def test_forms_are_few_and_their_names_harmless() -> None:
    wide = b'{"at":1,%s}' % b",".join(b'"f%d":[{}]' % n for n in range(150))
    other = b'{"x":1,%s}' % b",".join(b'"g%d":0' % n for n in range(60))
    assert [len(form) for form in forms([other, wide, b'{"x":1}', b"{}"])] == [151, 1]
    assert forms([b'{"at":1,"it\'s":2}', b'{"a\\"b":1}', b'{"\\\\":1}', b"?", None]) == []


def test_the_widest_form_is_within_what_a_pattern_may_be() -> None:
    names = [f"f{n}" for n in range(199)]
    payload = b'{"at":9000,%s}' % b",".join(b'"%s":[1,{}]' % name.encode() for name in names)
    flat = payload.replace(b"[1,{}]", b'["a",-1.5e3]')
    assert odd([payload, flat], forms([flat])) == [payload]


@pytest.mark.parametrize("name", ["a.b", "a-b", "@t", "$t", "a b"])
def test_a_name_stands_for_itself(name: str) -> None:
    source = Source("s", "s", (Column("k", Type.STRING),))
    said = f'{{"at":1,"{name}":2}}'.encode()
    other = f'{{"at":1,"{name.translate(str.maketrans(".-@$ ", "_____"))}":2}}'.encode()
    with duckdb.connect() as connection:
        connection.register("log", table_of(logs.placed([(0, said), (0, other)])))
        found = connection.sql(odd_sql(source, "log", forms([said]))).fetchall()
    assert [row[-1] for row in found] == [other]
