"""Regular expressions over text: a constant pattern, of the subset that all engines read alike."""

from __future__ import annotations

import re
from collections.abc import Sequence

from headrace.operators.functions.function import (
    Constant,
    Entry,
    Function,
    Value,
    made,
    null_in_null_out,
    plain,
)
from headrace.operators.functions.pattern import Pattern
from headrace.operators.functions.text import whole
from headrace.operators.types import Type

__all__ = ["REGULAR"]


def _pattern(constant: Constant) -> Pattern:
    if not isinstance(constant, str):
        message = "the pattern is a text, written out"
        raise ValueError(message)
    return Pattern(constant)


def _matches(types: Sequence[Type], constants: Sequence[Constant]) -> Function | None:
    if list(types) != [Type.STRING] or len(constants) != 1:
        return None
    pattern = _pattern(constants[0])
    own = {
        "flink": f"REGEXP({{0}}, {plain(pattern.printed('flink'))})",
        "duckdb": f"regexp_matches({{0}}, {plain(pattern.printed('duckdb'))})",
    }
    compiled = re.compile(pattern.printed("python"))
    of = null_in_null_out(lambda text: compiled.search(text) is not None)
    return Function("regexp_matches", Type.BOOL, "", of, own, constants=tuple(constants))


def _extract(types: Sequence[Type], constants: Sequence[Constant]) -> Function | None:
    if list(types) != [Type.STRING] or len(constants) not in (1, 2):
        return None
    pattern = _pattern(constants[0])
    group = whole(constants[1], 0, pattern.groups, "the group") if constants[1:] else 0
    flink, duckdb = (plain(pattern.printed(engine)) for engine in ("flink", "duckdb"))
    # Without a match Flink has NULL and DuckDB ''; so has it for a group that took no part.
    own = {
        "flink": f"(CASE WHEN REGEXP({{0}}, {flink}) "
        f"THEN COALESCE(REGEXP_EXTRACT({{0}}, {flink}, {group}), '') END)",
        "duckdb": f"(CASE WHEN regexp_matches({{0}}, {duckdb}) "
        f"THEN regexp_extract({{0}}, {duckdb}, {group}) END)",
    }
    compiled = re.compile(pattern.printed("python"))

    def value(text: str) -> Value:
        found = compiled.search(text)
        return None if found is None else found.group(group) or ""

    of = null_in_null_out(value)
    return Function("regexp_extract", Type.STRING, "", of, own, constants=tuple(constants))


def _replace(types: Sequence[Type], constants: Sequence[Constant]) -> Function | None:
    if list(types) != [Type.STRING] or len(constants) != 2:
        return None
    pattern, new = _pattern(constants[0]), constants[1]
    if pattern.empty:
        message = "the pattern may match nothing, which engines replace apart"
        raise ValueError(message)
    if not isinstance(new, str):
        message = "the replacement is a text, written out"
        raise ValueError(message)
    compiled = re.compile(pattern.printed("python"))
    # Flink takes the replacement as it is; in DuckDB a backslash begins a group's number.
    escaped = plain(new.replace("\\", "\\\\"))
    own = {
        "flink": f"REGEXP_REPLACE({{0}}, {plain(pattern.printed('flink'))}, {plain(new)})",
        "duckdb": f"regexp_replace({{0}}, {plain(pattern.printed('duckdb'))}, {escaped}, 'g')",
    }
    of = null_in_null_out(lambda text: compiled.sub(lambda _: new, text))
    return Function("regexp_replace", Type.STRING, "", of, own, constants=tuple(constants))


REGULAR: tuple[Entry, ...] = (
    made(
        "regexp_matches",
        "a string and a pattern",
        1,
        _matches,
        """Whether a part of the text matches the pattern; null of null.

        >>> of("regexp_matches('flight 12', '[0-9]+')"), of("regexp_matches('a', '^b')")
        (True, False)
        """,
    ),
    made(
        "regexp_extract",
        "a string, a pattern and, if wanted, a group's number",
        1,
        _extract,
        """The first part that matches, or a group of it; null where nothing matches.

        A group that took no part in the match is the empty text.

        >>> of("regexp_extract('flight 12', '[0-9]+')")
        '12'
        >>> of("regexp_extract('a=b', '(a)=(b)', 2)"), of("regexp_extract('a', 'b')")
        ('b', None)
        """,
    ),
    made(
        "regexp_replace",
        "a string, a pattern and a replacement",
        1,
        _replace,
        """The text with every part that matches replaced by a text, taken as it is written.

        >>> of("regexp_replace('a1b22', '[0-9]+', '#')")
        'a#b#'
        """,
    ),
)
