"""Which columns of sources a column is made of, as the declarations say it.

::

    source.x ─► derive y = x * 2 ─► sum(y) over 1h: the tile's sum_y is made of source.x

Rows that a step leaves out, and keys by which rows are grouped, are no part of it: it names what a
value is computed from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from headrace.operators.computed import columns_of
from headrace.operators.source import AT, Source
from headrace.operators.streams.stream import Origin
from headrace.operators.view import END, NEWEST_AT, NEWEST_PLACE, Feature, View

__all__ = ["Made", "feature_made_of", "made_of", "tiles_made_of"]


@dataclass(frozen=True)
class Made:
    """The columns of sources, each as (source, column), that a column is made of.

    `same` says that it is one of them as it is.
    """

    of: frozenset[tuple[str, str]]
    same: bool = False


def made_of(origin: Origin) -> dict[str, Made]:
    """Say it of every column of a source's or a stream's rows, hidden ones among them.

    >>> from headrace.operators.expression import parse
    >>> from headrace.operators.source import Column
    >>> from headrace.operators.types import Type
    >>> tree = parse("x * 2", {"x": Type.INT64})
    >>> clicks = Source("clicks", "topic", (Column("x", Type.INT64),), derived={"y": tree})
    >>> made = made_of(clicks)
    >>> made["y"] == Made(frozenset({("clicks", "x")})), made["x"].same
    (True, True)
    """
    if isinstance(origin, Source):
        written = (AT, *(column.name for column in origin.columns))
        found = {name: Made(frozenset({(origin.name, name)}), same=True) for name in written}
        for name, tree in origin.computed.items():
            found[name] = _together(found, columns_of(tree))
        return found
    inputs = [made_of(each) for each in origin.inputs]
    found = {
        name: Made(
            frozenset().union(*(made[name].of for made in inputs)),
            same=all(made[name].same for made in inputs),
        )
        for name in origin.given[0]
    }
    for step, types in zip(origin.every_step, [*origin.given[1:], origin.given[-1]], strict=False):
        new = {name: _together(found, names) for name, names in step.made_of().items()}
        found = {name: made for name, made in {**found, **new}.items() if name in {*types, *new}}
    return found


def tiles_made_of(view: View) -> dict[str, Made]:
    """Say it of every column of a view's tiles, and of what tiles have several rows of."""
    made = made_of(view.source)
    at = Made(made[AT].of)
    found = {name: made[name] for name in view.key} | {END: at}
    for each in (*view.partials, *view.newest, *view.rows):
        found[each.name] = Made(made[each.column].of) if each.column else at
    return found | dict.fromkeys((NEWEST_AT, *NEWEST_PLACE) if view.keeps_newest else (), at)


def feature_made_of(feature: Feature) -> set[str]:
    """Name what of a view's tiles a feature is made of, as `tiles_made_of` names it."""
    names = {each.name for each in feature.aggregate.partials}
    return names if feature.aggregate.windowed else names | {NEWEST_AT}


def _together(made: Mapping[str, Made], names: Iterable[str]) -> Made:
    return Made(frozenset().union(*(made[name].of for name in names)))
