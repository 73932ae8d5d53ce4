"""A feature as it is written: an aggregate, what it is of, which rows count, and its window.

::

    quantile(LEAST(delay, 180), 0.95 where carrier = 'AA') over 1h
    aggregate  columns or       parameters       rows        window
               expressions
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import sqlglot
from pydantic_core import PydanticCustomError
from sqlglot.errors import SqlglotError
from sqlglot.tokenizer_core import Token, TokenType

from headrace.operators import expression
from headrace.operators.aggregates import AGGREGATES, Aggregate
from headrace.operators.aggregates.parameter import Parameter
from headrace.operators.errors import HeadraceError, UnknownName
from headrace.operators.expression import Call, Column, Expression
from headrace.operators.source import AT, Source
from headrace.operators.types import Type
from headrace.pipelines import values
from headrace.pipelines.hidden import hidden_name, inlined, where

__all__ = ["Asked", "FeatureError", "parse"]

_OPEN = (TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE)
_SHUT = (TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE)
_WINDOW = re.compile(r"(\s+(?P<word>\w+)\s+(?P<window>\S+))?\s*", re.ASCII)
_LONGEST = 1000


@dataclass(eq=False)
class FeatureError(HeadraceError):
    """A feature that has no meaning here."""

    asked: str
    found: str
    do: str


@dataclass(frozen=True)
class Asked:
    """What a feature asks for: an aggregate, its window as written, the columns to be computed."""

    aggregate: Aggregate
    window: str | None
    hidden: Mapping[str, Expression] = field(default_factory=dict)


@dataclass(frozen=True)
class _Written:
    """A feature's text, taken apart."""

    aggregate: str
    arguments: tuple[str, ...]
    where: str | None
    word: str | None
    window: str | None


def parse(text: str, source: Source) -> Asked:
    """Give the aggregate over columns of `source`, and its window as it is written.

    Raises
    ------
    FeatureError
        Where `text` is of another form, or the aggregate does not take what it is given.
    ParameterError
        Where it is told what it cannot be told.
    ExpressionError
        Where an argument or a condition is no expression.
    UnknownName
        Where the aggregate, a column or a function does not exist.

    Examples
    --------
    >>> from headrace.operators import source
    >>> trips = source.Source("trips", "trips", (source.Column("delay", Type.INT64),))
    >>> asked = parse("mean(delay) over 1h", trips)
    >>> asked.aggregate.name, asked.aggregate.column, asked.aggregate.type, asked.window
    ('mean', 'delay', Type('float64'), '1h')
    >>> parse("count(where delay >= 15) over 1h", trips).aggregate.column
    '_where_delay_gte_15_ead00e7a'

    """
    written = _read(text)
    if written.aggregate not in AGGREGATES:
        raise UnknownName(kind="aggregate", name=written.aggregate, known=AGGREGATES)
    kind = AGGREGATES[written.aggregate]
    asked = _Reading(text, source, kind).read(written)
    word = "over" if kind.windowed else "within"
    if written.word not in (None, word):
        found = f"{kind.name} takes a window by '{word}'"
        do = f"write `{word} {written.window}`"
        asked_word = f"asked for {written.word!r} in {text!r}"
        raise FeatureError(asked_word, found, do)
    return asked


def _read(text: str) -> _Written:
    """Take a text apart at its own brackets and commas, not at those inside quotes."""
    found = "a feature is an aggregate, a column in brackets, and a window"
    do = "write it like mean(delay) over 1h, count() over 24h or latest(delay)"
    wrong = FeatureError(f"asked for the feature {_short(text)!r}", found, do)
    try:
        tokens = sqlglot.tokenize(text, dialect="duckdb") if len(text) <= _LONGEST else []
    except SqlglotError as error:
        raise wrong from error
    if [token.token_type for token in tokens[1:2]] != [TokenType.L_PAREN]:
        raise wrong
    depth, cuts, condition, shut = 0, [tokens[1].end + 1], None, None
    for token in tokens[1:]:
        depth += (token.token_type in _OPEN) - (token.token_type in _SHUT)
        if depth == 0:
            shut = token
            break
        if depth == 1 and token.token_type is TokenType.COMMA and condition is None:
            cuts.append(token.end + 1)
        if depth == 1 and token.token_type is TokenType.WHERE and condition is None:
            condition = token
    tail = _WINDOW.fullmatch(text[shut.end + 1 :]) if shut is not None else None
    if shut is None or tail is None:
        raise wrong
    return _Written(
        tokens[0].text, *_parts(text, cuts, condition, shut), tail["word"], tail["window"]
    )


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


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:199]}…"


