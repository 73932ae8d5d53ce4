"""Text: characters are Unicode code points in every engine; upper and lower case are A to Z's."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from headrace.operators.functions.function import (
    Constant,
    Entry,
    Function,
    Value,
    entry,
    exactly,
    made,
    null_in_null_out,
    plain,
)
from headrace.operators.types import Type

__all__ = ["TEXT", "whole"]

_UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LOWERED = str.maketrans(_UPPER, _UPPER.lower())
_UPPERED = str.maketrans(_UPPER.lower(), _UPPER)
_MOST = 1000
"""How long a constant makes a text: a row must not be able to fill the memory."""
_MILLION = 1_000_000


def whole(constant: Constant, low: int, high: int, what: str) -> int:
    """Check a constant that is a whole number; a ValueError says what it must be."""
    if type(constant) is not int or not low <= constant <= high:
        message = f"{what} is a whole number from {low} to {high}, written out"
        raise ValueError(message)
    return constant


def _filled(constant: Constant, what: str) -> str:
    if not isinstance(constant, str) or not constant:
        message = f"{what} is a text that is not empty, written out"
        raise ValueError(message)
    return constant


def _one(name: str, text: str, of: Callable[..., Value], about: str, duckdb: str = "") -> Entry:
    own = {"duckdb": duckdb} if duckdb else {}
    typed = exactly([Type.STRING], Type.STRING)
    return entry(name, "one string", typed, text, null_in_null_out(of), about, engine_text=own)


def _two(name: str, result: Type, text: str, of: Callable[..., Value], about: str) -> Entry:
    typed = exactly([Type.STRING] * 2, result)
    # Flink's POSITION takes no expression before IN. DuckDB 2.0 makes `POSITION(…) = 1` a search
    # for a prefix, and ends with an error where it finds while it plans that the part is null.
    found = {"flink": "LOCATE({1}, {0})", "duckdb": "ABS(POSITION({1} IN {0}))"}
    own = {each: text.format(found=sql) for each, sql in found.items() if "{found}" in text}
    text = own.get("duckdb", text)
    of = null_in_null_out(of)
    return entry(name, "two strings", typed, text, of, about, engine_text=own)


def _cut(
    name: str,
    takes: str,
    counts: range,
    printed: Callable[..., str],
    of: Callable[..., Value],
    about: str,
) -> Entry:
    """Make an entry of a string and of constants that `printed` and `of` read."""

    def make(types: Sequence[Type], constants: Sequence[Constant]) -> Function | None:
        if list(types) != [Type.STRING] or len(constants) not in counts:
            return None
        text = printed(*constants)

        def value(row: str) -> Value:
            return of(row, *constants)

        fixed = tuple(constants)
        return Function(name, Type.STRING, text, null_in_null_out(value), constants=fixed)

    return made(name, takes, 1, make, about)


def _left(count: Constant) -> str:
    return f"LEFT({{0}}, {whole(count, 0, _MILLION, 'the count')})"


def _right(count: Constant) -> str:
    return f"RIGHT({{0}}, {whole(count, 0, _MILLION, 'the count')})"


def _substring(start: Constant, count: Constant = _MILLION) -> str:
    first = whole(start, 1, _MILLION, "the place, counted from 1,")
    return f"SUBSTRING({{0}}, {first}, {whole(count, 0, _MILLION, 'the count')})"


def _pad(count: Constant, fill: Constant) -> tuple[str, str, int]:
    """Print the filling, and what the text is cut to: Flink's LPAD cuts half characters."""
    size = whole(count, 0, _MOST, "the length")
    filling = _filled(fill, "the filling") * size
    missing = f"SUBSTRING({plain(filling[:size])}, 1, {size} - CAST(CHAR_LENGTH({{0}}) AS INT))"
    kept = f"WHEN CHAR_LENGTH({{0}}) >= {size} THEN LEFT({{0}}, {size})"
    return missing, kept, size


def _lpad(count: Constant, fill: Constant) -> str:
    missing, kept, _ = _pad(count, fill)
    return f"(CASE {kept} ELSE {missing} || {{0}} END)"


def _rpad(count: Constant, fill: Constant) -> str:
    missing, kept, _ = _pad(count, fill)
    return f"(CASE {kept} ELSE {{0}} || {missing} END)"


