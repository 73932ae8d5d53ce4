"""Comparisons: of two values of one type; text is compared by its bytes."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence

from headrace.operators.functions.conditional import both, either
from headrace.operators.functions.function import (
    Entry,
    Typing,
    Value,
    entry,
    kept,
    null_in_null_out,
    several,
    widest,
)
from headrace.operators.types import Type

__all__ = ["COMPARISON"]


def _of_one_type(count: int, result: Type | None = None) -> Typing:
    def typed(types: Sequence[Type]) -> Type | None:
        kind = widest(types) if len(types) == count else None
        return None if kind is None else result or kind

    return typed


_TWO = "two operands of one type"
_COMPARED = _of_one_type(2, Type.BOOL)


def _infix(name: str, sign: str, of: Callable[..., Value], about: str) -> Entry:
    return _kept(name, f"({{0}} {sign} {{1}})", null_in_null_out(of), about)


def _kept(name: str, text: str, of: Callable[..., Value], about: str) -> Entry:
    return entry(name, _TWO, _COMPARED, text, of, about, engine_text={"flink": kept(text)})


def _between(x: Value, low: Value, high: Value) -> Value:
    least = null_in_null_out(operator.ge)(x, low)
    return both(least, null_in_null_out(operator.le)(x, high))


def _in(x: Value, *listed: Value) -> Value:
    found: Value = False
    for each in listed:
        found = either(found, null_in_null_out(operator.eq)(x, each))
    return found


def _in_sql(engine: str, arguments: Sequence[str]) -> str:
    x, *listed = arguments
    if engine == "duckdb":
        return f"({x} IN ({', '.join(listed)}))"
    # From 20 on Flink makes a join of IN.
    return "(" + " OR ".join(kept(f"{x} = {each}") for each in listed) + ")"


COMPARISON: tuple[Entry, ...] = (
    _infix(
        "eq",
        "=",
        operator.eq,
        """Whether two values are equal, written `a = b`; null where one is null.

        >>> of("1 = 1.0"), of("'a' = 'A'"), of("'a' = NULL")
        (True, False, None)
        """,
    ),
    _infix(
        "neq",
        "<>",
        operator.ne,
        """Whether two values differ, written `a <> b` or `a != b`; null where one is null.

        >>> of("1 <> 2")
        True
        """,
    ),
    _infix(
        "lt",
        "<",
        operator.lt,
        """Whether a is below b, written `a < b`; null where one is null.

        >>> of("1 < 2"), of("'B' < 'a'")
        (True, True)
        """,
    ),
    _infix(
        "lte",
        "<=",
        operator.le,
        """Whether a is at most b, written `a <= b`; null where one is null.

        >>> of("2 <= 2")
        True
        """,
    ),
    _infix(
        "gt",
        ">",
        operator.gt,
        """Whether a is above b, written `a > b`; null where one is null.

        >>> of("2 > 2")
        False
        """,
    ),
    _infix(
        "gte",
        ">=",
        operator.ge,
        """Whether a is at least b, written `a >= b`; null where one is null.

        >>> of("2 >= 2")
        True
        """,
    ),
    entry(
        "between",
        "three operands of one type",
        _of_one_type(3, Type.BOOL),
        "({0} >= {1} AND {0} <= {2})",
        _between,
        """Whether x lies in a range with both ends, written `x BETWEEN a AND b`.

        It is `x >= a AND x <= b`, nulls included.

        >>> of("2 BETWEEN 1 AND 2"), of("3 BETWEEN NULL AND 2"), of("1 BETWEEN NULL AND 2")
        (True, False, None)
        """,
        engine_text={"flink": f"({kept('{0} >= {1}')} AND {kept('{0} <= {2}')})"},
    ),
    entry(
        "in",
        "an operand and a list of the same type",
        several(2, Type.BOOL),
        _in_sql,
        _in,
        """Whether x is one of a list, written `x IN (a, b)`; null where that is not known.

        >>> of("2 IN (1, 2)"), of("3 IN (1, NULL)"), of("1 IN (1, NULL)"), of("3 NOT IN (1, 2)")
        (True, None, True, True)
        """,
    ),
    _kept(
        "is_distinct_from",
        "({0} IS DISTINCT FROM {1})",
        operator.ne,
        """Whether two values differ, null being a value: `a IS DISTINCT FROM b`; never null.

        >>> of("1 IS DISTINCT FROM NULL"), of("NULL IS DISTINCT FROM NULL")
        (True, False)
        """,
    ),
    _kept(
        "is_not_distinct_from",
        "({0} IS NOT DISTINCT FROM {1})",
        operator.eq,
        """Whether two values are the same, null being a value; never null.

        >>> of("1 IS NOT DISTINCT FROM NULL"), of("1 IS NOT DISTINCT FROM 1.0")
        (False, True)
        """,
    ),
    entry(
        "nullif",
        _TWO,
        _of_one_type(2),
        "NULLIF({0}, {1})",
        lambda a, b: None if a == b else a,
        """a, or null where it equals b.

        >>> of("nullif(7, 7)"), of("nullif(7, 8)"), of("nullif('', '')")
        (None, 7, None)
        """,
        engine_text={"flink": f"(CASE WHEN {kept('{0} = {1}')} THEN NULL ELSE {{0}} END)"},
    ),
)
