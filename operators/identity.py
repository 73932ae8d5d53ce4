"""What makes a view the view that it is: the hash of all that its tiles depend on, and of no more.

::

    topics, files ─ columns ─ lateness ─┐
    what refuses rows, what is read ────┼─► identity ─► version "tail-1f0c…": a table, a topic
    key, step, shards, partials ────────┘

Windows are no part of it, for features are read from tiles: a new window over partials that are
there has all its tiles already. Neither are names that change no row, nor derived columns that
nobody reads and that can refuse nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping

from headrace.operators.computed import columns_of
from headrace.operators.expression import Call, Column, Expression, range_checks
from headrace.operators.source import Hidden, Source
from headrace.operators.streams.join import Table
from headrace.operators.streams.operator import Step
from headrace.operators.streams.stream import Origin
from headrace.operators.types import Type
from headrace.operators.view import Feature, View

__all__ = [
    "canonical",
    "computed_identity",
    "feature_identity",
    "lasting_identity",
    "origin_identity",
    "step_said",
    "version",
    "view_identity",
]

_DIGITS = 12


def version(view: View) -> str:
    """Name a view as it is declared now: its name, and its identity."""
    return f"{view.name}-{view_identity(view)}"


def view_identity(view: View) -> str:
    """Hash what a view's tiles depend on: 12 hexadecimal digits."""
    partials = [[p.name, p.sql, p.type.value] for p in view.partials]
    bins = [[b.name, b.sql, b.number_sql, b.merge.value, b.type.value] for b in view.bins]
    read = {*view.key, *(each.column for each in (*view.partials, *view.newest, *view.rows))}
    return _hash(
        {
            "rows": _rows(view.source, read),
            "key": view.key,
            "every_ms": view.every_ms,
            "shards": view.shards,
            "partials": partials,
            "bins": bins,
            "ends": [[ends.name, ends.most_rows, ends.type.value] for ends in view.ends],
            "newest": [each.name for each in view.newest] if view.keeps_newest else None,
        }
    )


def feature_identity(view: View, feature: Feature, keys: Collection[str]) -> str:
    """Hash what a feature as served depends on; `keys` are the decision's columns for the view's.

    Of the tiles that is all, and of windows and parameters its own.
    """
    aggregate = feature.aggregate
    told = [aggregate.name, aggregate.column, feature.window_ms, *aggregate.told]
    return _hash([_rows(view.source, {*view.key, aggregate.column}), view.key, told, list(keys)])


def computed_identity(tree: Expression, features: Mapping[str, str]) -> str:
    """Hash what a feature computed of others depends on: its text, and their identities."""
    used = {name: features[name] for name in columns_of(tree) if name in features}
    return _hash([canonical(tree), used])


def origin_identity(origin: Origin) -> str:
    """Hash what the rows of a source or a stream are, with all their columns."""
    return _hash(_rows(origin, None))


def lasting_identity(origin: Origin) -> str:
    """Hash what the rows of a source are but for the columns that may be missing from them.

    A source that has one more of these has the rows that it had; those of a stream are whatever its
    steps make of every column, so all of them count.
    """
    said = _rows(origin, None)
    if isinstance(origin, Source):
        said["columns"] = {c.name: c.type.value for c in origin.columns if c.required}
    return _hash(said)


def _hash(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def _rows(origin: Origin, read: Collection[str] | None) -> dict[str, object]:
    """Say what decides which rows there are, and the columns that are `read`; all, where None."""
    hidden = _hidden(origin.hidden, read or ())
    if not isinstance(origin, Source):
        inputs = [_rows(each, None) for each in origin.inputs]
        return {"from": inputs, "steps": [step_said(s) for s in origin.steps], "hidden": hidden}
    # A text that may be missing refuses no row, whoever declares it.
    columns = {
        c.name: [c.type.value, c.required]
        for c in origin.columns
        if read is None or c.required or c.type is not Type.STRING
    }
    derived = {
        name: canonical(tree)
        for name, tree in origin.derived.items()
        if read is None or name in read or _refuses(tree)
    }
    return {
        "topic": origin.topic if origin.live else None,
        "files": origin.files,
        "live_from_ms": origin.live_from_ms,
        "columns": columns,
        "derived": derived,
        "hidden": hidden,
        "lateness_ms": origin.lateness_ms,
        "ahead_ms": origin.ahead_ms,
    }


def _hidden(hidden: Mapping[str, Hidden], read: Collection[str]) -> dict[str, object]:
    """Give what features compute of a row, where it is read or can refuse the row."""
    return {
        name: canonical(each.expression)
        for name, each in hidden.items()
        if name in read or _refuses(each.expression)
    }


def _refuses(tree: Expression) -> bool:
    return any(True for _ in range_checks(tree, "duckdb"))


def canonical(tree: Expression) -> list[object]:
    """Say an expression apart from any engine's text for it."""
    if isinstance(tree, Call):
        constants = [["constants", *tree.function.constants]] if tree.function.constants else []
        return [tree.function.name, *map(canonical, tree.arguments), *constants]
    return ["column", tree.name] if isinstance(tree, Column) else [tree.type.value, tree.value]


def step_said(step: Step) -> list[object]:
    """Say a step of a stream in plain values."""
    return [step.name, {name: _said(value) for name, value in vars(step).items()}]


def _said(value: object) -> object:
    """Say a part of a step in plain values; of what is by name the order is a part."""
    if isinstance(value, Expression):
        return canonical(value)
    if isinstance(value, Step):
        return step_said(value)
    if isinstance(value, Table):
        return [{name: kind.value for name, kind in value.columns.items()}, value.digest]
    if isinstance(value, Mapping):
        return [[name, _said(each)] for name, each in value.items()]
    return value
