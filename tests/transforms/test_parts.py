"""What transforms are made of: exact sums, sketches, fixed point, slots, memory."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.online_learning.encoding import Encoder
from headrace.online_learning.settings import Encoding, Token
from headrace.operators.aggregates.aggregate import fixed
from headrace.operators.aggregates.quantile import Quantile
from headrace.operators.sketch import VALUES, Sketch, middle, places
from headrace.operators.transforms import (
    columns,
    declared_as,
)
from headrace.operators.transforms.exact import total, total_of_squares
from headrace.operators.transforms.vocabulary import Vocabulary
from headrace.operators.types import Type

EXAMPLES = int(os.environ.get("HYPOTHESIS_EXAMPLES", "10"))
FEW = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def test_a_vocabulary_frees_what_it_forgot() -> None:
    vocabulary = Vocabulary("x", Type.INT64, expire_ms=100)
    for start in range(0, 100_000, 1000):
        at = np.arange(start, start + 1000)
        vocabulary.advance(pa.table({"at": at, "x": at}))
    assert len(vocabulary._keys) < 4000
    assert len(vocabulary.state().arrays["seen"]) == 101


def test_slots_are_those_of_the_encoder() -> None:
    tokens = (Token(("s",)), Token(("i",)), Token(("s", "i", "b")))
    kinds = {"s": Type.STRING, "i": Type.INT64, "b": Type.BOOL}
    encoder = Encoder(Encoding(kinds, {}, tokens, slots=1 << 20, bias=False))
    rows = pa.table(
        {
            "s": ["a", "", None, "é"],
            "i": pa.array([1, -(2**63), None, 0], pa.int64()),
            "b": [True, None, False, False],
        }
    )
    declared: list[dict[str, Any]] = [
        {"transform": "hashing", "column": "s", "kind": "string", "slots": 1 << 20},
        {"transform": "hashing", "column": "i", "kind": "int64", "slots": 1 << 20},
        {
            **{"transform": "cross", "columns": ["s", "i", "b"], "slots": 1 << 20},
            "kinds": ["string", "int64", "bool"],
        },
    ]
    slots = [declared_as(each).transform(rows).column(0).to_pylist() for each in declared]
    assert [list(row) for row in zip(*slots, strict=True)] == encoder.encode(rows).tolist()


@FEW
@given(st.lists(st.integers(-(2**63), 2**63 - 1).map(lambda x: x >> abs(x) % 63), max_size=30))
def test_sums_and_sketches_are_exact(numbers: list[int]) -> None:
    units = np.array(numbers, np.int64)
    assert total(units) == sum(numbers)
    assert total_of_squares(units) == sum(x * x for x in numbers)
    sketch = Sketch()
    sketch.add(units)
    ordered = sorted(map(middle, numbers))
    for share in (0.0, 0.3, 0.5, 1.0):
        rank = max(math.ceil(share * len(numbers)), 1)
        assert sketch.quantile(share) == (ordered[rank - 1] if ordered else None)
        assert sketch.quantile(share) == Quantile("x", Type.INT64, share).of(numbers)
    for number in numbers:
        assert abs(middle(number) - number) * 128 <= abs(number)


def test_every_bin_of_a_sketch_has_its_value() -> None:
    assert VALUES.tolist() == sorted(set(VALUES.tolist()))
    edges = [value + off for shift in range(64) for value in (1 << shift,) for off in (-1, 0, 1)]
    numbers = [sign * edge for edge in edges for sign in (1, -1) if -(2**63) <= sign * edge < 2**63]
    found = VALUES[places(np.array(numbers, np.int64))]
    assert found.tolist() == [middle(number) for number in numbers]


@FEW
@given(st.lists(st.floats(-9e12, 9e12), min_size=1))
def test_fixed_point_is_that_of_the_aggregates(values: list[float]) -> None:
    rows = pa.table({"x": values})
    assert columns.numbers(rows, "x", Type.FLOAT64).units.tolist() == list(map(fixed, values))