def _padding(text: str, count: int, fill: str) -> str:
    return (fill * count)[: max(0, count - len(text))]


def _repeat(count: Constant) -> str:
    return f"REPEAT({{0}}, {whole(count, 0, _MOST, 'the count')})"


def _split_part(types: Sequence[Type], constants: Sequence[Constant]) -> Function | None:
    if list(types) != [Type.STRING] or len(constants) != 2:
        return None
    sign = _filled(constants[0], "the separator")
    place = whole(constants[1], 1, _MOST, "the place, counted from 1,")
    # Of an empty text Flink has no first part.
    empty = "WHEN {0} = '' THEN ''" if place == 1 else "WHEN {0} = '' THEN CAST(NULL AS STRING)"
    own = {
        "flink": f"(CASE {empty} ELSE SPLIT_INDEX({{0}}, {plain(sign)}, {place - 1}) END)",
        "duckdb": f"string_split({{0}}, {plain(sign)})[{place}]",
    }

    def value(text: str) -> Value:
        parts = text.split(sign)
        return parts[place - 1] if place <= len(parts) else None

    of = null_in_null_out(value)
    return Function("split_part", Type.STRING, "", of, own, constants=tuple(constants))


def _replace(text: str, old: str, new: str) -> str:
    return text.replace(old, new) if old else text


