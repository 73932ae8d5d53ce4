"""What a pipeline file means: sources, views, decision, outcome and model, all checked.

`headrace.pipelines.load` makes these values; everything that runs takes them as they are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from headrace.feature_store.worth import Worth
from headrace.online_learning.challengers import Challenge
from headrace.online_learning.models.model import Kind
from headrace.online_learning.space import Dimension
from headrace.online_learning.verdict import Limits
from headrace.online_learning.watching import Watching
from headrace.operators.expression import Expression
from headrace.operators.identity import canonical, step_said, version
from headrace.operators.source import AT, Source
from headrace.operators.streams.stream import Origin, Stream, live
from headrace.operators.types import Type
from headrace.operators.view import Feature, View

__all__ = [
    "Cluster",
    "Decision",
    "Drift",
    "Flink",
    "Model",
    "Outcome",
    "Pipeline",
    "Serve",
    "Token",
    "Tuning",
]


@dataclass(frozen=True)
class Decision:
    """The moments at which a prediction is wanted: each event of `source` is one.

    Parameters
    ----------
    source
        Where decisions come from; its columns may be used as tokens.
    id
        The column that names a decision; the outcome carries the same value.
    keys
        Per view the columns of `source` that stand for the view's key, in the key's order. Where
        one of them is null the view's features are null.
    computed
        The features computed of the columns and of the views' features, by name.

    """

    source: Origin
    id: str
    keys: Mapping[str, tuple[str, ...]]
    computed: Mapping[str, Expression] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """The event that says later how a decision ended.

    Parameters
    ----------
    source
        Where outcomes come from.
    id
        The column that holds the decision's id.
    labels
        What each task learns, by its name, over the columns of `source`; where there is one label
        alone its name is empty. A null label makes no example.
    within_ms
        How long after its decision an outcome may come and still make an example.
    negative_after_ms
        How long after it a decision without an outcome is learned as negative; None is never.

    """

    source: Origin
    id: str
    labels: Mapping[str, Expression]
    within_ms: int
    negative_after_ms: int | None = None

    @property
    def label(self) -> Expression:
        """Give the one label, or the first: those of tasks are of one type."""
        return next(iter(self.labels.values()))

    @property
    def tasks(self) -> tuple[str, ...]:
        """Name the tasks; nothing where there is one label."""
        return tuple(filter(None, self.labels))

    @property
    def said(self) -> object:
        """Say the labels in words of JSON."""
        if not self.tasks:
            return canonical(self.label)
        return [[task, canonical(label)] for task, label in self.labels.items()]


@dataclass(frozen=True)
class Token:
    """One weight per value of an input, or per combination of values where there are several.

    >>> str(Token(("origin", "dest")))
    'origin×dest'
    """

    parts: tuple[str, ...]

    def __str__(self) -> str:
        return "×".join(self.parts)


@dataclass(frozen=True)
class Model:
    """What learns: its settings, its tokens, and when its versions are published.

    Parameters
    ----------
    kind
        The kind of model and its own settings.
    slots
        Weights, a power of two; a token's value is hashed to one of them.
    bias
        Whether one more token is in every row.
    buckets
        Per numeric input its ascending edges; the bucket is the number of edges ≤ the value. Null
        is a bucket of its own.
    tokens
        What a row is made of.
    numbers
        Inputs that are taken as numbers, scaled by what was learned before.
    weight
        The input that says how many times a row counts when it is learned; None is once.
    negatives
        The share of negative labels that is learned.
    publish_every_ms
        A version is published at each multiple of it in event time.
    keep
        How many versions are kept.
    score_from_ms
        The event time from which decisions count in the reported scores; None is all.
    score_every_ms
        The length of the windows of event time that are scored each; None is no windows.
    score_by
        The inputs by whose values the windows are scored, too.
    max_delay_ms
        How far, in event time, the version that scores a decision may be behind it; a decision
        waits for a newer one. None never waits.
    gate
        When a version is not served; None serves each that is finite.
    bad_cases
        Which decisions go to a topic for somebody to look at; None are none.

    """

    kind: Kind
    slots: int
    bias: bool
    buckets: Mapping[str, tuple[float, ...]]
    tokens: tuple[Token, ...]
    numbers: tuple[str, ...]
    weight: str | None
    negatives: float
    publish_every_ms: int
    keep: int
    score_from_ms: int | None
    score_every_ms: int | None
    score_by: tuple[str, ...]
    max_delay_ms: int | None
    gate: Limits | None
    bad_cases: Worth | None = None


@dataclass(frozen=True)
class Tuning:
    """Among which settings a search looks; no part of what the pipeline means.

    Parameters
    ----------
    kinds
        The kinds of model, one or more.
    given
        The settings as they are declared, beside the kind.
    space
        What a setting may be, by its name; each is one of a kind's.

    """

    kinds: tuple[str, ...]
    given: Mapping[str, object]
    space: Mapping[str, Dimension]


@dataclass(frozen=True)
class Serve:
    """Where the store process is asked, and by whom; no part of what the pipeline means.

    Parameters
    ----------
    host, port, flight_port
        The address of HTTP and of Arrow Flight; port 0 is any that is free.
    tokens
        By role, ``read``, ``predict`` or ``admin``: ``env:NAME`` or ``file:PATH``.
    hosts
        Other names that clients know it by.
    fresh_within_ms
        How far behind the clock a view may be for the process to call itself ready; None is any.
    metrics
        By process, where the others tell their metrics at `host`, with `tokens`.

    """

    host: str = "127.0.0.1"
    port: int = 0
    flight_port: int = 0
    tokens: Mapping[str, str] = field(default_factory=dict)
    hosts: tuple[str, ...] = ()
    fresh_within_ms: int | None = None
    metrics: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Cluster:
    """The Kafka that carries the events; no part of what the pipeline means.

    Parameters
    ----------
    bootstrap
        ``host:port``, several with commas; None is a broker of the pipeline's own.
    properties
        What its clients need for TLS and SASL; the secret among them is ``env:NAME`` or
        ``file:PATH``.

    """

    bootstrap: str | None = None
    properties: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Flink:
    """The Flink that runs the jobs; no part of what the pipeline means.

    Parameters
    ----------
    rest
        ``host:port`` of a session cluster; None is a Flink in each job's own process.
    parallelism
        Of the views job; it has no more than the fewest partitions of a topic that it reads.
    checkpoints
        The URI of the folder below which they are; None is the state folder.

    """

    rest: str | None = None
    parallelism: int = 1
    checkpoints: str | None = None


@dataclass(frozen=True)
class Drift:
    """What the drift of features is measured against: decisions from one time to before another.

    It is measured at each multiple of `every_ms` of event time after the baseline.
    """

    baseline_from_ms: int
    baseline_to_ms: int
    every_ms: int


@dataclass(frozen=True)
class Pipeline:
    """A declaration as a whole, from one file.

    Parameters
    ----------
    name
        What its topics begin with.
    path
        The file that it was read from; no part of its meaning.
    text
        What that said, all of it.
    every_ms
        The step of its views, in ms.
    sources, views
        By name, in the file's order.
    streams
        By name, each after those that it is made of.
    decision, outcome, model
        What is asked, how it ended, what learns from it.
    drift
        How far features have moved, and from where; None where nobody wants to know.
    serve
        Where its store is asked.
    watching
        What the learner watches for change, and what it does about it.
    kafka, flink
        Where its topics are, and its jobs.
    store_shards
        How many processes share the views' tiles; 1 is the store process itself.
    tuning
        Among which settings of its model a search looks.
    challenge
        Which other models learn beside its own.

    """

    name: str
    path: Path
    text: str = field(repr=False, compare=False)
    every_ms: int
    sources: Mapping[str, Source]
    streams: Mapping[str, Stream]
    views: Mapping[str, View]
    decision: Decision
    outcome: Outcome
    model: Model
    serve: Serve = field(default_factory=Serve)
    drift: Drift | None = None
    watching: Watching | None = None
    kafka: Cluster = field(default_factory=Cluster)
    flink: Flink = field(default_factory=Flink)
    tuning: Tuning = field(default_factory=lambda: Tuning((), {}, {}))
    challenge: Challenge | None = None
    store_shards: int = 1

    @property
    def store_roles(self) -> tuple[str, ...]:
        """Name the processes of the store, its shards first: ``shard-0``, …, ``store``."""
        count = self.store_shards
        return (*(f"shard-{number}" for number in range(count if count > 1 else 0)), "store")

    def on_flink(self, rest: str | None) -> Pipeline:
        """Give it with another Flink than the file's, where one is given."""
        return self if rest is None else replace(self, flink=replace(self.flink, rest=rest))

    @property
    def features(self) -> dict[str, tuple[View, Feature]]:
        """Give every feature with its view, in the file's order."""
        return {
            feature.name: (view, feature)
            for view in self.views.values()
            for feature in view.features
        }

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Give the kinds of model that a version may be of, the declared one first."""
        return (self.model.kind, *(self.challenge.kinds if self.challenge else ()))

    @property
    def streamed(self) -> dict[str, View]:
        """Give the views that the stream makes: all but those of files alone."""
        return {name: view for name, view in self.views.items() if live(view.source)}

    @property
    def inputs(self) -> dict[str, Type]:
        """Give what tokens may use: columns of the decision, features of views, others."""
        types = {name: kind for name, kind in self.decision.source.types.items() if name != AT}
        features = {name: feature.aggregate.type for name, (_, feature) in self.features.items()}
        computed = {name: tree.type for name, tree in self.decision.computed.items()}
        return types | features | computed

    @property
    def digest(self) -> str:
        """Give the sha256 of what is declared: comments and the order of keys are no part of it."""
        text = json.dumps(_canonical(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def view_topic(self, view: View) -> str:
        """Name the topic of a view's tiles: those of one version of it."""
        return f"{self.name}.view.{version(view)}"

    @property
    def decisions_topic(self) -> str:
        """Name the topic of checked decisions."""
        return f"{self.name}.decisions"

    @property
    def predictions_topic(self) -> str:
        """Name the topic of predictions."""
        return f"{self.name}.predictions"

    @property
    def examples_topic(self) -> str:
        """Name the topic of predictions with their labels."""
        return f"{self.name}.examples"

    @property
    def bad_cases_topic(self) -> str:
        """Name the topic of decisions that are worth a look."""
        return f"{self.name}.bad_cases"

    @property
    def dead_topic(self) -> str:
        """Name the topic of rows that could not be read."""
        return f"{self.name}.dead"

    @property
    def late_topic(self) -> str:
        """Name the topic of rows that came late."""
        return f"{self.name}.late"

    @property
    def metrics_topic(self) -> str:
        """Name the topic of metrics."""
        return f"{self.name}.metrics"

    @property
    def claims_topic(self) -> str:
        """Name the topic that says which store and which learner write."""
        return f"{self.name}.claims"


