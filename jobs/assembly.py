"""What each part must know of a pipeline: the store's, the learner's and the broker's share."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from headrace.feature_store.store import Declared
from headrace.jobs.transport import Topic
from headrace.online_learning.learning import Learning
from headrace.online_learning.settings import Encoding, Token
from headrace.pipelines.pipeline import Pipeline

__all__ = ["declared", "encoding", "learning", "source_topics", "topics"]

_FOREVER: Mapping[str, str] = {"retention.ms": "-1"}
_NEWEST: Mapping[str, str] = {"cleanup.policy": "compact", "segment.ms": "3600000"}


def declared(pipeline: Pipeline) -> Declared:
    """Give the store's share."""
    return Declared(
        every_ms=pipeline.every_ms,
        views=pipeline.views,
        source=pipeline.decision.source,
        id=pipeline.decision.id,
        keys=pipeline.decision.keys,
        computed=pipeline.decision.computed,
        worth=pipeline.model.bad_cases,
        kept={name: source for name, source in pipeline.sources.items() if source.keep},
        label=pipeline.outcome.label.type,
        parts=pipeline.model.kind.parts,
        tasks=bool(pipeline.outcome.tasks),
    )


def encoding(pipeline: Pipeline, known: Collection[str] | None = None) -> Encoding:
    """Give how rows become ids; its inputs, those it uses, are what predictions carry.

    Where only some inputs are `known`, it has the tokens and numbers that are made of these.
    """
    model = pipeline.model
    given = set(pipeline.inputs if known is None else known)
    tokens = [token for token in model.tokens if given.issuperset(token.parts)]
    numbers = tuple(name for name in model.numbers if name in given)
    used = {part for token in tokens for part in token.parts} | {*numbers}
    used |= given.intersection(model.score_by)
    if model.weight is not None:
        used.add(model.weight)
    return Encoding(
        inputs={name: kind for name, kind in pipeline.inputs.items() if name in used},
        buckets={name: edges for name, edges in model.buckets.items() if name in used},
        tokens=tuple(Token(token.parts) for token in tokens),
        slots=model.slots,
        bias=model.bias,
        numbers=numbers,
        weight=model.weight,
    )


def learning(pipeline: Pipeline) -> Learning:
    """Give the learner's share."""
    model = pipeline.model
    return Learning(
        encoding=encoding(pipeline),
        model=model.kind,
        publish_every_ms=model.publish_every_ms,
        keep=model.keep,
        score_from_ms=model.score_from_ms,
        within_ms=pipeline.outcome.within_ms,
        every_ms=pipeline.every_ms,
        negatives=model.negatives,
        negative_after_ms=pipeline.outcome.negative_after_ms,
        score_every_ms=model.score_every_ms,
        gate=model.gate,
        score_by=model.score_by,
        watching=pipeline.watching,
        challenge=pipeline.challenge,
    )


def source_topics(pipeline: Pipeline) -> list[Topic]:
    """List the raw topics, whose messages the broker stamps: `ahead` compares with its clock."""
    stamped = {**_FOREVER, "message.timestamp.type": "LogAppendTime"}
    return [Topic(s.topic, s.partitions, stamped) for s in pipeline.sources.values() if s.live]


def topics(pipeline: Pipeline) -> list[Topic]:
    """List the pipeline's own topics: a view's partitions are its shards, all others have one."""
    views = [Topic(pipeline.view_topic(v), v.shards, _FOREVER) for v in pipeline.streamed.values()]
    cases = [pipeline.bad_cases_topic] if pipeline.model.bad_cases else []
    others = (
        pipeline.decisions_topic,
        pipeline.predictions_topic,
        pipeline.examples_topic,
        pipeline.dead_topic,
        pipeline.late_topic,
        pipeline.metrics_topic,
    )
    own = [Topic(name, 1, _FOREVER) for name in (*others, *cases)]
    return [*views, *own, Topic(pipeline.claims_topic, 1, _NEWEST)]