TEXT: tuple[Entry, ...] = (
    # A to Z only: of the other letters' small forms each engine has a table of its own.
    _one(
        "lower",
        f"TRANSLATE({{0}}, '{_UPPER}', '{_UPPER.lower()}')",
        lambda text: text.translate(_LOWERED),
        """The text with A to Z as a to z; other letters stay.

        >>> of("lower('ABC É')")
        'abc É'
        """,
    ),
    _one(
        "upper",
        f"TRANSLATE({{0}}, '{_UPPER.lower()}', '{_UPPER}')",
        lambda text: text.translate(_UPPERED),
        """The text with a to z as A to Z; other letters stay.

        >>> of("upper('straße')")
        'STRAßE'
        """,
    ),
    # DuckDB's TRIM of one argument takes all of Unicode's blanks.
    _one(
        "trim",
        "TRIM({0})",
        lambda text: text.strip(" "),
        """The text without the spaces around it; only U+0020 is one.

        >>> of("trim('  a b ')")
        'a b'
        """,
        "trim({0}, ' ')",
    ),
    _one(
        "ltrim",
        "LTRIM({0})",
        lambda text: text.lstrip(" "),
        """The text without the spaces before it.

        >>> of("ltrim('  a ')")
        'a '
        """,
        "ltrim({0}, ' ')",
    ),
    _one(
        "rtrim",
        "RTRIM({0})",
        lambda text: text.rstrip(" "),
        """The text without the spaces after it.

        >>> of("rtrim('  a ')")
        '  a'
        """,
        "rtrim({0}, ' ')",
    ),
    # DuckDB's own turns graphemes, Flink's and Python's code points.
    _one(
        "reverse",
        "REVERSE({0})",
        lambda text: text[::-1],
        """The text's code points from the last to the first.

        >>> of("reverse('abc')")
        'cba'
        """,
        "array_to_string(list_reverse(regexp_split_to_array({0}, '')), '')",
    ),
    entry(
        "length",
        "one string",
        exactly([Type.STRING], Type.INT64),
        "CAST(CHAR_LENGTH({0}) AS BIGINT)",
        null_in_null_out(len),
        """The number of code points; `char_length` is the same.

        >>> of("length('été')"), of("length('')")
        (3, 0)
        """,
        engine_text={"duckdb": "CAST(length({0}) AS BIGINT)"},
    ),
    _two(
        "dpipe",
        Type.STRING,
        "({0} || {1})",
        lambda a, b: a + b,
        """The two one after the other, written `a || b`; null where one is null.

        >>> of("'a' || 'b'"), of("'a' || NULL")
        ('ab', None)
        """,
    ),
    entry(
        "concat",
        "strings",
        lambda types: Type.STRING if set(types) == {Type.STRING} else None,
        lambda _, arguments: "(" + " || ".join(arguments) + ")",
        null_in_null_out(lambda *texts: "".join(texts)),
        """Texts one after the other; null where one is null, as in `||`.

        >>> of("concat('a', 'b', 'c')"), of("concat('a', NULL)")
        ('abc', None)
        """,
    ),
    _two(
        "contains",
        Type.BOOL,
        "({found} > 0)",
        lambda text, part: part in text,
        """Whether the text has a part; the empty text is in every text.

        >>> of("contains('abc', 'bc')"), of("contains('abc', '')")
        (True, True)
        """,
    ),
    _two(
        "starts_with",
        Type.BOOL,
        "({found} = 1)",
        lambda text, part: text.startswith(part),
        """Whether the text begins with a part.

        >>> of("starts_with('abc', 'ab')"), of("starts_with('abc', 'b')")
        (True, False)
        """,
    ),
    _two(
        "ends_with",
        Type.BOOL,
        "(RIGHT({0}, CAST(CHAR_LENGTH({1}) AS INT)) = {1})",
        lambda text, part: text.endswith(part),
        """Whether the text ends with a part.

        >>> of("ends_with('abc', 'bc')"), of("ends_with('c', 'abc')")
        (True, False)
        """,
    ),
    _two(
        "position",
        Type.INT64,
        "CAST({found} AS BIGINT)",
        lambda text, part: text.find(part) + 1,
        """Where a part first stands in the text, counted from 1; 0 where it does not.

        >>> of("position('abc', 'c')"), of("position('abc', 'x')"), of("position('abc', '')")
        (3, 0, 1)
        """,
    ),
    entry(
        "replace",
        "three strings",
        exactly([Type.STRING] * 3, Type.STRING),
        "(CASE WHEN {1} = '' AND {2} IS NOT NULL THEN {0} ELSE REPLACE({0}, {1}, {2}) END)",
        null_in_null_out(_replace),
        """The text with each occurrence of the second replaced by the third.

        The empty text occurs nowhere.

        >>> of("replace('a-b-c', '-', '+')"), of("replace('abc', '', 'x')")
        ('a+b+c', 'abc')
        """,
    ),
    _cut(
        "left",
        "a string and a count",
        range(1, 2),
        _left,
        lambda text, count: text[:count],
        """The first code points of the text, as many as the constant says.

        >>> of("left('abc', 2)"), of("left('a', 2)")
        ('ab', 'a')
        """,
    ),
    _cut(
        "right",
        "a string and a count",
        range(1, 2),
        _right,
        lambda text, count: text[max(0, len(text) - count) :],
        """The last code points of the text, as many as the constant says.

        >>> of("right('abc', 2)"), of("right('abc', 0)")
        ('bc', '')
        """,
    ),
    _cut(
        "substring",
        "a string, a place from 1 on and, if wanted, a count",
        range(1, 3),
        _substring,
        lambda text, start, count=_MILLION: text[start - 1 : start - 1 + count],
        """Code points of the text from a place, counted from 1, to the end or as many as said.

        >>> of("substring('abcd', 2, 2)"), of("substring('abcd', 3)"), of("substring('a', 5)")
        ('bc', 'cd', '')
        """,
    ),
    _cut(
        "lpad",
        "a string, a length and a filling",
        range(2, 3),
        _lpad,
        lambda text, count, fill: _padding(text, count, fill) + text[:count],
        """The text made exactly so long: filled before it, or cut after it.

        >>> of("lpad('7', 3, '0')"), of("lpad('abcd', 3, '0')"), of("lpad('x', 4, 'ab')")
        ('007', 'abc', 'abax')
        """,
    ),
    _cut(
        "rpad",
        "a string, a length and a filling",
        range(2, 3),
        _rpad,
        lambda text, count, fill: text[:count] + _padding(text, count, fill),
        """The text made exactly so long: filled, or cut, after it.

        >>> of("rpad('7', 3, '.')"), of("rpad('abcd', 3, '.')")
        ('7..', 'abc')
        """,
    ),
    _cut(
        "repeat",
        "a string and a count",
        range(1, 2),
        _repeat,
        lambda text, count: text * count,
        """The text so many times, at most 1000.

        >>> of("repeat('ab', 3)"), of("repeat('ab', 0)")
        ('ababab', '')
        """,
    ),
    made(
        "split_part",
        "a string, a separator and a place from 1 on",
        1,
        _split_part,
        """The part at a place, counted from 1, between separators; null beyond the last.

        >>> of("split_part('a|b', '|', 2)"), of("split_part('a', '|', 2)")
        ('b', None)
        """,
    ),
)
