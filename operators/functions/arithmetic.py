"""Arithmetic: in int64 or float64, checked, never wrapped."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence

from headrace.operators.functions.function import (
    Constant,
    Entry,
    Function,
    Value,
    entry,
    null_in_null_out,
    numbers,
    ranged,
    unsigned_zero,
)
from headrace.operators.types import Type

__all__ = ["ARITHMETIC", "FINITE", "WIDENED"]

FINITE = "(ABS({value}) <= 1.7976931348623157E308)"
_LEAST_INT64 = "-9223372036854775808"


def _operation(name: str, sign: str, of: Callable[..., Value], about: str) -> Entry:
    """Compute in int64 or float64; DuckDB's error becomes NULL, for `fits` refuses the row."""
    wide = f"CAST({{0}} AS DECIMAL(19, 0)) {sign} CAST({{1}} AS DECIMAL(19, 0))"
    whole = f"({wide} BETWEEN {_LEAST_INT64} AND 9223372036854775807)"
    both = f"({{0}} {sign} {{1}})"
    typed = numbers(2)

    def chosen(types: Sequence[Type], constants: Sequence[Constant]) -> Function | None:
        result = None if constants else typed(types)
        if result is Type.FLOAT64:
            # Only a product, or a sum of two of them, is −0.0 where no argument is.
            text = unsigned_zero(both) if name == "mul" else both
            return Function(name, result, text, ranged(of), {}, FINITE)
        if result is None:
            return None
        return Function(name, result, both, ranged(of), {"duckdb": f"TRY{both}"}, whole)

    return Entry(name, "two operands of one type", about, chosen)


def _opposite(name: str, text: str, of: Callable[..., Value], about: str) -> Entry:
    """Compute from one number; the least int64 has no opposite. 0 − x is never −0.0."""
    return entry(
        name,
        "one number",
        numbers(1),
        text.format(minus="(0 - {0})"),
        ranged(of),
        about,
        engine_text={"duckdb": text.format(minus="TRY(0 - {0})")},
        fits={Type.INT64: f"({{0}} <> {_LEAST_INT64})"},
    )


def _divide(a: float, b: float) -> float | None:
    return None if b == 0 else float(a) / float(b)


def _whole_quotient(a: int, b: int) -> int | None:
    if b == 0:
        return None
    quotient = abs(a) // abs(b)
    return quotient if (a < 0) == (b < 0) else -quotient


def _remainder(a: int, b: int) -> int | None:
    if b == 0:
        return None
    rest = abs(a) % abs(b)
    return -rest if a < 0 else rest


def _int64s(count: int) -> Callable[..., Type | None]:
    return lambda types: Type.INT64 if list(types) == [Type.INT64] * count else None


_WHOLE_PAIR = _int64s(2)
_FLOAT_ONE = numbers(1, Type.FLOAT64)
_OVERFLOWS = f"({{0}} = {_LEAST_INT64} AND {{1}} = -1)"

