"""Conversions, written `CAST(x AS type)` and `TRY_CAST(x AS type)`: those that have one meaning.

A text is a number, or a bool, exactly where the text of a message would be: `007`, ` 7` and `1.0`
are no int64, `TRUE` is no bool. What CAST cannot read is a dead letter, of TRY_CAST it is null.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headrace.operators.errors import Gap, Never, NotYet
from headrace.operators.functions.function import (
    Constant,
    Entry,
    Function,
    Value,
    kept,
    null_in_null_out,
    unsigned_zero,
)
from headrace.operators.types import Type

__all__ = ["CASTS", "CONVERSION", "NO_CAST"]

_NUMBER = "^-?[0-9]+([.][0-9]+)?([eE][+-]?[0-9]+)?$"
_VARCHAR = "VARCHAR(2147483647)"


@dataclass(frozen=True)
class _Cast:
    """How a type becomes another: SQL, the Python value or None, and where that is none."""

    text: str
    of: Callable[..., Value]
    fits: str = ""


def _int64_of_text(text: str) -> int | None:
    whole = int(text) if re.fullmatch("0|-?[1-9][0-9]{0,18}", text) else None
    return whole if whole is not None and -(2**63) <= whole < 2**63 else None


def _int64_of_float(number: float) -> int | None:
    return math.trunc(number) if -(2.0**63) <= number < 2.0**63 else None


def _float_of_text(text: str) -> float | None:
    if not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", text):
        return None
    number = float(text)
    return number + 0.0 if math.isfinite(number) else None


_TRIED_INT = "TRY_CAST({0} AS BIGINT)"
_TRIED_FLOAT = "TRY_CAST({0} AS DOUBLE)"
_INT_WRITTEN = f"(CASE WHEN CAST({_TRIED_INT} AS {_VARCHAR}) = {{0}} THEN {_TRIED_INT} END)"
# The whole match is compared: Java's $ would also stand before a last line feed.
_FORM = f"COALESCE(REGEXP_EXTRACT({{0}}, '{_NUMBER.replace('{', '{{')}', 0), '') = {{0}}"
_FLOAT_WRITTEN = (
    f"(CASE WHEN {_FORM} AND ABS({_TRIED_FLOAT}) <= 1.7976931348623157E308 "
    f"THEN {unsigned_zero(_TRIED_FLOAT)} END)"
)
_LOW, _HIGH = "-9.223372036854775808e18", "9.223372036854775808e18"
_INSIDE = f"{{0}} >= {_LOW} AND {{0}} < {_HIGH}"
_TRUE, _FALSE = "{0} = 'true'", "{0} = 'false'"
_KNOWN = "({0} IS NULL OR {value} IS NOT NULL)"

# Flink's planner ends at a product with CAST(FALSE AS BIGINT): "cannot cast false as BigDecimal".
_ONE_OR_ZERO = "CASE WHEN {0} THEN 1 WHEN NOT {0} THEN 0 END"

_HOW: dict[tuple[Type, Type], _Cast] = {
    # Flink cuts toward zero, and clamps; DuckDB rounds half to even, and ends the query.
    (Type.FLOAT64, Type.INT64): _Cast(
        f"CAST(CASE WHEN {_INSIDE} THEN "
        "(CASE WHEN {0} < 0 THEN CEIL({0}) ELSE FLOOR({0}) END) END AS BIGINT)",
        _int64_of_float,
        _KNOWN,
    ),
    (Type.STRING, Type.INT64): _Cast(_INT_WRITTEN, _int64_of_text, _KNOWN),
    (Type.BOOL, Type.INT64): _Cast(f"CAST({_ONE_OR_ZERO} AS BIGINT)", int),
    (Type.INT64, Type.INT64): _Cast("{0}", int),
    (Type.INT64, Type.FLOAT64): _Cast("CAST({0} AS DOUBLE)", float),
    (Type.FLOAT64, Type.FLOAT64): _Cast("{0}", float),
    (Type.STRING, Type.FLOAT64): _Cast(_FLOAT_WRITTEN, _float_of_text, _KNOWN),
    (Type.BOOL, Type.FLOAT64): _Cast(f"CAST({_ONE_OR_ZERO} AS DOUBLE)", float),
    (Type.INT64, Type.STRING): _Cast(f"CAST({{0}} AS {_VARCHAR})", str),
    # Flink writes TRUE, DuckDB true.
    (Type.BOOL, Type.STRING): _Cast(
        "(CASE WHEN {0} THEN 'true' WHEN NOT {0} THEN 'false' END)",
        lambda value: "true" if value else "false",
    ),
    (Type.STRING, Type.STRING): _Cast("{0}", str),
    (Type.STRING, Type.BOOL): _Cast(
        f"(CASE WHEN {kept(_TRUE)} THEN TRUE WHEN {kept(_FALSE)} THEN FALSE END)",
        lambda text: {"true": True, "false": False}.get(text),
        _KNOWN,
    ),
    (Type.BOOL, Type.BOOL): _Cast("{0}", bool),
}
NO_CAST: dict[tuple[Type, Type], Gap] = {
    (Type.FLOAT64, Type.STRING): Never("Flink writes 1.0E21 and DuckDB 1e+21 for one number"),
    (Type.INT64, Type.BOOL): NotYet("write x <> 0"),
    (Type.FLOAT64, Type.BOOL): NotYet("write x <> 0"),
}
"""The casts that there are not, and why."""


def _cast(target: Type, tries: bool, about: str) -> Entry:
    name = f"{'try' if tries else 'to'}_{target.value}"

    def chosen(types: Sequence[Type], constants: Sequence[Constant]) -> Function | None:
        how = _HOW.get((types[0], target)) if len(types) == 1 and not constants else None
        if how is None:
            return None

        def value(given: Value) -> Value:
            found = how.of(given)
            if found is None and not tries:
                raise OverflowError
            return found

        fits = "" if tries else how.fits
        return Function(name, target, how.text, null_in_null_out(value), fits=fits)

    takes = ", ".join(kind.value for kind, to in _HOW if to is target and kind is not target)
    return Entry(name, f"one {takes} or {target.value}", about, chosen)


CONVERSION: tuple[Entry, ...] = (
    _cast(
        Type.INT64,
        False,
        """The value as an int64, `CAST(x AS BIGINT)`; a dead letter where it is none.

        A float64 is cut toward zero; true is 1.

        >>> of("CAST(-2.7 AS BIGINT)"), of("CAST('12' AS BIGINT)"), of("CAST(TRUE AS BIGINT)")
        (-2, 12, 1)
        """,
    ),
    _cast(
        Type.FLOAT64,
        False,
        """The value as a float64, `CAST(x AS DOUBLE)`; a dead letter where it is none.

        >>> of("CAST(2 AS DOUBLE)"), of("CAST('1e3' AS DOUBLE)")
        (2.0, 1000.0)
        """,
    ),
    _cast(
        Type.STRING,
        False,
        """The value's text, `CAST(x AS VARCHAR)`, of an int64 or a bool.

        >>> of("CAST(-7 AS VARCHAR)"), of("CAST(1 = 1 AS VARCHAR)")
        ('-7', 'true')
        """,
    ),
    _cast(
        Type.BOOL,
        False,
        """The bool that a text writes, `CAST(x AS BOOLEAN)`: `true` or `false`, else a dead letter.

        >>> of("CAST('true' AS BOOLEAN)")
        True
        """,
    ),
    _cast(
        Type.INT64,
        True,
        """The value as an int64, `TRY_CAST(x AS BIGINT)`; null where it is none.

        >>> of("TRY_CAST('7' AS BIGINT)"), of("TRY_CAST('7.0' AS BIGINT)")
        (7, None)
        >>> of("TRY_CAST(1e30 AS BIGINT)") is None
        True
        """,
    ),
    _cast(
        Type.FLOAT64,
        True,
        """The value as a float64, `TRY_CAST(x AS DOUBLE)`; null where it is none.

        >>> of("TRY_CAST('1.5' AS DOUBLE)"), of("TRY_CAST('inf' AS DOUBLE)")
        (1.5, None)
        """,
    ),
    _cast(
        Type.BOOL,
        True,
        """The bool that a text writes, `TRY_CAST(x AS BOOLEAN)`; null where it is none.

        >>> of("TRY_CAST('false' AS BOOLEAN)"), of("TRY_CAST('no' AS BOOLEAN)")
        (False, None)
        """,
    ),
)
CASTS = {
    (name.value, tries): f"{'try' if tries else 'to'}_{name.value}"
    for name in (Type.INT64, Type.FLOAT64, Type.STRING, Type.BOOL)
    for tries in (False, True)
}
"""The function that a cast to a type means."""
