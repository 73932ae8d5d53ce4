"""A feature as it is written: ``aggregate(column) over 1h``, ``latest(column) within 30d``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from headrace.operators.aggregates import AGGREGATES, Aggregate
from headrace.operators.errors import HeadraceError, UnknownName
from headrace.operators.types import Type

__all__ = ["FeatureError", "parse"]

_FORM = re.compile(
    r"\s*(?P<aggregate>\w+)\s*\(\s*(?P<column>\w*)\s*\)(\s+(?P<word>\w+)\s+(?P<window>\S+))?\s*",
    re.ASCII,
)


@dataclass(eq=False)
class FeatureError(HeadraceError):
    """A feature that has no meaning here."""

    asked: str
    found: str
    do: str


def parse(text: str, columns: Mapping[str, Type]) -> tuple[Aggregate, str | None]:
    """Give the aggregate over one of `columns`, and its window as it is written.

    Raises
    ------
    FeatureError
        Where `text` is of another form, or the aggregate does not take what it is given.
    UnknownName
        Where the aggregate or the column does not exist.

    Examples
    --------
    >>> aggregate, window = parse("mean(delay) over 1h", {"delay": Type.INT64})
    >>> aggregate.name, aggregate.column, aggregate.type, window
    ('mean', 'delay', Type('float64'), '1h')

    """
    match = _FORM.fullmatch(text)
    if match is None:
        found = "a feature is an aggregate, a column in brackets, and a window"
        do = "write it like mean(delay) over 1h, count() over 24h or latest(delay)"
        raise FeatureError(asked=f"asked for the feature {text!r}", found=found, do=do)
    if match["aggregate"] not in AGGREGATES:
        raise UnknownName(kind="aggregate", name=match["aggregate"], known=AGGREGATES)
    kind = AGGREGATES[match["aggregate"]]
    aggregate = _of_column(kind, match["column"], columns)
    word = "over" if kind.windowed else "within"
    if match["word"] not in (None, word):
        found = f"{kind.name} takes a window by '{word}'"
        do = f"write `{word} {match['window']}`"
        raise FeatureError(asked=f"asked for {match['word']!r} in {text!r}", found=found, do=do)
    return aggregate, match["window"]


def _of_column(kind: type[Aggregate], column: str, columns: Mapping[str, Type]) -> Aggregate:
    if not column:
        if kind.takes:
            fitting = (name for name, taken in columns.items() if taken in kind.takes)
            do = f"write it like {kind.name}({next(fitting, 'column')})"
            asked, found = f"asked for {kind.name}()", f"{kind.name} takes a column"
            raise FeatureError(asked, found, do)
        return kind()
    if column not in columns:
        raise UnknownName(kind="column", name=column, known=columns)
    aggregate = kind(column, columns[column])
    if not kind.takes and aggregate.partials == kind().partials:
        asked = f"asked for {kind.name}({column})"
        raise FeatureError(asked, f"{kind.name} takes no column", f"write {kind.name}()")
    if kind.takes and columns[column] not in kind.takes:
        takes = " or ".join(taken.value for taken in kind.takes)
        asked = f"asked for {kind.name}({column})"
        found = f"{column!r} is {columns[column].value}, and {kind.name} takes {takes}"
        raise FeatureError(asked, found, "choose another column or another aggregate")
    return aggregate
