"""Encoding: golden hashes, nulls, buckets, refusals."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from headrace.online_learning.encoding import Encoder
from headrace.online_learning.settings import Encoding, LearningError, Token
from headrace.operators.errors import UnknownName
from headrace.operators.types import Type

INPUTS = {"city": Type.STRING, "hour": Type.INT64, "delay": Type.FLOAT64, "wet": Type.BOOL}
MANY = 2**31 - 1


def encoding(*tokens: str, slots: int = MANY, bias: bool = False) -> Encoding:
    parts = tuple(Token(tuple(token.split("*"))) for token in tokens)
    return Encoding(INPUTS, {"delay": (0.0, 5.0)}, parts, slots=slots, bias=bias)


def rows(**columns: list[object]) -> pa.Table:
    return pa.table({name: pa.array(x, INPUTS[name].arrow) for name, x in columns.items()})


def slots(token: str, **columns: list[object]) -> list[int]:
    encoded: list[int] = Encoder(encoding(token)).encode(rows(**columns))[:, 0].tolist()
    return encoded


GOLDEN_ROWS: dict[str, list[object]] = {"city": ["Oslo", "", None], "hour": [7, -1, None]}
GOLDEN = [
    [1192451433, 255223697, 1039226963, 1176294703, 1339518284, 477602562],
    [1879662168, 105178110, 1947439703, 797878564, 1513696916, 477602562],
    [462029199, 182226222, 1554915456, 928287460, 270523324, 477602562],
]


def test_hashes_are_those_of_every_process_and_release() -> None:
    table = rows(**GOLDEN_ROWS, delay=[4.0, 5.0, None], wet=[True, False, None])
    encoder = Encoder(encoding("city", "hour", "delay", "wet", "city*hour", bias=True))
    assert encoder.encode(table).tolist() == GOLDEN


def test_hashes_do_not_depend_on_the_interpreters_seed() -> None:
    code = f"""
import pyarrow as pa
from headrace.online_learning.encoding import Encoder
from headrace.online_learning.settings import Encoding, Token
from headrace.operators.types import Type

