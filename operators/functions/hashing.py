"""Hashing: the same number from the same text in every engine, made of MD5's digits."""

from __future__ import annotations

import hashlib
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
)
from headrace.operators.functions.text import whole
from headrace.operators.types import Type

__all__ = ["HASHING"]

_STRING = exactly([Type.STRING], Type.STRING)
_BYTES = " " + " ".join(f"{byte:02x}" for byte in range(256))
"""Every byte's two digits, each after a blank: where they stand tells the byte."""


def _byte(text: str, place: int) -> str:
    """Print a byte of a text's MD5 for Flink, which reads no hexadecimal digits."""
    digits = f"SUBSTRING(MD5({text}), {2 * place + 1}, 2)"
    return f"CAST(LOCATE(' ' || {digits}, '{_BYTES}') / 3 AS BIGINT)"


def _half(text: str, first: int) -> str:
    """Print 32 bits of a text's MD5 for DuckDB, from its hexadecimal digit `first` on."""
    return f"CAST('0x' || substring(md5({text}), {first}, 8) AS BIGINT)"


def _hash64_sql(engine: str, arguments: Sequence[str]) -> str:
    if engine == "duckdb":
        halves = [_half(arguments[0], first) for first in (1, 9)]
        high = f"((({halves[0]} + 2147483648) % 4294967296) - 2147483648)"
        return f"({high} * 4294967296 + {halves[1]})"
    signed = f"(MOD({_byte(arguments[0], 0)} + 128, CAST(256 AS BIGINT)) - 128)"
    bytes_ = [signed, *(_byte(arguments[0], place) for place in range(1, 8))]
    return "(" + " + ".join(f"{b} * {1 << 8 * (7 - n)}" for n, b in enumerate(bytes_)) + ")"


def _hash64(text: str) -> int:
    return int.from_bytes(_md5(text)[:8], "big", signed=True)


def _md5(text: str) -> bytes:
    return hashlib.md5(text.encode(), usedforsecurity=False).digest()


def _bucket(types: Sequence[Type], constants: Sequence[Constant]) -> Function | None:
    if list(types) != [Type.STRING] or len(constants) != 1:
        return None
    count = whole(constants[0], 1, 1 << 24, "the number of buckets")

    def printed(engine: str, arguments: Sequence[str]) -> str:
        if engine == "duckdb":
            return f"({_half(arguments[0], 1)} * {count} // 4294967296)"
        parts = (f"{_byte(arguments[0], n)} * {1 << 8 * (3 - n)}" for n in range(4))
        return f"(({' + '.join(parts)}) * {count} / CAST(4294967296 AS BIGINT))"

    of = null_in_null_out(lambda text: int.from_bytes(_md5(text)[:4], "big") * count >> 32)
    return Function("hash_bucket", Type.INT64, printed, of, constants=tuple(constants))


def _cross_sql(engine: str, arguments: Sequence[str]) -> str:
    del engine
    parts = (f"REPLACE(REPLACE({part}, '\\', '\\\\'), '|', '\\|')" for part in arguments)
    return "(" + " || '|' || ".join(parts) + ")"


def _cross(*parts: str) -> str:
    return "|".join(part.replace("\\", "\\\\").replace("|", "\\|") for part in parts)


def _digest(name: str, of: Callable[[str], Value], about: str) -> Entry:
    takes = "one string, int64 or bool"
    text = f"{name.upper()}({{0}})"
    return entry(name, takes, _STRING, text, null_in_null_out(of), about, as_text=True)


HASHING: tuple[Entry, ...] = (
    _digest(
        "md5",
        lambda text: _md5(text).hex(),
        """The MD5 of the text's UTF-8, in small hexadecimal digits. For buckets, not for secrets.

        >>> of("md5('')")
        'd41d8cd98f00b204e9800998ecf8427e'
        """,
    ),
    _digest(
        "sha256",
        lambda text: hashlib.sha256(text.encode()).hexdigest(),
        """The SHA-256 of the text's UTF-8, in small hexadecimal digits.

        >>> of("left(sha256('a'), 8)")
        'ca978112'
        """,
    ),
    entry(
        "hash64",
        "one string, int64 or bool",
        exactly([Type.STRING], Type.INT64),
        _hash64_sql,
        null_in_null_out(_hash64),
        """A 64-bit hash: the first eight bytes of the MD5 of the value's text, as an int64.

        >>> of("hash64('a')"), of("hash64(12) = hash64('12')"), of("hash64(NULL)")
        (919145239626757800, True, None)
        """,
        as_text=True,
    ),
    made(
        "hash_bucket",
        "one string, int64 or bool and a number of buckets",
        1,
        _bucket,
        """One of n buckets, 0 to n − 1, by the value's MD5: each value its own, for ever.

        >>> of("hash_bucket('a', 10)"), of("hash_bucket('b', 10)")
        (0, 5)
        """,
        as_text=True,
    ),
    entry(
        "cross",
        "strings, int64s and bools",
        lambda types: Type.STRING if types and set(types) == {Type.STRING} else None,
        _cross_sql,
        null_in_null_out(_cross),
        r"""Values joined so that no two lists of them look alike; null where one is null.

        A `|` within a value is written `\|`, and a backslash twice.

        >>> of("cross('1', '12')"), of("cross(11, 2)"), of("cross('a|b', 'c') = cross('a', 'b|c')")
        ('1|12', '11|2', False)
        """,
        as_text=True,
    ),
)