def _canonical(pipeline: Pipeline) -> dict[str, object]:
    """Say the declaration in plain values."""
    decision, outcome, model = pipeline.decision, pipeline.outcome, pipeline.model
    computed = {name: canonical(tree) for name, tree in decision.computed.items()}
    return {
        "name": pipeline.name,
        "every_ms": pipeline.every_ms,
        "sources": {name: _source(source) for name, source in pipeline.sources.items()},
        "streams": {name: _stream(stream) for name, stream in pipeline.streams.items()},
        "views": {name: _view(view) for name, view in pipeline.views.items()},
        "decision": [decision.source.name, decision.id, dict(decision.keys), computed],
        "outcome": [
            outcome.source.name,
            outcome.id,
            outcome.said,
            outcome.within_ms,
            *([outcome.negative_after_ms] if outcome.negative_after_ms else []),
        ],
        "model": {
            **vars(model),
            "kind": dict(model.kind.facts),
            "buckets": dict(model.buckets),
            "tokens": [token.parts for token in model.tokens],
            "gate": asdict(model.gate) if model.gate else None,
            "bad_cases": asdict(model.bad_cases) if model.bad_cases else None,
        },
        **({"drift": vars(pipeline.drift)} if pipeline.drift else {}),
        **({"watching": pipeline.watching.facts} if pipeline.watching else {}),
        **({"challengers": pipeline.challenge.facts} if pipeline.challenge else {}),
    }


def _source(source: Source) -> dict[str, object]:
    hidden = {
        name: [canonical(each.expression), each.features] for name, each in source.hidden.items()
    }
    return {
        **{name: value for name, value in vars(source).items() if name not in ("hidden", "keep")},
        **({"hidden": hidden} if hidden else {}),
        "columns": {c.name: [c.type.value, c.required] for c in source.columns},
        "derived": {name: canonical(tree) for name, tree in source.derived.items()},
    }


def _stream(stream: Stream) -> list[object]:
    return [[each.name for each in stream.inputs], *map(step_said, stream.steps)]


def _view(view: View) -> dict[str, object]:
    features = {
        each.name: [
            each.aggregate.name,
            each.aggregate.column,
            each.window_ms,
            *each.aggregate.told,
        ]
        for each in view.features
    }
    return {**vars(view), "source": view.source.name, "features": features}
