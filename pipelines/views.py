"""Views as they are declared, with their features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic_core import PydanticCustomError

from headrace.operators.aggregates import Aggregate, OfRows
from headrace.operators.decay import MOST_STEPS
from headrace.operators.expression import Expression
from headrace.operators.streams.stream import Origin
from headrace.operators.types import Type
from headrace.operators.view import Feature, View
from headrace.pipelines import feature
from headrace.pipelines.document import Document, Place
from headrace.pipelines.schema import ViewForm
from headrace.pipelines.sources import check_nesting, columns_of
from headrace.pipelines.values import DAY_MS, duration

__all__ = ["Hides", "view_of"]

Hides = tuple[str, str, Expression]
"""A feature, the name of a column that it hides in its source, and what that computes."""


def view_of(
    name: str, form: ViewForm, sources: Mapping[str, Origin], every_ms: int, document: Document
) -> tuple[View, list[Hides]]:
    """Give the view that is declared by `form` under `name`, and the columns its features hide."""
    document.require("source", form.source, sources, "views", name, "source")
    source = sources[form.source]
    columns = columns_of(source)
    for i, column in enumerate(form.key):
        place = document.part(("views", name, "key"), i)
        document.require("column", column, columns, *place)
        if columns[column] is Type.FLOAT64:
            found = "it is float64, and a key's parts are compared for equality"
            raise document.refuse(place, f"asked for the key {column!r}", found, "use another type")
    features: list[Feature] = []
    hides: list[Hides] = []
    for each, text in form.features.items():
        place = ("views", name, "features", each)
        asked = _asked(text, source, document, place)
        hides += [(each, column, tree) for column, tree in asked.hidden.items()]
        window_ms = _window(asked.window, every_ms, document, place)
        _check_half_life(asked.aggregate, every_ms, document, place)
        with document.at(*place):
            features.append(Feature(each, asked.aggregate, window_ms))
    _check_horizon(name, form.horizon, features, every_ms, document)
    view = View(name, source, form.key, every_ms, tuple(features), form.shards, form.horizon)
    schemas = [view.tile_schema, *map(view.rows_schema, view.rows)]
    for i, column in enumerate(form.key):
        if any(schema.names.count(column) > 1 for schema in schemas):
            found = f"the view's tiles have a column {column!r} of their own"
            place = document.part(("views", name, "key"), i)
            raise document.refuse(
                place, f"asked for the key {column!r}", found, "rename it in the source"
            )
    return view, hides


def _asked(text: str, source: Origin, document: Document, place: Place) -> feature.Asked:
    with document.at(*place):
        asked = feature.parse(text, source)
    for tree in asked.hidden.values():
        check_nesting(tree, f"asked for the feature {text[:60]!r}", document, place)
    return asked


def _window(window: str | None, every_ms: int, document: Document, place: Place) -> int | None:
    if window is None:
        return None
    try:
        window_ms = duration(window)
    except PydanticCustomError as error:
        facts = error.context or {}
        raise document.refuse(place, facts["asked"], facts["found"], facts["do"]) from error
    _check_steps("window", window, window_ms, every_ms, document, place)
    return window_ms


def _check_half_life(aggregate: Aggregate, every_ms: int, document: Document, place: Place) -> None:
    half_life_ms = aggregate.half_life_ms
    if half_life_ms is None:
        return
    written = _duration_text(half_life_ms)
    _check_steps("half-life", written, half_life_ms, every_ms, document, place)
    if half_life_ms > MOST_STEPS * every_ms:
        found = f"it is more than {MOST_STEPS} steps of {document.written('every', '1s')}"
        asked = f"asked for a half-life of {written!r}"
        raise document.refuse(place, asked, found, "use a shorter one, or a longer step")


def _check_horizon(
    name: str,
    horizon_ms: int | None,
    features: Sequence[Feature],
    every_ms: int,
    document: Document,
) -> None:
    """Refuse a horizon that a read of now would look beyond."""
    if horizon_ms is None:
        return
    place = ("views", name, "horizon")
    written = _duration_text(horizon_ms)
    _check_steps("horizon", written, horizon_ms, every_ms, document, place)
    asked = f"asked for a horizon of {written!r}"
    for each in features:
        reach_ms = each.reach_ms
        if reach_ms is not None and reach_ms > horizon_ms:
            found = f"the feature {each.name!r} looks back {_duration_text(reach_ms)}"
            do = f"use a horizon of at least {_duration_text(reach_ms)}"
            raise document.refuse(place, asked, found, do)
        if reach_ms is None and isinstance(each.aggregate, OfRows):
            found = f"the feature {each.name!r} is of all rows ever, and no sum carries them"
            raise document.refuse(place, asked, found, "give it a window, or leave the horizon out")


def _check_steps(
    what: str, written: str, span_ms: int, every_ms: int, document: Document, place: Place
) -> None:
    """Refuse a span of time that is no multiple of the step."""
    if span_ms == 0 or span_ms % every_ms:
        found = f"a {what} is a multiple of the step, {document.written('every', '1s')}"
        near = max(every_ms, span_ms - span_ms % every_ms)
        do = f"use {_duration_text(near)} or {_duration_text(near + every_ms)}"
        raise document.refuse(place, f"asked for a {what} of {written!r}", found, do)


def _duration_text(span_ms: int) -> str:
    for unit, size in (("d", DAY_MS), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if span_ms % size == 0:
            return f"{span_ms // size}{unit}"
    return f"{span_ms}ms"
