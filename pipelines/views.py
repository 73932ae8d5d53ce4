"""Views as they are declared, with their features."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic_core import PydanticCustomError

from headrace.operators.source import Source
from headrace.operators.types import Type
from headrace.operators.view import Feature, View
from headrace.pipelines import feature
from headrace.pipelines.document import Document, Place
from headrace.pipelines.schema import ViewForm
from headrace.pipelines.sources import columns_of
from headrace.pipelines.values import DAY_MS, duration

__all__ = ["view_of"]


def view_of(
    name: str, form: ViewForm, sources: Mapping[str, Source], every_ms: int, document: Document
) -> View:
    """Give the view that is declared by `form` under `name`."""
    document.require("source", form.source, sources, "views", name, "source")
    source = sources[form.source]
    columns = columns_of(source)
    for i, column in enumerate(form.key):
        place = document.part(("views", name, "key"), i)
        document.require("column", column, columns, *place)
        if columns[column] is Type.FLOAT64:
            found = "it is float64, and a key's parts are compared for equality"
            raise document.refuse(place, f"asked for the key {column!r}", found, "use another type")
    features = tuple(
        _feature(each, text, source, every_ms, document, ("views", name, "features", each))
        for each, text in form.features.items()
    )
    view = View(name, source, form.key, every_ms, features, form.shards)
    tile = view.tile_schema.names
    for i, column in enumerate(form.key):
        if tile.count(column) > 1:
            found = f"the view's tiles have a column {column!r} of their own"
            place = document.part(("views", name, "key"), i)
            raise document.refuse(
                place, f"asked for the key {column!r}", found, "rename it in the source"
            )
    return view


def _feature(
    name: str, text: str, source: Source, every_ms: int, document: Document, place: Place
) -> Feature:
    with document.at(*place):
        aggregate, window = feature.parse(text, columns_of(source))
    if window is None:
        return Feature(name, aggregate)
    try:
        window_ms = duration(window)
    except PydanticCustomError as error:
        facts = error.context or {}
        raise document.refuse(place, facts["asked"], facts["found"], facts["do"]) from error
    if window_ms == 0 or window_ms % every_ms:
        found = f"a window is a multiple of the step, {document.written('every', '1s')}"
        near = max(every_ms, window_ms - window_ms % every_ms)
        do = f"use {_duration_text(near)} or {_duration_text(near + every_ms)}"
        raise document.refuse(place, f"asked for a window of {window!r}", found, do)
    return Feature(name, aggregate, window_ms)


def _duration_text(span_ms: int) -> str:
    for unit, size in (("d", DAY_MS), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if span_ms % size == 0:
            return f"{span_ms // size}{unit}"
    return f"{span_ms}ms"
