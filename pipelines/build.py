"""From a file's form to what it means: names are looked up, expressions and features are typed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from headrace.operators.source import Source
from headrace.operators.streams.stream import Origin, Stream
from headrace.operators.view import View
from headrace.pipelines.challengers import challenge_of, check_challenge
from headrace.pipelines.decisions import decision_of, outcome_of
from headrace.pipelines.document import Document
from headrace.pipelines.handed_over import check_handed_over
from headrace.pipelines.hidden import with_hidden
from headrace.pipelines.kafka_properties import properties_of
from headrace.pipelines.models import check_model, model_of
from headrace.pipelines.pipeline import Cluster, Decision, Drift, Flink, Pipeline, Serve
from headrace.pipelines.schema import PipelineForm
from headrace.pipelines.sources import sources_of
from headrace.pipelines.streams import streams_of
from headrace.pipelines.tuning import check_tuning, tuning_of
from headrace.pipelines.values import DAY_MS
from headrace.pipelines.views import Hides, view_of
from headrace.pipelines.watching import check_watching, watching_of

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
    check_handed_over(form, origins, document)
    decision = decision_of(form, origins, views, document)
    outcome = outcome_of(form, origins, document)
    _distinct(views, decision, document)
    model, tuning = model_of(form, document), tuning_of(form, document)
    pipeline = Pipeline(
        name=form.pipeline,
        path=document.path,
        text=document.text,
        every_ms=form.every,
        sources=sources,
        streams=streams,
        views=views,
        decision=decision,
        outcome=outcome,
        model=model,
        watching=watching_of(form, document),
        drift=_drift(form, document),
        serve=_serve(form),
        tuning=tuning,
        challenge=challenge_of(form, document, tuning),
        kafka=Cluster(form.kafka.bootstrap, properties_of(form.kafka, document)),
        flink=Flink(form.flink.rest, form.flink.parallelism, form.flink.checkpoints),
        store_shards=_store_shards(form, views, document),
    )
    check_model(pipeline, form, document)
    check_watching(pipeline, document)
    check_tuning(pipeline, document)
    check_challenge(pipeline, document)
    return pipeline


def _store_shards(form: PipelineForm, views: Mapping[str, View], document: Document) -> int:
    """Refuse more shards of the store than a view has partitions: one would have none of it."""
    shards = form.store.shards
    for name, view in views.items():
        if view.shards < shards:
            asked = f"asked for a store of {shards} shards"
            found = (
                f"the view {name!r} has {view.shards}, and a shard of the store has one at least"
            )
            do = f"add `shards: {shards}` to the view, or more"
            raise document.refuse(("store", "shards"), asked, found, do)
    return shards


def _drift(form: PipelineForm, document: Document) -> Drift | None:
    if form.drift is None or form.drift.baseline is None:
        return None
    start, end = form.drift.baseline
    if start >= end:
        asked = "asked for the drift from a baseline"
        found, do = "it ends before it begins", "give the earlier time first"
        raise document.refuse(("drift", "baseline"), asked, found, do)
    return Drift(start, end, form.drift.every)


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


def _serve(form: PipelineForm) -> Serve:
    serve = form.serve
    return Serve(
        host=serve.host,
        port=serve.port,
        flight_port=serve.flight_port,
        tokens={str(role): place for role, place in serve.tokens.items()},
        hosts=tuple(serve.hosts),
        fresh_within_ms=serve.fresh_within,
        metrics={str(process): port for process, port in serve.metrics.items()},
    )
