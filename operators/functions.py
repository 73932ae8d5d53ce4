"""The pinned row functions: one entry says types, each engine's text and the Python meaning.

An engine's own text stands where it would otherwise disagree with the others; the comment says how.

A number that a function computes is finite, within its type, and never −0.0. Flink wraps an int64
in silence and DuckDB ends the query, so each function that can leave its type says in `fits` when
it does not: such a row is refused, in every engine, with a reason that names the column.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from headrace.operators.types import Type

__all__ = ["FUNCTIONS", "WIDENED", "Function", "Value"]

Value = bool | int | float | str | None
Typing = Callable[[Sequence[Type]], Type | None]


@dataclass(frozen=True)
class Function:
    """A function with one meaning: its typing rule, its text per engine, its value in Python.

    `fits`: per type of the result, SQL that is false beyond it, of the arguments and ``{value}``.
    """

    name: str
    takes: str
    typed: Typing
    text: str
    of: Callable[..., Value]
    engine_text: dict[str, str] = field(default_factory=dict)
    fits: dict[Type, str] = field(default_factory=dict)

    def sql(self, engine: str, arguments: Sequence[str]) -> str:
        """Print the call for `engine`: ``{0}``, ``{1}``, …, ``{all}``, ``{any_null}``."""
        if self.name == "case":
            return _case(arguments)
        text = self.engine_text.get(engine, self.text)
        any_null = " OR ".join(f"{argument} IS NULL" for argument in arguments)
        return text.format(*arguments, all=", ".join(arguments), any_null=any_null)


def _case(arguments: Sequence[str]) -> str:
    pairs = zip(arguments[:-1:2], arguments[1:-1:2], strict=True)
    branches = " ".join(f"WHEN {when} THEN {then}" for when, then in pairs)
    return f"(CASE {branches} ELSE {arguments[-1]} END)"


def _same(types: Sequence[Type]) -> Type | None:
    """Type numbers by the widest, anything else only where all are equal."""
    if all(kind.numeric for kind in types):
        return Type.FLOAT64 if Type.FLOAT64 in types else Type.INT64
    return types[0] if len(set(types)) == 1 else None


def _numbers(count: int, result: Type | None = None) -> Typing:
    def typed(types: Sequence[Type]) -> Type | None:
        if len(types) != count or not all(kind.numeric for kind in types):
            return None
        return result or _same(types)

    return typed


def _compared(types: Sequence[Type]) -> Type | None:
    return Type.BOOL if len(types) == 2 and _same(types) is not None else None


def _exactly(kinds: Sequence[Type], result: Type) -> Typing:
    return lambda types: result if list(types) == list(kinds) else None


def _any(count: int, result: Type) -> Typing:
    return lambda types: result if len(types) == count else None


def _several(types: Sequence[Type]) -> Type | None:
    return _same(types) if types else None


def _cased(types: Sequence[Type]) -> Type | None:
    if len(types) % 2 == 0 or any(kind is not Type.BOOL for kind in types[:-1:2]):
        return None
    return _same([*types[1:-1:2], types[-1]])


def _null_in_null_out(of: Callable[..., Value]) -> Callable[..., Value]:
    def value(*arguments: Value) -> Value:
        return None if any(argument is None for argument in arguments) else of(*arguments)

    return value


def _ranged(of: Callable[..., Value]) -> Callable[..., Value]:
    """Compute a number, without −0.0; an OverflowError where it is beyond its type."""

    def value(*arguments: Value) -> Value:
        result = of(*arguments)
        if isinstance(result, float):
            if not math.isfinite(result):
                raise OverflowError
            return result + 0.0
        if isinstance(result, int) and not -(2**63) <= result < 2**63:
            raise OverflowError
        return result

    return _null_in_null_out(value)


def _divide(a: float, b: float) -> float | None:
    return None if b == 0 else float(a) / float(b)


def _lower(text: str) -> str:
    return text.translate(_LOWERED)


def _and(a: bool | None, b: bool | None) -> bool | None:
    if a is False or b is False:
        return False
    return None if a is None or b is None else True


def _or(a: bool | None, b: bool | None) -> bool | None:
    if a or b:
        return True
    return None if a is None or b is None else False


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


def _infix(name: str, sign: str, typed: Typing, of: Callable[..., Value]) -> Function:
    takes = "two operands of one type"
    return Function(name, takes, typed, f"({{0}} {sign} {{1}})", _null_in_null_out(of))


_LEAST_INT64 = "-9223372036854775808"
_FINITE = {Type.FLOAT64: "(ABS({value}) <= 1.7976931348623157E308)"}
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LOWERED = str.maketrans(_LETTERS, _LETTERS.lower())


def _arithmetic(name: str, sign: str, of: Callable[..., Value]) -> Function:
    """Compute in int64 or float64; DuckDB's error becomes NULL, for `fits` refuses the row."""
    wide = f"CAST({{0}} AS DECIMAL(19, 0)) {sign} CAST({{1}} AS DECIMAL(19, 0))"
    whole = f"({wide} BETWEEN {_LEAST_INT64} AND 9223372036854775807)"
    # To add 0 makes 0.0 of −0.0, and changes nothing else.
    plain = f"({{0}} {sign} {{1}} + 0)" if name == "mul" else f"({{0}} {sign} {{1}})"
    return Function(
        name,
        "two operands of one type",
        _numbers(2),
        plain,
        _ranged(of),
        {"duckdb": f"TRY{plain}"},
        {Type.INT64: whole, **_FINITE},
    )


