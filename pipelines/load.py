"""A pipeline file in, a checked pipeline out, or an error that names the line and the column."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from headrace.operators.errors import PipelineError
from headrace.pipelines.build import build
from headrace.pipelines.document import Document, Place, read
from headrace.pipelines.pipeline import Pipeline
from headrace.pipelines.schema import PipelineForm

__all__ = ["load"]

_WANTED = {
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "float_type": "a number",
    "finite_number": "a finite number",
    "int_type": "a whole number",
    "list_type": "a list",
    "model_type": "a mapping",
    "string_type": "text",
}
_LIMITS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def load(path: Path, text: str | None = None) -> Pipeline:
    """Read and check the pipeline file at `path`, or a `text` as if it stood there.

    Raises
    ------
    PipelineError
        At the first place that cannot be honoured; nothing else is raised for what a file says.

    """
    document = read(path, text)
    try:
        form = PipelineForm.model_validate(document.root)
    except ValidationError as error:
        details = error.errors(include_url=False)
        # A key that is lacking may be one that is misspelt, so what is there is said first.
        there = [detail for detail in details if detail["type"] != "missing"] or details
        found = [_located(detail, document) for detail in there]
        raise min(found, key=lambda each: (each.line, each.column)) from error
    return build(form, document)


def _located(detail: ErrorDetails, document: Document) -> PipelineError:
    """Say one of pydantic's errors in our words, at its place."""
    place: Place = detail["loc"]
    kind, facts = detail["type"], detail.get("ctx", {})
    on_key = bool(place) and place[-1] == "[key]"
    if on_key:
        place = place[:-1]
    if kind == "refused":
        place = (*place, *facts["steps"])
        return document.refuse(place, facts["asked"], facts["found"], facts["do"], key=on_key)
    if kind == "extra_forbidden":
        return _unknown_key(place, document)
    if kind == "missing":
        where = _where(place[:-1])
        asked, found = f"asked for {where}", f"it lacks the key {place[-1]!r}"
        return document.refuse(place[:-1], asked, found, f"add `{place[-1]}:`", key=True)
    asked, shown = f"asked for {_where(place)}", _shown(detail["input"])
    if kind in _WANTED:
        found = f"{shown} is not {_WANTED[kind]}"
        return document.refuse(place, asked, found, f"write {_WANTED[kind]}")
    for limit, words in _LIMITS.items():
        if limit in facts:
            found = f"{shown} is not {words} {facts[limit]:g}"
            return document.refuse(place, asked, found, "choose another number")
    if kind == "too_short":
        return document.refuse(place, asked, "it is empty", "add one")
    found = f"{shown} is not {facts.get('expected', 'allowed')}"
    return document.refuse(place, asked, found, "choose what is known")


def _unknown_key(place: Place, document: Document) -> PipelineError:
    name, known = str(place[-1]), _fields(place[:-1])
    near = difflib.get_close_matches(name, known, n=1)
    asked = f"asked for the key {name!r} in {_where(place[:-1])}"
    found = f"known: {', '.join(map(repr, sorted(known)))}"
    do = f"did you mean {near[0]!r}?" if near else "remove it"
    return document.refuse(place, asked, found, do, key=True)


def _fields(place: Place) -> list[str]:
    """List the keys that the form has at `place`."""
    model: type[BaseModel] = PipelineForm
    for step in place:
        fields = {field.alias or name: field for name, field in model.model_fields.items()}
        field = fields.get(str(step))
        found = _form(field.annotation) if field else None
        model = found or model
    return [field.alias or name for name, field in model.model_fields.items()]


def _form(annotation: Any) -> type[BaseModel] | None:
    """Find the form in a field's type, or in the values of a mapping."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((form for part in get_args(annotation) if (form := _form(part))), None)


def _where(place: Place) -> str:
    return ".".join(map(str, place)) if place else "a pipeline"


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"
