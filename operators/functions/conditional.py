"""Conditions: three-valued logic, choices, and what stands for a null."""

from __future__ import annotations

import operator
from collections.abc import Sequence

from headrace.operators.functions.function import (
    Entry,
    Value,
    any_of,
    entry,
    exactly,
    null_in_null_out,
    several,
    widest,
)
from headrace.operators.types import Type

__all__ = ["CONDITIONAL", "both", "either"]

_BOOLS = [Type.BOOL, Type.BOOL]


def both(a: Value, b: Value) -> Value:
    """Say a AND b, of true, false and unknown."""
    if a is False or b is False:
        return False
    return None if a is None or b is None else True


def either(a: Value, b: Value) -> Value:
    """Say a OR b, of true, false and unknown."""
    if a or b:
        return True
    return None if a is None or b is None else False


def _case_sql(engine: str, arguments: Sequence[str]) -> str:
    del engine
    pairs = zip(arguments[:-1:2], arguments[1:-1:2], strict=True)
    branches = " ".join(f"WHEN {when} THEN {then}" for when, then in pairs)
    return f"(CASE {branches} ELSE {arguments[-1]} END)"


def _cased(types: Sequence[Type]) -> Type | None:
    if len(types) % 2 == 0 or any(kind is not Type.BOOL for kind in types[:-1:2]):
        return None
    return widest([*types[1:-1:2], types[-1]])


def _first_true(*arguments: Value) -> Value:
    for when, then in zip(arguments[:-1:2], arguments[1:-1:2], strict=True):
        if when:
            return then
    return arguments[-1]


def _first_known(*arguments: Value) -> Value:
    return next((argument for argument in arguments if argument is not None), None)


# DuckDB's LEAST and GREATEST pass over NULL, Flink's answer NULL; the latter is the rule here.
def _strict(name: str) -> dict[str, str]:
    return {"duckdb": f"(CASE WHEN {{any_null}} THEN NULL ELSE {name}({{all}}) END)"}


CONDITIONAL: tuple[Entry, ...] = (
    entry(
        "and",
        "two bools",
        exactly(_BOOLS, Type.BOOL),
        "({0} AND {1})",
        both,
        """Whether both hold, written `a AND b`; false where one is false, else null where unknown.

        >>> of("TRUE AND NULL"), of("FALSE AND NULL")
        (None, False)
        """,
    ),
    entry(
        "or",
        "two bools",
        exactly(_BOOLS, Type.BOOL),
        "({0} OR {1})",
        either,
        """Whether one holds, written `a OR b`; true where one is true, else null where unknown.

        >>> of("TRUE OR NULL"), of("FALSE OR NULL")
        (True, None)
        """,
    ),
    entry(
        "not",
        "one bool",
        exactly([Type.BOOL], Type.BOOL),
        "(NOT {0})",
        null_in_null_out(operator.not_),
        """The opposite, written `NOT a`; null of null.

        >>> of("NOT TRUE"), of("NOT (1 = NULL)")
        (False, None)
        """,
    ),
    entry(
        "xor",
        "two bools",
        exactly(_BOOLS, Type.BOOL),
        "({0} <> {1})",
        null_in_null_out(operator.ne),
        """Whether exactly one holds; null where one is null.

        >>> of("xor(TRUE, FALSE)"), of("xor(TRUE, TRUE)"), of("xor(TRUE, NULL)")
        (True, False, None)
        """,
    ),
    entry(
        "is_null",
        "one operand",
        any_of(1, Type.BOOL),
        "({0} IS NULL)",
        lambda a: a is None,
        """Whether there is no value, written `a IS NULL`; never null.

        >>> of("NULL IS NULL"), of("'' IS NULL")
        (True, False)
        """,
    ),
    entry(
        "is_not_null",
        "one operand",
        any_of(1, Type.BOOL),
        "({0} IS NOT NULL)",
        lambda a: a is not None,
        """Whether there is a value, written `a IS NOT NULL`; never null.

        >>> of("0 IS NOT NULL")
        True
        """,
    ),
    entry(
        "is_true",
        "one bool",
        exactly([Type.BOOL], Type.BOOL),
        "({0} IS TRUE)",
        lambda a: a is True,
        """Whether it is known to hold, written `a IS TRUE`; never null.

        >>> of("NULL IS TRUE"), of("TRUE IS NOT TRUE")
        (False, False)
        """,
    ),
    entry(
        "is_false",
        "one bool",
        exactly([Type.BOOL], Type.BOOL),
        "({0} IS FALSE)",
        lambda a: a is False,
        """Whether it is known not to hold, written `a IS FALSE`; never null.

        >>> of("NULL IS FALSE"), of("(1 = 2) IS FALSE")
        (False, True)
        """,
    ),
    entry(
        "coalesce",
        "operands of one type",
        several(1),
        "COALESCE({all})",
        _first_known,
        """The first that is not null; `ifnull(a, b)` is the same.

        >>> of("coalesce(NULL, 2, 3)"), of("ifnull(NULL, 'x')")
        (2, 'x')
        """,
    ),
    entry(
        "case",
        "conditions and results of one type",
        _cased,
        _case_sql,
        _first_true,
        """The result of the first condition that holds, else the last, else null.

        >>> of("CASE WHEN 1 > 2 THEN 'a' WHEN NULL THEN 'b' ELSE 'c' END")
        'c'
        """,
    ),
    entry(
        "if",
        "a condition and two results of one type",
        lambda types: _cased(types) if len(types) == 3 else None,
        _case_sql,
        _first_true,
        """`if(c, a, b)`: a where c holds, else b, also where c is null.

        >>> of("if(1 > 2, 'a', 'b')"), of("if(NULL, 1, 2)")
        ('b', 2)
        """,
    ),
    entry(
        "least",
        "operands of one type",
        several(1),
        "LEAST({all})",
        null_in_null_out(min),
        """The least of them; null where one is null.

        >>> of("least(3, 1, 2)"), of("least(1, NULL)")
        (1, None)
        """,
        engine_text=_strict("LEAST"),
    ),
    entry(
        "greatest",
        "operands of one type",
        several(1),
        "GREATEST({all})",
        null_in_null_out(max),
        """The greatest of them; null where one is null.

        >>> of("greatest(3, 1.5)"), of("greatest('a', 'B')")
        (3.0, 'a')
        """,
        engine_text=_strict("GREATEST"),
    ),
)
