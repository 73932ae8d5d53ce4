"""The decision and its outcome, as they are declared."""

from __future__ import annotations

from collections.abc import Mapping

from headrace.operators.expression import Expression
from headrace.operators.streams.stream import Origin, required
from headrace.operators.types import Type
from headrace.operators.view import View
from headrace.pipelines.document import Document, Place
from headrace.pipelines.pipeline import Decision, Outcome
from headrace.pipelines.schema import PipelineForm
from headrace.pipelines.sources import columns_of, expression_of

__all__ = ["decision_of", "outcome_of"]


def decision_of(
    form: PipelineForm,
    sources: Mapping[str, Origin],
    views: Mapping[str, View],
    document: Document,
) -> Decision:
    """Give the declared decision, with the columns that stand for each view's key."""
    document.require("source", form.decision.source, sources, "decision", "source")
    source = sources[form.decision.source]
    _check_id(source, form.decision.id, document, "decision")
    for name in form.decision.keys:
        document.require("view", name, views, "decision", "keys", name, key=True)
    keys = {
        view.name: _keys(view, source, form.decision.keys.get(view.name), document)
        for view in views.values()
    }
    return Decision(source, form.decision.id, keys, _computed(form, source, views, document))


def _computed(
    form: PipelineForm, source: Origin, views: Mapping[str, View], document: Document
) -> dict[str, Expression]:
    """Give the features that are computed of the columns and of the views' features."""
    known = dict(source.types)
    known |= {each.name: each.aggregate.type for view in views.values() for each in view.features}
    computed: dict[str, Expression] = {}
    for name, text in form.decision.features.items():
        place: Place = ("decision", "features", name)
        if name in known:
            asked, found = f"asked for the feature {name!r}", "another input has this name already"
            raise document.refuse(place, asked, found, "rename one of the two", key=True)
        computed[name] = expression_of(text, known, document, place)
    return computed


def _keys(
    view: View, source: Origin, given: tuple[str, ...] | None, document: Document
) -> tuple[str, ...]:
    """Give the decision's columns for a view's key, with the types that the key has."""
    place: Place = ("decision", "keys", view.name)
    if given is not None and len(given) != len(view.key):
        found = f"the view's key is {', '.join(view.key)}"
        do = "give a column for each part, in this order"
        raise document.refuse(
            place, f"asked for {len(given)} of {len(view.key)} columns", found, do
        )
    columns = given or view.key
    for i, (column, kind) in enumerate(zip(columns, view.key_types, strict=True)):
        at = document.part(place if given else ("views", view.name, "key"), i)
        if given is None and column not in source.types:
            found = f"the decision's source {source.name!r} has no column of this name"
            do = f"name the column that stands for it under decision: keys: {view.name}:"
            raise document.refuse(at, f"asked for the key {column!r}", found, do)
        document.require("column", column, columns_of(source), *at)
        decided = source.types[column]
        if decided is not kind:
            asked = f"asked for {column!r} as the key of the view {view.name!r}"
            found = f"it is {decided.value} in {source.name!r}, and {view.key[i]!r} is {kind.value}"
            raise document.refuse(at, asked, found, "declare both with one type")
    return columns


def _check_id(source: Origin, name: str, document: Document, section: str) -> None:
    document.require("column", name, columns_of(source), section, "id")
    kind = source.types[name]
    asked = f"asked for the id {name!r}"
    if name not in required(source):
        found = f"rows of {source.name!r} may lack it"
        do = f"declare it as `{name}: {kind.value} required`"
        raise document.refuse((section, "id"), asked, found, do)
    if kind is not Type.STRING:
        do = "use a string"
        raise document.refuse((section, "id"), asked, f"it is {kind.value}", do)


def outcome_of(form: PipelineForm, sources: Mapping[str, Origin], document: Document) -> Outcome:
    """Give the declared outcome, with its label typed."""
    outcome = form.outcome
    document.require("source", outcome.source, sources, "outcome", "source")
    source = sources[outcome.source]
    _check_id(source, outcome.id, document, "outcome")
    texts = outcome.label if isinstance(outcome.label, dict) else {"": outcome.label}
    labels = {}
    for task, text in texts.items():
        place: Place = ("outcome", "label", task) if task else ("outcome", "label")
        label = labels[task] = expression_of(text, source.types, document, place)
        fit = (Type.BOOL,) if task else (Type.BOOL, Type.INT64, Type.FLOAT64, Type.STRING)
        if label.type not in fit:
            asked = f"asked for the label {text!r}"
            may = "that of a task is a bool" if task else "a label is a bool, a number or a text"
            found = f"it is {label.type.value}, and {may}"
            raise document.refuse(place, asked, found, "compare it with something")
    after = outcome.negative_after
    if after is not None and after >= outcome.within:
        asked = f"asked for negatives {after} ms after their decision"
        found = f"outcomes count within {outcome.within} ms, and no longer"
        raise document.refuse(("outcome", "negative_after"), asked, found, "give less than that")
    return Outcome(source, outcome.id, labels, outcome.within, after)