inputs = {{"city": Type.STRING, "hour": Type.INT64}}
tokens, slots = (Token(("city", "hour")),), {encoding("city").slots}
encoding = Encoding(inputs, {{}}, tokens, slots=slots, bias=False)
table = pa.table({GOLDEN_ROWS!r}, schema=pa.schema([("city", pa.string()), ("hour", pa.int64())]))
print(Encoder(encoding).encode(table)[:, 0].tolist())
"""
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert printed == {f"{slots('city*hour', **GOLDEN_ROWS)}\n"}


def test_null_is_a_value_of_its_own() -> None:
    assert len(set(slots("city", city=["", None, "None", "null"]))) == 4
    assert len(set(slots("hour", hour=[0, None, -1]))) == 3
    assert len(set(slots("wet", wet=[True, False, None]))) == 3


def test_a_bucket_is_the_number_of_edges_at_or_below() -> None:
    got = slots("delay", delay=[-1.0, -0.0, 0.0, 4.9, 5.0, 1e308, None, -1e308])
    below, zero, also_zero, between, edge, above, null, lowest = got
    assert below == lowest
    assert zero == also_zero == between
    assert edge == above
    assert len({below, zero, edge, null}) == 4


def test_buckets_of_integers_are_those_of_floats() -> None:
    inputs = {"hour": Type.INT64}
    buckets = Encoding(inputs, {"hour": (2.0, 4.0)}, (Token(("hour",)),), slots=MANY, bias=False)
    got = Encoder(buckets).encode(rows(hour=[1, 2, 3, 4, None]))[:, 0].tolist()
    assert got[1] == got[2]
    assert len(set(got)) == 4


def test_tokens_have_ids_of_their_own_and_crosses_tell_parts_apart() -> None:
    both: dict[str, list[object]] = {"city": ["a", "b"], "hour": [1, 1]}
    assert set(slots("city", **both)).isdisjoint(slots("city*hour", **both))
    assert slots("city*hour", **both) != slots("hour*city", **both)
    assert len(set(slots("city*hour", **both))) == 2


def test_chunks_and_slices_do_not_matter() -> None:
    table = rows(city=["a", None, "b", "a", ""], hour=[1, 2, None, 1, 5])
    encoder = Encoder(encoding("city", "hour", "city*hour", bias=True))
    whole = encoder.encode(table)
    chunked = pa.concat_tables([table.slice(3), table.slice(0, 3)])
    assert np.array_equal(encoder.encode(chunked), np.concatenate([whole[3:], whole[:3]]))
    assert np.array_equal(Encoder(encoder.encoding).encode(table.slice(1, 3)), whole[1:4])
    assert np.array_equal(encoder.encode(table.combine_chunks().to_batches()[0]), whole)
    assert encoder.encode(table.slice(0, 0)).shape == (0, 4)


def test_slots_are_within_bounds_and_used_evenly() -> None:
    few = Encoder(encoding("hour", slots=10))
    got = few.encode(rows(hour=list(range(10_000))))[:, 0]
    assert np.bincount(got, minlength=10).shape == (10,)
    assert 900 < np.bincount(got).min() <= np.bincount(got).max() < 1_100


def test_the_cache_of_strings_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[object] = [f"c{i}" for i in range(50)]
    expected = slots("city", city=names)
    monkeypatch.setattr("headrace.operators.hashing._CACHED_STRINGS", 4)
    encoder = Encoder(encoding("city"))
    assert encoder.encode(rows(city=names))[:, 0].tolist() == expected
    assert len(encoder._hashed._strings) <= 4


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (pa.table({"hour": [1]}), "'city'.*the rows have 'hour'.*add it"),
        (pa.table({"city": [1]}), "'city'; it is a string, and the rows have it as int64"),
        (pa.table({"city": pa.nulls(1)}), "as null"),
    ],
)
def test_a_missing_or_mistyped_input_is_refused(table: pa.Table, says: str) -> None:
    with pytest.raises(LearningError, match=says):
        Encoder(encoding("city")).encode(table)


def test_what_is_no_finite_number_is_null_and_counted() -> None:
    numbers = Encoding(INPUTS, {"delay": (0.0,)}, (Token(("delay",)),), 64, False, ("delay",))
    encoder = Encoder(numbers)
    odd: list[object] = [1.0, math.nan, math.inf, -math.inf, None, 1e308]
    read, null = encoder.inputs(rows(delay=odd)), encoder.inputs(rows(delay=[None]))
    assert encoder.replaced == 3 * 2  # as a token, and as a number
    assert read.slots[1:5, 0].tolist() == [null.slots[0, 0]] * 4
    assert np.isnan(read.numbers[:, 0]).tolist() == [False, True, True, True, True, False]
    assert read.slots[5, 0] == read.slots[0, 0] != null.slots[0, 0]


def test_a_weight_out_of_its_range_is_cut_and_counted() -> None:
    encoder = Encoder(Encoding(INPUTS, {}, (Token(("hour",)),), 64, False, weight="delay"))
    delays: list[object] = [2.5, None, math.nan, -1.0, 1e308]
    given = encoder.inputs(rows(hour=[1] * 5, delay=delays)).weights
    assert given.tolist() == [2.5, 1.0, 1.0, 0.0, 1e4]
    assert encoder.replaced == 3


def test_what_cannot_be_encoded_is_refused_when_it_is_said() -> None:
    with pytest.raises(UnknownName, match="did you mean 'city'"):
        encoding("citty")
    with pytest.raises(LearningError, match="float64 without buckets"):
        Encoding(INPUTS, {}, (Token(("delay",)),), slots=8, bias=False)
    with pytest.raises(LearningError, match="do not increase"):
        Encoding(INPUTS, {"delay": (1.0, 1.0)}, (), slots=8, bias=True)
    with pytest.raises(LearningError, match="named twice"):
        encoding("city", "city")
    with pytest.raises(LearningError, match="0 slots"):
        encoding("city", slots=0)


def test_the_digest_tells_encodings_apart() -> None:
    digests = {
        encoding("city").digest,
        encoding("city", bias=True).digest,
        encoding("hour").digest,
        encoding("city", slots=8).digest,
        encoding("city", "hour").digest,
        encoding("hour", "city").digest,
    }
    assert len(digests) == 6
    assert encoding("city").digest == encoding("city").digest
