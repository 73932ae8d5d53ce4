"""JSON that says itself whether it is whole: its last key is the sha256 of the rest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from headrace.operators.errors import CorruptError

__all__ = ["sealed", "unsealed"]

_SEAL = "sha256"
_FORM = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE


def sealed(facts: Mapping[str, Any]) -> bytes:
    """Write facts as JSON with their seal; the order of keys stays.

    >>> print(sealed({"address": "127.0.0.1:8080"}).decode()[:64])
    {
      "address": "127.0.0.1:8080",
      "sha256": "59cf1ae026371f9f88
    """
    plain = {name: value for name, value in facts.items() if name != _SEAL}
    seal = hashlib.sha256(orjson.dumps(plain, option=_FORM)).hexdigest()
    return orjson.dumps({**plain, _SEAL: seal}, option=_FORM)


def unsealed(path: Path, data: bytes, do: str) -> dict[str, Any]:
    """Read what `sealed` wrote into the file at `path`; `do` says what helps where it is damaged.

    Raises
    ------
    CorruptError
        Where a bit is not as it was written.

    Examples
    --------
    >>> unsealed(Path("x.json"), sealed({"a": 1}), "write it again")
    {'a': 1}
    >>> unsealed(Path("x.json"), sealed({"a": 1}).replace(b"1", b"2", 1), "write it again")
    Traceback (most recent call last):
    headrace.operators.errors.CorruptError: x.json: asked for a whole file; its sha256 is not what \
it says; write it again
    """
    asked = "asked for a whole file"
    try:
        facts = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise CorruptError(path, asked, str(error), do) from error
    if not isinstance(facts, dict) or sealed(facts) != data:
        raise CorruptError(path, asked, "its sha256 is not what it says", do)
    facts.pop(_SEAL)
    return facts