def _signed(name: str, text: str, of: Callable[..., Value]) -> Function:
    """Compute from one number; the least int64 has no opposite. 0 − x is never −0.0."""
    return Function(
        name,
        "one number",
        _numbers(1),
        text.format(minus="(0 - {0})"),
        _ranged(of),
        {"duckdb": text.format(minus="TRY(0 - {0})")},
        {Type.INT64: f"({{0}} <> {_LEAST_INT64})"},
    )


_FLOAT_ONE = _numbers(1, Type.FLOAT64)
_ALL = (
    _arithmetic("add", "+", operator.add),
    _arithmetic("sub", "-", operator.sub),
    _arithmetic("mul", "*", operator.mul),
    # INT / INT is cut to INT in Flink and DOUBLE in DuckDB; by zero is an error in one of them.
    Function(
        "div",
        "two numbers",
        _numbers(2, Type.FLOAT64),
        "(CAST({0} AS DOUBLE) / NULLIF(CAST({1} AS DOUBLE), CAST(0 AS DOUBLE)) + 0)",
        _ranged(_divide),
        fits=_FINITE,
    ),
    _infix("eq", "=", _compared, operator.eq),
    _infix("neq", "<>", _compared, operator.ne),
    _infix("lt", "<", _compared, operator.lt),
    _infix("lte", "<=", _compared, operator.le),
    _infix("gt", ">", _compared, operator.gt),
    _infix("gte", ">=", _compared, operator.ge),
    Function("and", "two bools", _exactly([Type.BOOL] * 2, Type.BOOL), "({0} AND {1})", _and),
    Function("or", "two bools", _exactly([Type.BOOL] * 2, Type.BOOL), "({0} OR {1})", _or),
    Function(
        "not",
        "one bool",
        _exactly([Type.BOOL], Type.BOOL),
        "(NOT {0})",
        _null_in_null_out(operator.not_),
    ),
    Function("is_null", "one operand", _any(1, Type.BOOL), "({0} IS NULL)", lambda a: a is None),
    Function(
        "is_not_null",
        "one operand",
        _any(1, Type.BOOL),
        "({0} IS NOT NULL)",
        lambda a: a is not None,
    ),
    Function("coalesce", "operands of one type", _several, "COALESCE({all})", _first_known),
    Function("case", "conditions and results of one type", _cased, "", _first_true),
    Function(
        "least",
        "operands of one type",
        _several,
        "LEAST({all})",
        _null_in_null_out(min),
        _strict("LEAST"),
    ),
    Function(
        "greatest",
        "operands of one type",
        _several,
        "GREATEST({all})",
        _null_in_null_out(max),
        _strict("GREATEST"),
    ),
    _signed("abs", "(CASE WHEN {{0}} < 0 THEN {minus} ELSE {{0}} END)", abs),
    Function(
        "floor",
        "one number",
        _FLOAT_ONE,
        "FLOOR(CAST({0} AS DOUBLE))",
        _null_in_null_out(lambda a: float(math.floor(a))),
    ),
    _signed("neg", "{minus}", operator.neg),
    # A to Z only: of the other letters' small forms each engine has a table of its own.
    Function(
        "lower",
        "one string",
        _exactly([Type.STRING], Type.STRING),
        f"TRANSLATE({{0}}, '{_LETTERS}', '{_LETTERS.lower()}')",
        _null_in_null_out(_lower),
    ),
    Function(
        "length",
        "one string",
        _exactly([Type.STRING], Type.INT64),
        "CAST(CHAR_LENGTH({0}) AS BIGINT)",
        _null_in_null_out(len),
        {"duckdb": "CAST(length({0}) AS BIGINT)"},
    ),
    _infix("dpipe", "||", _exactly([Type.STRING] * 2, Type.STRING), operator.add),
)
FUNCTIONS = {function.name: function for function in _ALL}
WIDENED = Function(
    "float64", "one number", _FLOAT_ONE, "CAST({0} AS DOUBLE)", _null_in_null_out(float)
)
"""Makes an int64 a float64 where it meets one; nobody writes it."""
