"""A feature's text, taken apart at its own brackets and commas.

::

    quantile(LEAST(delay, 180), 0.95 where carrier = 'AA') over 1h
    aggregate  argument         argument   condition        window

SQL's own tokens are what is read, so a bracket inside quotes or a comment is none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import sqlglot
from sqlglot.errors import SqlglotError
from sqlglot.tokenizer_core import Token, TokenType

from headrace.operators.errors import HeadraceError

__all__ = ["FeatureError", "Written", "read", "shortened"]

_OPEN = (TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE)
_SHUT = (TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE)
_WINDOW = re.compile(r"(\s+(?P<word>\w+)\s+(?P<window>\S+))?\s*", re.ASCII)
_LONGEST = 1000
_SHOWN = 200


class FeatureError(HeadraceError):
    """A feature that has no meaning here."""


@dataclass(frozen=True)
class Written:
    """A feature's text, taken apart."""

    aggregate: str
    arguments: tuple[str, ...]
    where: str | None
    word: str | None
    window: str | None


def read(text: str) -> Written:
    """Take a text apart; what the parts mean is not asked.

    Raises
    ------
    FeatureError
        Where it is of another form.

    Examples
    --------
    >>> read("count(where f(a, ')') > 1) over 1h")
    Written(aggregate='count', arguments=(), where="f(a, ')') > 1", word='over', window='1h')
    >>> read("decayed_mean(LEAST(delay, 180), 1h)").arguments
    ('LEAST(delay, 180)', '1h')

    """
    found = "a feature is an aggregate, a column in brackets, and a window"
    do = "write it like mean(delay) over 1h, count() over 24h or latest(delay)"
    wrong = FeatureError(f"asked for the feature {shortened(text)!r}", found, do)
    try:
        tokens = sqlglot.tokenize(text, dialect="duckdb") if len(text) <= _LONGEST else []
    except SqlglotError as error:
        raise wrong from error
    if [token.token_type for token in tokens[1:2]] != [TokenType.L_PAREN]:
        raise wrong
    cuts, condition, shut = _marks(tokens[1:])
    tail = None if shut is None else _WINDOW.fullmatch(text[shut.end + 1 :])
    if shut is None or shut.token_type is not TokenType.R_PAREN or tail is None:
        raise wrong
    parts = _parts(text, cuts, condition, shut)
    return Written(tokens[0].text, *parts, tail["word"], tail["window"])


def _marks(tokens: Sequence[Token]) -> tuple[list[int], Token | None, Token | None]:
    """Find where arguments begin, the word `where`, and the bracket that shuts the first."""
    depth, cuts, condition = 0, [tokens[0].end + 1], None
    for token in tokens:
        depth += (token.token_type in _OPEN) - (token.token_type in _SHUT)
        if depth == 0:
            return cuts, condition, token
        if depth == 1 and condition is None:
            if token.token_type is TokenType.COMMA:
                cuts.append(token.end + 1)
            if token.token_type is TokenType.WHERE:
                condition = token
    return cuts, condition, None


def _parts(
    text: str, cuts: Sequence[int], condition: Token | None, shut: Token
) -> tuple[tuple[str, ...], str | None]:
    """Give the arguments, and the condition where there is one."""
    inside = text[cuts[0] : shut.start].strip()
    if re.fullmatch(r"\w+", inside, re.ASCII):  # a column may be called `where`
        return (inside,), None
    stop = shut.start if condition is None else condition.start
    ends = [*(cut - 1 for cut in cuts[1:]), stop]
    arguments = tuple(text[a:b].strip() for a, b in zip(cuts, ends, strict=True))
    after = None if condition is None else text[condition.end + 1 : shut.start].strip()
    return () if arguments == ("",) else arguments, after


def shortened(text: str) -> str:
    """Give a text for an error's sentence."""
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
