"""What a message says: the text of each field of its JSON object, the same in every engine.

Flink reads messages with Jackson; this is the same reading, in plain Python. The oracle reads every
message with it, and history those few that DuckDB's own JSON would take otherwise: it takes NaN and
a comma before a closing bracket, takes the first of two fields of one name, and prints 1.50 as 1.5.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal

__all__ = ["NOT_JSON", "NOT_UTF8", "texts"]

NOT_UTF8 = "not UTF-8"
NOT_JSON = "not a JSON object"

# Jackson's own limits; a message beyond one of them is no JSON to it.
_NESTING, _DIGITS, _NAME, _SCALE = 1_000, 1_000, 50_000, 2**31 - 1
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)


def texts(payload: bytes | None) -> dict[str, str | None] | str:
    r"""Give each field's text, None for null and for what is nested; or why the message is refused.

    A number's text is that of the number, not as it was written: a whole number as it is, any other
    with all its digits. Of two fields with one name the last counts.

    >>> texts(b'{"a": 1.50, "b": "x", "b": "y", "c": [1], "d": true, "e": 1e3, "f": null}')
    {'a': '1.50', 'b': 'y', 'c': None, 'd': 'true', 'e': '1E+3', 'f': None}
    >>> texts(b'{"a": NaN}'), texts(b"\xff"), texts(None)
    ('not a JSON object', 'not UTF-8', 'not a JSON object')
    """
    if payload is None:
        return NOT_JSON
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        return NOT_UTF8
    try:
        fields = json.loads(
            text, parse_int=_whole, parse_float=_fraction, parse_constant=_no_number
        )
        # Half a surrogate pair is a character in no engine's strings.
        json.dumps(fields, ensure_ascii=False).encode()
    except (ValueError, RecursionError):  # UnicodeError and JSONDecodeError are ValueErrors
        return NOT_JSON
    if not isinstance(fields, dict) or _beyond(text):
        return NOT_JSON
    return {name: _text(value) for name, value in fields.items()}


def _text(value: object) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else None


def _whole(written: str) -> str:
    if len(written.lstrip("-")) > _DIGITS:
        raise ValueError
    return "0" if written == "-0" else written


def _fraction(written: str) -> str:
    mantissa, _, exponent = written.lower().partition("e")
    digits = sum(map(str.isdigit, written))
    scale = len(mantissa.partition(".")[2]) - int(exponent or "0")
    if digits > _DIGITS or abs(scale) > _SCALE:
        raise ValueError
    number = Decimal(written)
    return str(number if number else number.copy_abs())


def _no_number(written: str) -> str:
    raise ValueError(written)


def _beyond(text: str) -> bool:
    """Say whether it is nested deeper, or has a longer name, than Jackson takes."""
    if len(text) <= _NESTING:
        return False
    deepest = depth = 0
    for bracket in re.findall(r"[\[\]{}]", _STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    names = (match.group() for match in re.finditer(_STRING.pattern + r"(?=\s*:)", text, re.DOTALL))
    return deepest > _NESTING or any(len(json.loads(name)) > _NAME for name in names)
