"""Rounding: to whole numbers, to digits, to ranges, to the place among edges."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise

from headrace.operators.functions.function import (
    Constant,
    Entry,
    Function,
    Value,
    entry,
    made,
    null_in_null_out,
    numbers,
    pinned,
    unsigned_zero,
)
from headrace.operators.functions.text import whole
from headrace.operators.types import Type

__all__ = ["ROUNDING"]

_FLOAT_ONE = numbers(1, Type.FLOAT64)
_EXACT = 1 << 52
"""From here on a float64 has no fraction."""
_MOST_EDGES = 100


def _whole_number(name: str, text: str, of: Callable[[float], Value], about: str) -> Entry:
    return entry(name, "one number", _FLOAT_ONE, text, null_in_null_out(of), about)


def _round(types: Sequence[Type], constants: Sequence[Constant]) -> Function | None:
    if len(types) != 1 or not types[0].numeric or len(constants) > 1:
        return None
    digits = whole(constants[0], 0, 15, "the number of digits") if constants else 0
    by = float(10**digits)
    x = "CAST({0} AS DOUBLE)"
    # Half away from zero, of the product: one stated order of operations, for the engines' own
    # ROUND are two algorithms. The fraction is compared, for 0.49999999999999994 + 0.5 is 1.
    scaled = f"(ABS({x}) * {pinned(by)})"
    up = f"CASE WHEN {scaled} - FLOOR({scaled}) >= 5e-1 THEN 1e0 ELSE 0e0 END"
    sign = f"CASE WHEN {x} < 0 THEN -1e0 ELSE 1e0 END"
    result = unsigned_zero(f"({sign}) * (FLOOR({scaled}) + {up}) / {pinned(by)}")
    text = f"(CASE WHEN {scaled} < {pinned(float(_EXACT))} THEN {result} ELSE {x} END)"
    of = null_in_null_out(lambda x: _rounded(float(x), by))
    return Function("round", Type.FLOAT64, text, of, constants=tuple(constants))


def _rounded(x: float, by: float) -> float:
    scaled = abs(x) * by
    if not scaled < _EXACT:
        return x
    down = math.floor(scaled)
    nearest = down + (1.0 if scaled - down >= 0.5 else 0.0)
    return math.copysign(1.0, x) * nearest / by + 0.0


def _bucketise(types: Sequence[Type], constants: Sequence[Constant]) -> Function | None:
    if len(types) != 1 or not types[0].numeric or len(constants) != 1:
        return None
    edges = constants[0]
    if not isinstance(edges, tuple) or not 1 <= len(edges) <= _MOST_EDGES:
        message = f"the edges are a list of 1 to {_MOST_EDGES} numbers, like [0, 15, 60]"
        raise ValueError(message)
    numbers_ = [edge for edge in edges if not isinstance(edge, str)]
    if len(numbers_) < len(edges) or not all(low < high for low, high in pairwise(numbers_)):
        message = "the edges are numbers that ascend, like [0, 15, 60]"
        raise ValueError(message)
    if types[0] is Type.INT64 and all(isinstance(edge, int) for edge in numbers_):
        x, kept = "{0}", tuple(numbers_)
    else:
        x, kept = "CAST({0} AS DOUBLE)", tuple(map(float, numbers_))
    branches = " ".join(f"WHEN {x} < {pinned(edge)} THEN {n}" for n, edge in enumerate(kept))
    text = f"CAST(CASE {branches} WHEN {{0}} IS NOT NULL THEN {len(kept)} END AS BIGINT)"
    convert = int if x == "{0}" else float
    of = null_in_null_out(lambda value: bisect_right(kept, convert(value)))
    return Function("bucketise", Type.INT64, text, of, constants=tuple(constants))


ROUNDING: tuple[Entry, ...] = (
    made(
        "round",
        "one number and, if wanted, a number of digits",
        1,
        _round,
        """The number with so many digits after the point, 0 to 15, as a float64.

        It is x · 10ⁿ, half away from zero, / 10ⁿ, in float64: a number whose product has no
        fraction any more is left as it is. `round(2.5)` is 3.

        >>> of("round(2.5)"), of("round(-2.675, 2)"), of("round(-0.4)")
        (3.0, -2.68, 0.0)
        """,
    ),
    _whole_number(
        "floor",
        "FLOOR(CAST({0} AS DOUBLE))",
        lambda x: float(math.floor(x)),
        """The greatest whole number at or below it, as a float64.

        >>> of("floor(-2.5)")
        -3.0
        """,
    ),
    # −0.0 is what both engines have between −1 and 0.
    _whole_number(
        "ceil",
        unsigned_zero("CEIL(CAST({0} AS DOUBLE))"),
        lambda x: math.ceil(x) + 0.0,
        """The least whole number at or above it, as a float64; `ceiling` is the same.

        >>> of("ceil(2.1)"), of("ceil(-0.5)")
        (3.0, 0.0)
        """,
    ),
    _whole_number(
        "trunc",
        unsigned_zero(
            "CASE WHEN {0} < 0 THEN CEIL(CAST({0} AS DOUBLE)) ELSE FLOOR(CAST({0} AS DOUBLE)) END"
        ),
        lambda x: math.trunc(x) + 0.0,
        """The number without its fraction, as a float64.

        >>> of("trunc(-2.7)"), of("trunc(-0.5)")
        (-2.0, 0.0)
        """,
    ),
    entry(
        "clip",
        "three numbers",
        numbers(3),
        "(CASE WHEN {any_null} THEN NULL WHEN {0} < {1} THEN {1} WHEN {0} > {2} THEN {2} "
        "ELSE {0} END)",
        null_in_null_out(lambda x, low, high: low if x < low else high if x > high else x),
        """The number, or the end of the range that it is beyond; null where one is null.

        >>> of("clip(7, 0, 5)"), of("clip(-1.5, 0, 5)"), of("clip(3, NULL, 5)")
        (5, 0.0, None)
        """,
    ),
    made(
        "bucketise",
        "one number and a list of edges",
        1,
        _bucketise,
        """The number of edges at or below x, as buckets in a model have it; null of null.

        >>> of("bucketise(15, [0, 15, 60])"), of("bucketise(-1, [0, 15])")
        (2, 0)
        """,
    ),
)