@dataclass(frozen=True)
class _Reading:
    """One feature being read."""

    text: str
    source: Source
    kind: type[Aggregate]

    @property
    def columns(self) -> dict[str, Type]:
        """Give the columns that a feature may be of: all but `at`."""
        return {name: kind for name, kind in self.source.types.items() if name != AT}

    def read(self, written: _Written) -> Asked:
        told = self.kind.parameters
        given = written.arguments
        fewest, most = self.kind.columns
        count = len(given) - len(told)
        if not fewest <= count <= most:
            raise self._wrong_count(given)
        condition = None if written.where is None else self._condition(written.where)
        hidden: dict[str, Expression] = {}
        columns = [self._column(each, condition, hidden) for each in given[:count]]
        if condition is not None and not columns:
            columns = [self._column("", condition, hidden)]
        numbers = [_number(each, text) for each, text in zip(told, given[count:], strict=True)]
        flat = [part for column in columns or [("", Type.INT64)] for part in column]
        aggregate = self.kind(*flat, *numbers)  # type: ignore[arg-type]  # pairs, taken apart
        return Asked(aggregate, written.window, hidden)

    def _wrong_count(self, given: Sequence[str]) -> FeatureError:
        fewest, most = self.kind.columns
        columns = {(0, 0): "no column", (0, 1): "a column or none", (1, 1): "a column"}
        takes = columns.get((fewest, most), f"{most} columns")
        takes = " and ".join([takes, *(f"a {each.name}" for each in self.kind.parameters)])
        fitting = [name for name, taken in self.columns.items() if self._takes(taken)]
        example = self.kind.example(*[*fitting[:most], *["column"] * fewest][:fewest])
        asked = f"asked for {self.kind.name}({', '.join(given)})"
        return FeatureError(asked, f"{self.kind.name} takes {takes}", f"write it like {example}")

    def _takes(self, taken: Type) -> bool:
        return taken in self.kind.takes or not self.kind.takes

    def _condition(self, text: str) -> Expression:
        if self.kind.filtered:
            asked = f"asked for {self.kind.name} with a where"
            found = f"{self.kind.name} is of the newest row, whatever the row says"
            raise FeatureError(asked, found, f"use {self.kind.filtered}, which passes over rows")
        tree = self._expression(text)
        if tree.type is not Type.BOOL:
            asked = f"asked for the rows where {_short(text)!r}"
            found = f"it is {tree.type.value}, and a condition is bool"
            raise FeatureError(asked, found, "compare it, like delay >= 15")
        return tree

    def _column(
        self, text: str, condition: Expression | None, hidden: dict[str, Expression]
    ) -> tuple[str, Type]:
        """Give the column that holds what is asked for, a hidden one where it is computed."""
        value = self._value(text) if text else None
        if value is not None and not self._takes(value.type):
            takes = " or ".join(taken.value for taken in self.kind.takes)
            found = f"{text!r} is {value.type.value}, and {self.kind.name} takes {takes}"
            do = "choose another column or another aggregate"
            asked = f"asked for {self.kind.name}({text})"
            raise FeatureError(asked, found, do)
        if isinstance(value, Column) and condition is None:
            return value.name, value.type
        made = where(value, condition) if condition is not None else value
        assert made is not None  # noqa: S101 - there is one of the two
        name = hidden_name(value, condition)
        hidden[name] = inlined(made, self.source.derived)
        return name, made.type

    def _value(self, text: str) -> Expression:
        if not re.fullmatch(r"\w+", text, re.ASCII) or text.isdecimal():
            return self._expression(text)
        if text not in self.columns:
            raise UnknownName(kind="column", name=text, known=self.columns)
        return Column(text, self.columns[text])

    def _expression(self, text: str) -> Expression:
        tree = expression.parse(text, self.source.types)
        asked = f"asked for the expression {_short(text)!r}"
        if not any(isinstance(part, Column) for part in _parts_of(tree)):
            raise FeatureError(asked, "it is the same for every row", "write it over the columns")
        return tree


def _parts_of(tree: Expression) -> Iterator[Expression]:
    yield tree
    if isinstance(tree, Call):
        for argument in tree.arguments:
            yield from _parts_of(argument)


_FORMS = {"int": "-?[0-9]{1,18}", "float": r"-?[0-9]{0,18}\.?[0-9]{1,18}"}


def _number(parameter: Parameter, text: str) -> float:
    """Read what an aggregate is told: a number, or a duration in ms."""
    if parameter.kind == "duration":
        try:
            return values.duration(text)
        except PydanticCustomError as error:
            facts = error.context or {}
            raise FeatureError(facts["asked"], facts["found"], facts["do"]) from error
    if not re.fullmatch(_FORMS[parameter.kind], text):
        raise parameter.refuse(_short(text))
    return int(text) if parameter.kind == "int" else float(text)
