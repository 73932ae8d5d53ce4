"""What a feature asks for: an aggregate of columns, or of what rows compute, and a window.

An argument that is no column, and a ``where``, become a hidden column (`pipelines/hidden.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pydantic_core import PydanticCustomError

from headrace.operators import expression
from headrace.operators.aggregates import AGGREGATES, Aggregate
from headrace.operators.aggregates.parameter import Parameter
from headrace.operators.errors import UnknownName
from headrace.operators.expression import Call, Column, Expression
from headrace.operators.source import AT, Source
from headrace.operators.streams.stream import Origin
from headrace.operators.types import Type
from headrace.pipelines import values
from headrace.pipelines.feature_text import FeatureError, Written, read, shortened
from headrace.pipelines.hidden import computed, hidden_name

__all__ = ["Asked", "parse"]


@dataclass(frozen=True)
class Asked:
    """What a feature asks for: an aggregate, its window as written, the columns to be computed."""

    aggregate: Aggregate
    window: str | None
    hidden: Mapping[str, Expression] = field(default_factory=dict)


def parse(text: str, source: Origin) -> Asked:
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
    written = read(text)
    if written.aggregate not in AGGREGATES:
        raise UnknownName(kind="aggregate", name=written.aggregate, known=AGGREGATES)
    kind = AGGREGATES[written.aggregate]
    asked = _Reading(written, source, kind).read()
    word = "over" if kind.windowed else "within"
    if written.word not in (None, word):
        found = f"{kind.name} takes a window by '{word}'"
        do = f"write `{word} {written.window}`"
        asked_word = f"asked for {written.word!r} in {text!r}"
        raise FeatureError(asked_word, found, do)
    return asked


@dataclass(frozen=True)
class _Reading:
    """One feature being read."""

    written: Written
    source: Origin
    kind: type[Aggregate]

    @property
    def columns(self) -> dict[str, Type]:
        """Give the columns that a feature may be of: all but `at`."""
        return {name: kind for name, kind in self.source.types.items() if name != AT}

    @property
    def call(self) -> str:
        """Give the aggregate and its arguments, for errors."""
        return shortened(f"{self.kind.name}({', '.join(self.written.arguments)})")

    def read(self) -> Asked:
        given, told = self.written.arguments, self.kind.parameters
        fewest, most = self.kind.columns
        count = len(given) - len(told)
        if not fewest <= count <= most:
            raise self._wrong_count()
        text = self.written.where
        condition = None if text is None else self._condition(text)
        hidden: dict[str, Expression] = {}
        columns = [self._column(self._value(each), condition, hidden) for each in given[:count]]
        if condition is not None and not columns:
            columns = [self._column(None, condition, hidden)]
        numbers = [_number(each, text) for each, text in zip(told, given[count:], strict=True)]
        flat = [part for column in columns or [("", Type.INT64)] for part in column]
        aggregate = self.kind(*flat, *numbers)  # type: ignore[arg-type]  # pairs, taken apart
        return Asked(aggregate, self.written.window, hidden)

    def _wrong_count(self) -> FeatureError:
        fewest, _ = self.kind.columns
        parts = [_COLUMNS[self.kind.columns], *(f"a {each.name}" for each in self.kind.parameters)]
        fitting = [name for name, taken in self.columns.items() if self._takes(taken)]
        example = self.kind.example(*[*fitting, *["column"] * fewest][:fewest])
        found = f"{self.kind.name} takes {' and '.join(parts)}"
        return FeatureError(f"asked for {self.call}", found, f"write it like {example}")

    def _takes(self, taken: Type) -> bool:
        return taken in self.kind.takes or not self.kind.takes

    def _condition(self, text: str) -> Expression:
        if self.kind.filtered:
            asked = f"asked for {self.kind.name} with a where"
            found = f"{self.kind.name} is of the newest row, whatever the row says"
            raise FeatureError(asked, found, f"use {self.kind.filtered}, which passes over rows")
        tree = self._expression(text)
        if tree.type is not Type.BOOL:
            asked = f"asked for the rows where {shortened(text)!r}"
            found = f"it is {tree.type.value}, and a condition is bool"
            raise FeatureError(asked, found, "compare it, like delay >= 15")
        return tree

    def _column(
        self,
        value: Expression | None,
        condition: Expression | None,
        hidden: dict[str, Expression],
    ) -> tuple[str, Type]:
        """Give the column of what is asked for, and note it where it is to be computed."""
        if isinstance(value, Column) and condition is None:
            return value.name, value.type
        name = hidden_name(value, condition)
        derived = self.source.derived if isinstance(self.source, Source) else {}
        hidden[name] = computed(value, condition, derived)
        return name, hidden[name].type

    def _value(self, text: str) -> Expression:
        value: Expression
        if re.fullmatch("[a-z_][a-z0-9_]*", text):
            if text not in self.columns:
                raise UnknownName(kind="column", name=text, known=self.columns)
            value = Column(text, self.columns[text])
        else:
            value = self._expression(text)
        if not self._takes(value.type):
            takes = " or ".join(taken.value for taken in self.kind.takes)
            found = f"{text!r} is {value.type.value}, and {self.kind.name} takes {takes}"
            do = "choose another column or another aggregate"
            asked = f"asked for {self.call}"
            raise FeatureError(asked, found, do)
        return value

    def _expression(self, text: str) -> Expression:
        tree = expression.parse(text, self.source.types)
        asked = f"asked for the expression {shortened(text)!r}"
        if not any(isinstance(part, Column) for part in _parts_of(tree)):
            raise FeatureError(asked, "it is the same for every row", "write it over the columns")
        return tree


def _parts_of(tree: Expression) -> Iterator[Expression]:
    yield tree
    if isinstance(tree, Call):
        for argument in tree.arguments:
            yield from _parts_of(argument)


_COLUMNS = {(0, 0): "no column", (0, 1): "a column or none", (1, 1): "a column"}
_COLUMNS[2, 2] = "two columns"
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
        raise parameter.refuse(shortened(text))
    return int(text) if parameter.kind == "int" else float(text)
