"""What a pinned row function is: one meaning, its text for each engine, its value in Python.

::

    name ─► Entry ── types, constants of a call ─► Function ─┬─► text for Flink, text for DuckDB
            about, takes, rows                               ├─► a Python value
                                                             └─► fits: false where a row is refused

An engine's own text stands where it would otherwise disagree with the others; the comment says how.

A number that a function computes is finite, within its type, and never −0.0. Flink wraps an int64
in silence and DuckDB ends the query, so each function that can leave its type says in `fits` when
it does not: such a row is refused, in every engine, with a reason that names the column.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from headrace.operators.types import Type

__all__ = [
    "Constant",
    "Entry",
    "Function",
    "Made",
    "Typing",
    "Value",
    "any_of",
    "entry",
    "exactly",
    "kept",
    "made",
    "null_in_null_out",
    "numbers",
    "pinned",
    "plain",
    "ranged",
    "several",
    "text",
    "unsigned_zero",
    "widest",
]

Value = bool | int | float | str | None
Constant = bool | int | float | str | tuple[int | float | str, ...]
Typing = Callable[[Sequence[Type]], Type | None]
Printer = Callable[[str, Sequence[str]], str]


@dataclass(frozen=True)
class Function:
    """A function of one row's values, whose result has the type `type`.

    Two are equal where name, type and constants are: they were made by one entry.

    Parameters
    ----------
    name
        Its name in the catalogue.
    type
        The type of the result.
    text
        SQL over ``{0}``, ``{1}``, …, ``{all}`` and ``{any_null}``, or a function that prints it.
    of
        Its value in Python, of the values of its arguments.
    engine_text
        The text for an engine that needs one of its own.
    fits
        SQL over the same and ``{value}``, false where a row is refused; empty where none is.
    constants
        What it was made with, where its call has constants.

    """

    name: str
    type: Type
    text: str | Printer = field(compare=False)
    of: Callable[..., Value] = field(compare=False)
    engine_text: Mapping[str, str] = field(default_factory=dict, compare=False)
    fits: str = field(default="", compare=False)
    constants: tuple[Constant, ...] = ()

    def sql(self, engine: str, arguments: Sequence[str]) -> str:
        """Print the call for `engine`."""
        text = self.engine_text.get(engine, self.text)
        return _filled(text, arguments) if isinstance(text, str) else text(engine, arguments)

    def check(self, engine: str, arguments: Sequence[str]) -> str:
        """Print what is false for a row that is refused; empty where none is."""
        if not self.fits:
            return ""
        return _filled(self.fits, arguments, value=self.sql(engine, arguments))


def _filled(text: str, arguments: Sequence[str], value: str = "") -> str:
    any_null = " OR ".join(f"{argument} IS NULL" for argument in arguments)
    return text.format(*arguments, all=", ".join(arguments), any_null=any_null, value=value)


Made = Callable[[Sequence[Type], Sequence[Constant]], Function | None]


@dataclass(frozen=True)
class Entry:
    """A name of the catalogue, and the function that a call of it means.

    Parameters
    ----------
    name
        How it is called.
    takes
        What it takes, for errors.
    about
        What it is, nulls, edges, and an example that runs.
    chosen
        Gives the function for the types of a call's arguments and for its constants, None where
        the types do not fit; a ValueError says why a constant does not.
    rows
        How many arguments are expressions, where the others are constants; None is all of them.
    as_text
        Whether an argument that is an int64 or a bool stands for its text.

    """

    name: str
    takes: str
    about: str
    chosen: Made
    rows: int | None = None
    as_text: bool = False


def entry(
    name: str,
    takes: str,
    typed: Typing,
    text: str | Printer,
    of: Callable[..., Value],
    about: str,
    *,
    engine_text: Mapping[str, str] | None = None,
    fits: Mapping[Type, str] | None = None,
    as_text: bool = False,
) -> Entry:
    """Make the entry of a function that has no constants."""

    def chosen(types: Sequence[Type], constants: Sequence[Constant]) -> Function | None:
        result = typed(types)
        if result is None or constants:
            return None
        check = (fits or {}).get(result, "")
        return Function(name, result, text, of, engine_text or {}, check)

    return Entry(name, takes, about, chosen, as_text=as_text)


def made(
    name: str, takes: str, rows: int, make: Made, about: str, *, as_text: bool = False
) -> Entry:
    """Make the entry of a function with constants after its first `rows` arguments."""
    return Entry(name, takes, about, make, rows, as_text)


def text(value: str) -> str:
    """Print a string literal."""
    return "'" + value.replace("'", "''") + "'"


def plain(value: str) -> str:
    """Print a string literal within a template, where braces have a meaning."""
    return text(value).replace("{", "{{").replace("}", "}}")


def widest(types: Sequence[Type]) -> Type | None:
    """Type numbers by the widest, anything else only where all are equal."""
    if types and all(kind.numeric for kind in types):
        return Type.FLOAT64 if Type.FLOAT64 in types else Type.INT64
    return types[0] if len(set(types)) == 1 else None


def numbers(count: int, result: Type | None = None) -> Typing:
    """Take `count` numbers; the result is the widest, or `result`."""

    def typed(types: Sequence[Type]) -> Type | None:
        if len(types) != count or not all(kind.numeric for kind in types):
            return None
        return result or widest(types)

    return typed


def exactly(kinds: Sequence[Type], result: Type) -> Typing:
    """Take arguments of these types."""
    return lambda types: result if list(types) == list(kinds) else None


def any_of(count: int, result: Type) -> Typing:
    """Take `count` arguments of any types."""
    return lambda types: result if len(types) == count else None


def several(least: int, result: Type | None = None) -> Typing:
    """Take at least `least` arguments of one type; the result is that type, or `result`."""

    def typed(types: Sequence[Type]) -> Type | None:
        kind = widest(types)
        return None if kind is None or len(types) < least else result or kind

    return typed


def null_in_null_out(of: Callable[..., Value]) -> Callable[..., Value]:
    """Give NULL where an argument is NULL."""

    def value(*arguments: Value) -> Value:
        return None if any(argument is None for argument in arguments) else of(*arguments)

    return value


def ranged(of: Callable[..., Value]) -> Callable[..., Value]:
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

    return null_in_null_out(value)


def unsigned_zero(number: str) -> str:
    """Print a float64 without −0.0; Flink's planner takes `number + 0` for `number`."""
    return f"(0e0 - (0e0 - {number}))"


def kept(comparison: str) -> str:
    """Print a comparison that Flink's planner leaves as it is, with its nulls.

    Of several ones with constants, beside AND, OR, NOT or CASE, it makes a SEARCH, whose Java ends
    in a comment that takes in what the next value's begins with: no program then compiles.
    """
    return f"IFNULL({comparison}, CAST(NULL AS BOOLEAN))"


def pinned(value: float) -> str:
    """Print a number's literal, with its type."""
    if isinstance(value, int):
        return f"CAST({value} AS BIGINT)"
    # With an exponent DuckDB reads a double; without one a decimal, which it rounds twice.
    exponent = "" if "e" in repr(value) else "e0"
    return f"CAST({value!r}{exponent} AS DOUBLE)"