ARITHMETIC: tuple[Entry, ...] = (
    _operation(
        "add",
        "+",
        operator.add,
        """The sum, written `a + b`; null where one is null, and a dead letter beyond its type.

        >>> of("1 + 2"), of("1 + 0.5"), of("1 + NULL")
        (3, 1.5, None)
        """,
    ),
    _operation(
        "sub",
        "-",
        operator.sub,
        """The difference, written `a - b`; null where one is null.

        >>> of("1 - 2"), of("1.0 - 1")
        (-1, 0.0)
        """,
    ),
    _operation(
        "mul",
        "*",
        operator.mul,
        """The product, written `a * b`; null where one is null, never −0.0.

        >>> of("3 * 4"), of("-1 * 0.0")
        (12, 0.0)
        """,
    ),
    # INT / INT is cut to INT in Flink and DOUBLE in DuckDB; by zero is an error in one of them.
    entry(
        "div",
        "two numbers",
        numbers(2, Type.FLOAT64),
        unsigned_zero("CAST({0} AS DOUBLE) / NULLIF(CAST({1} AS DOUBLE), CAST(0 AS DOUBLE))"),
        ranged(_divide),
        """The quotient as a float64, written `a / b`; null where b is 0 or one is null.

        >>> of("7 / 2"), of("7 / 0")
        (3.5, None)
        """,
        fits={Type.FLOAT64: FINITE},
    ),
    entry(
        "idiv",
        "two int64",
        _WHOLE_PAIR,
        "({0} / NULLIF({1}, CAST(0 AS BIGINT)))",
        ranged(_whole_quotient),
        """The whole quotient, cut toward zero, written `a // b`; null where b is 0 or one is null.

        >>> of("7 // 2"), of("-7 // 2"), of("7 // 0")
        (3, -3, None)
        """,
        engine_text={"duckdb": "TRY({0} // NULLIF({1}, 0))"},
        # The least int64 over −1: Flink wraps.
        fits={Type.INT64: f"(NOT {_OVERFLOWS})"},
    ),
    entry(
        "mod",
        "two int64",
        _WHOLE_PAIR,
        "MOD({0}, NULLIF({1}, CAST(0 AS BIGINT)))",
        null_in_null_out(_remainder),
        """The rest of `a // b`, with the sign of a, written `a % b`; null where b is 0.

        >>> of("7 % 3"), of("-7 % 3"), of("mod(7, -3)"), of("7 % 0")
        (1, -1, 1, None)
        """,
        # DuckDB's % of the least int64 and −1 is an error; the rest over −1 is 0 anyway.
        engine_text={
            "duckdb": "(CASE WHEN {1} = -1 THEN {0} - {0} ELSE TRY({0} % NULLIF({1}, 0)) END)"
        },
    ),
    _opposite(
        "neg",
        "{minus}",
        operator.neg,
        """The opposite, written `-a`; the least int64 has none: a dead letter.

        >>> of("-(1 + 2)"), of("-(0.0)")
        (-3, 0.0)
        """,
    ),
    _opposite(
        "abs",
        "(CASE WHEN {{0}} < 0 THEN {minus} ELSE {{0}} END)",
        abs,
        """The number without its sign; null of null.

        >>> of("abs(-3)"), of("abs(-2.5)")
        (3, 2.5)
        """,
    ),
    entry(
        "sign",
        "one number",
        numbers(1, Type.INT64),
        "(CASE WHEN {0} < 0 THEN CAST(-1 AS BIGINT) WHEN {0} > 0 THEN CAST(1 AS BIGINT) "
        "WHEN {0} IS NOT NULL THEN CAST(0 AS BIGINT) END)",
        null_in_null_out(lambda a: (a > 0) - (a < 0)),
        """−1, 0 or 1 as an int64; null of null.

        >>> of("sign(-2.5)"), of("sign(0)"), of("sign(7)")
        (-1, 0, 1)
        """,
    ),
    # Flink's SQRT is POWER(x, 0.5), which the JVM takes for the square root: 0 of 120,000 differed.
    entry(
        "sqrt",
        "one number",
        _FLOAT_ONE,
        "(CASE WHEN {0} >= 0 THEN SQRT(CAST({0} AS DOUBLE)) END)",
        null_in_null_out(lambda a: None if a < 0 else math.sqrt(a)),
        """The square root, rounded once; null below 0.

        >>> of("sqrt(2)"), of("sqrt(-1)")
        (1.4142135623730951, None)
        """,
    ),
    entry(
        "square",
        "one number",
        numbers(1, Type.FLOAT64),
        "(CAST({0} AS DOUBLE) * CAST({0} AS DOUBLE))",
        ranged(lambda a: float(a) * float(a)),
        """The number times itself, as a float64; a dead letter where that is not finite.

        >>> of("square(-3)")
        9.0
        """,
        fits={Type.FLOAT64: FINITE},
    ),
)
WIDENED = entry(
    "float64", "one number", _FLOAT_ONE, "CAST({0} AS DOUBLE)", null_in_null_out(float), ""
)
"""Makes an int64 a float64 where it meets one; nobody writes it."""
