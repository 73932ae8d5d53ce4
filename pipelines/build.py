"""From a file's form to what it means: names are looked up, expressions and features are typed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from headrace.operators.source import Source
from headrace.operators.streams.stream import Origin, Stream
from headrace.operators.types import Type
from headrace.operators.view import View
from headrace.pipelines.decisions import decision_of, outcome_of
from headrace.pipelines.document import Document, Place
from headrace.pipelines.hidden import with_hidden
from headrace.pipelines.pipeline import Decision, Model, Pipeline, Token
from headrace.pipelines.schema import PipelineForm
from headrace.pipelines.sources import sources_of
from headrace.pipelines.streams import streams_of
from headrace.pipelines.values import DAY_MS
from headrace.pipelines.views import Hides, view_of

__all__ = ["build"]


def build(form: PipelineForm, document: Document) -> Pipeline:
    """Check what the parts of `form` say of each other, and give them their meaning.

    Raises
    ------
    PipelineError
        At the first place that cannot be honoured.

    """
    if DAY_MS % form.every:
        written = document.written("every")
        found = "a step divides a day, and this one does not"
        raise document.refuse(
            ("every",), f"asked for a step of {written!r}", found, "use 1s, 1m, 5m or 1h"
        )
    sources = sources_of(form, document)
    streams = streams_of(form, sources, document)
    sources, streams, views = _views(form, sources, streams, document)
    origins: dict[str, Origin] = {**sources, **streams}
    decision = decision_of(form, origins, views, document)
    outcome = outcome_of(form, origins, document)
    _distinct(views, decision, document)
    pipeline = Pipeline(
        name=form.pipeline,
        path=document.path,
        every_ms=form.every,
        sources=sources,
        streams=streams,
        views=views,
        decision=decision,
        outcome=outcome,
        model=_model(form),
    )
    _check_tokens(pipeline, document)
    _check_buckets(pipeline, document)
    return pipeline


def _views(
    form: PipelineForm,
    sources: Mapping[str, Source],
    streams: Mapping[str, Stream],
    document: Document,
) -> tuple[dict[str, Source], dict[str, Stream], dict[str, View]]:
    """Give the views, and sources and streams with what the views' features hide in them."""
    origins: dict[str, Origin] = {**sources, **streams}
    made = {
        name: view_of(name, view, origins, form.every, document)
        for name, view in form.views.items()
    }

    def found(name: str) -> list[Hides]:
        return [each for view, hides in made.values() if view.source.name == name for each in hides]

    with document.at("views"):
        whole = {name: with_hidden(source, found(name)) for name, source in sources.items()}
        known: dict[str, Origin] = dict(whole)
        derived: dict[str, Stream] = {}
        for name, stream in streams.items():
            inputs = tuple(known[each.name] for each in stream.inputs)
            known[name] = derived[name] = with_hidden(replace(stream, inputs=inputs), found(name))
    views = {
        name: replace(view, source=known[view.source.name]) for name, (view, _) in made.items()
    }
    return whole, derived, views


def _distinct(views: Mapping[str, View], decision: Decision, document: Document) -> None:
    """Refuse a feature that has the name of another input."""
    taken = dict.fromkeys(decision.source.types, f"a column of {decision.source.name!r}")
    for view in views.values():
        for feature in view.features:
            if feature.name in taken:
                asked = f"asked for the feature {feature.name!r}"
                found = f"{taken[feature.name]} has this name already"
                place = ("views", view.name, "features", feature.name)
                raise document.refuse(place, asked, found, "rename one of the two", key=True)
            taken[feature.name] = f"a feature of the view {view.name!r}"


def _model(form: PipelineForm) -> Model:
    model = form.model
    return Model(
        kind=model.kind,
        alpha=float(model.alpha),
        beta=float(model.beta),
        l1=float(model.l1),
        l2=float(model.l2),
        slots=model.slots,
        bias=model.bias,
        buckets=dict(model.buckets),
        tokens=tuple(map(Token, model.tokens)),
        publish_every_ms=model.publish_every,
        keep=model.keep,
        score_from_ms=model.score_from,
        max_delay_ms=model.max_delay,
    )


def _check_tokens(pipeline: Pipeline, document: Document) -> None:
    inputs = pipeline.inputs
    seen: set[tuple[str, ...]] = set()
    for i, token in enumerate(pipeline.model.tokens):
        place: Place = ("model", "tokens", i)
        for j, name in enumerate(token.parts):
            part = document.part(place, j)
            document.require("input", name, inputs, *part)
            if inputs[name].item is not None:
                found = f"it is a {inputs[name].value}, and a token is one value"
                do = "leave it out of the tokens: it is served and kept all the same"
                raise document.refuse(part, f"asked for the token {name!r}", found, do)
            if inputs[name] is Type.FLOAT64 and name not in pipeline.model.buckets:
                found = "it is float64 and has no buckets"
                do = f"give its edges under model: buckets: {name}:"
                raise document.refuse(part, f"asked for the token {name!r}", found, do)
        if tuple(sorted(token.parts)) in seen:
            found = "the tokens have it already"
            raise document.refuse(place, f"asked for the token {token}", found, "keep it once")
        seen.add(tuple(sorted(token.parts)))


def _check_buckets(pipeline: Pipeline, document: Document) -> None:
    inputs = pipeline.inputs
    for name in pipeline.model.buckets:
        place = ("model", "buckets", name)
        document.require("input", name, inputs, *place, key=True)
        if not inputs[name].numeric:
            found = f"it is {inputs[name].value}, and only numbers have buckets"
            raise document.refuse(
                place, f"asked for buckets of {name!r}", found, "remove them", key=True
            )
