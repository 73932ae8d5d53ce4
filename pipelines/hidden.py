"""What a feature computes row by row, as a hidden column of its source.

::

    mean(LEAST(delay, 180) where carrier = 'AA')
         └─ CASE WHEN carrier = 'AA' THEN LEAST(delay, 180) END ─► one more column, so that every
                                                                   engine has it, and checks it

A column's name is made of what it computes, so features that compute the same share it. It begins
with an underscore, as no name does that anyone can write.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from headrace.operators.expression import Call, Column, Expression, Literal, call
from headrace.operators.identity import canonical
from headrace.operators.source import Hidden, Source
from headrace.operators.streams.stream import Stream
from headrace.operators.types import Type
from headrace.pipelines.feature_text import FeatureError

__all__ = ["computed", "hidden_name", "inlined", "with_hidden"]

_LONGEST_NAME = 40
Rows = TypeVar("Rows", Source, Stream)


def computed(
    value: Expression | None, condition: Expression | None, derived: Mapping[str, Expression]
) -> Expression:
    """Give what a hidden column computes, from what is written alone.

    That is `value`, or for rows without one true, where `condition` is true or is not asked, else
    null.
    """
    then = Literal(True, Type.BOOL) if value is None else value
    if condition is not None:
        nothing = Literal(None, then.type)
        then = call("case", condition, then, nothing)
    return inlined(then, derived)


def inlined(tree: Expression, derived: Mapping[str, Expression]) -> Expression:
    """Put derived columns' own expressions in their place: all are computed from what is written.

    >>> total = {"total": call("neg", Column("x", Type.INT64))}
    >>> inlined(Column("total", Type.INT64), total).sql("duckdb")
    'TRY(0 - "x")'
    """
    if isinstance(tree, Column):
        return derived.get(tree.name, tree)
    if isinstance(tree, Call):
        return replace(tree, arguments=tuple(inlined(each, derived) for each in tree.arguments))
    return tree


def hidden_name(value: Expression | None, condition: Expression | None) -> str:
    """Name the column of `value` where `condition`: legible, and a digest of what it computes.

    >>> late = call("gte", Column("x", Type.INT64), Literal(15, Type.INT64))
    >>> hidden_name(None, late), hidden_name(Column("x", Type.INT64), late)
    ('_where_x_gte_15_cbf4c83b', '_x_where_x_gte_15_fee06a56')
    """
    parts = [] if value is None else [_words(value)]
    parts += [] if condition is None else ["where", _words(condition)]
    words = re.sub("[^a-z0-9]+", "_", " ".join(parts).lower()).strip("_")
    meant = [None if tree is None else canonical(tree) for tree in (value, condition)]
    digest = hashlib.sha256(json.dumps(meant).encode()).hexdigest()[:8]
    return f"_{words[:_LONGEST_NAME].rstrip('_')}_{digest}"


def _words(tree: Expression) -> str:
    if isinstance(tree, Column):
        return tree.name
    if isinstance(tree, Literal):
        return f"{tree.value:g}" if isinstance(tree.value, float) else str(tree.value)
    words = [_words(each) for each in tree.arguments]
    return f" {tree.function.name} ".join(words) if words[1:] else f"{tree.function.name} {words}"


def with_hidden(source: Rows, found: Iterable[tuple[str, str, Expression]]) -> Rows:
    """Give a source or a stream what features hide: feature, column and expression of each.

    Features that compute the same share a column, and all are named where it refuses a row. Two
    that differ, and whose digests do not, are refused: a FeatureError.
    """
    hidden: dict[str, Hidden] = {}
    for feature, name, tree in sorted(found, key=lambda each: each[:2]):
        known: Hidden = hidden.get(name, Hidden(tree, ()))
        if known.expression != tree:
            asked = f"asked for the feature {feature!r}"
            taken = f"what it computes would have the name of what {known.features[0]!r} computes"
            raise FeatureError(asked, f"{taken}, {name}", "write one of the two another way")
        hidden[name] = Hidden(tree, (*known.features, feature))
    return replace(source, hidden=hidden) if hidden else source
