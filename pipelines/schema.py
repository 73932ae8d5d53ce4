"""The form of a pipeline file: which keys there are, what they hold, what they mean.

These models check one value at a time; `headrace.pipelines.build` checks what values say of each
other. Durations are written as a whole number and a unit (`ms`, `s`, `m`, `h`, `d`) and become
int64 milliseconds. `docs/pipeline.md` shows each key with an example.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from headrace.online_learning.space import Choice, Range
from headrace.online_learning.watching import Action
from headrace.pipelines import values

__all__ = [
    "CasesForm",
    "DecisionForm",
    "DedupForm",
    "GateForm",
    "JoinForm",
    "KafkaForm",
    "ModelForm",
    "OutcomeForm",
    "PipelineForm",
    "SampleForm",
    "ServeForm",
    "SessionForm",
    "SourceForm",
    "StreamForm",
    "TuneForm",
    "ViewForm",
]

Name = Annotated[str, BeforeValidator(values.name)]
PartName = Annotated[str, BeforeValidator(values.part_name)]
NewName = Annotated[str, BeforeValidator(values.new_name)]
Names = Annotated[tuple[str, ...], BeforeValidator(values.names)]
Duration = Annotated[int, BeforeValidator(values.duration)]
LongDuration = Annotated[int, BeforeValidator(values.positive_duration)]
Instant = Annotated[int, BeforeValidator(values.instant)]
Shares = Annotated[int, Field(ge=1, le=1024)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, le=1)]
Level = Annotated[float, Field(gt=0, lt=1)]
NotNegative = Annotated[float, Field(ge=0)]
Actions = Annotated[tuple[Action, ...], BeforeValidator(values.actions)]
Units = Annotated[int, Field(ge=1, le=1 << 14)]
Span = Annotated[Range | Choice, BeforeValidator(values.span)]
WholeSpan = Annotated[Range | Choice, BeforeValidator(values.whole_span)]
Net = Literal["dcn_v2", "deep_fm", "dlrm", "wide_and_deep"]
Port = Annotated[int, Field(ge=0, le=65535)]


class _Form(BaseModel):
    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=()
    )


class SourceForm(_Form):
    """A topic of JSON objects, or files of rows: each has `at` (int64 ms, UTC) and the columns.

    `columns`: name to type, `bool`, `int64`, `float64` or `string`; `required` after the type
    makes a row without a value a dead letter. `derive`: name to an SQL expression over `at` and
    the columns. `topic`: the source's name unless given. `lateness` (0s): how far below the
    highest `at` of its partition a row may be. `ahead` (1d): how far `at` may be ahead of the
    broker's time. `idle` (0s, never): after so long without rows a partition holds nobody up.
    `partitions` (1): how many the topic gets when headrace creates it. `files`: a path or pattern
    of Parquet, CSV or Arrow files with the same rows; without `live_from` they are all there is,
    with it they count before that time, and the topic from it on. `keep` (true): whether the store
    keeps the events, in `events.<source>`.
    """

    columns: Annotated[
        dict[NewName, Annotated[tuple[str, bool], BeforeValidator(values.column_type)]],
        Field(min_length=1),
    ]
    derive: dict[NewName, str] = {}
    topic: Annotated[str, BeforeValidator(values.topic)] | None = None
    lateness: Duration = 0
    ahead: Duration = values.DAY_MS
    idle: Duration = 0
    partitions: Shares = 1
    files: Annotated[str, BeforeValidator(values.files)] | None = None
    live_from: Annotated[int, BeforeValidator(values.instant)] | None = None
    keep: bool = True


class SampleForm(_Form):
    """A share of the rows: `by`, what is hashed; `share`, above 0 and up to 1."""

    by: Names
    share: Annotated[float, Field(ge=1e-6, le=1)]


class DedupForm(_Form):
    """Each id once: `id`, a column or several; `within`, how far back one counts."""

    id: Names
    within: LongDuration


class SessionForm(_Form):
    """Rows of a `key` that follow one another within `gap`: adds `session_start`."""

    key: Names
    gap: LongDuration


class JoinForm(_Form):
    """A table of a file: `table`, its path; `on`, column to the file's; `columns`, name to type.

    The file is CSV or Parquet, beside the pipeline's. After the type `from NAME` may follow, where
    the file's column has another name.
    """

    table: Annotated[str, BeforeValidator(values.beside)]
    on: Annotated[dict[Name, Annotated[str, Field(min_length=1)]], Field(min_length=1)]
    columns: Annotated[
        dict[NewName, Annotated[tuple[str, str], BeforeValidator(values.table_column)]],
        Field(min_length=1),
    ]


class StreamForm(_Form):
    """Rows made of those of a source or a stream; what it has is applied in this order.

    `from`: its name, or a list of names whose rows become one stream. `join`: columns of a table
    in a file. `cast`: column to its new
    type. `where`: an SQL expression of type bool. `derive`: name to an SQL expression. `sample`,
    `dedup`, `session`. `select`: the columns kept. `split`: name of a stream to the condition of
    its rows, the first that holds; `else` for the rest.
    """

    from_: Annotated[Names, Field(alias="from")]
    join: JoinForm | None = None
    cast: dict[Name, Annotated[str, BeforeValidator(values.kind)]] = {}
    where: str | None = None
    derive: dict[NewName, str] = {}
    sample: SampleForm | None = None
    dedup: DedupForm | None = None
    session: SessionForm | None = None
    select: Names | None = None
    split: dict[PartName, str] = {}


class ViewForm(_Form):
    """The events of a source or a stream by key, and the features read from them.

    `source`: its name. `key`: a column or a list of them. `shards` (1): how many partitions the
    tiles are hashed to. `features`: name to `aggregate(column)`, with `over DURATION` for a window
    (a multiple of `every`; all that came before without it), or `within DURATION` for how old the
    newest row may be. `horizon`: how far back the store keeps tiles in memory; older times are
    answered from its file. All are kept without it.
    """

    source: Name
    key: Names
    features: Annotated[dict[NewName, str], Field(min_length=1)]
    shards: Shares = 1
    horizon: LongDuration | None = None


class DecisionForm(_Form):
    """Which events ask for a prediction.

    `source`: its name. `id`: the column that names a decision. `keys`: view to the column, or
    columns, of `source` that stand for the view's key; the columns of the same name unless given.
    `features`: name to an SQL expression over `at`, the columns and the views' features.
    """

    source: Name
    id: Name
    keys: dict[Name, Names] = {}
    features: dict[NewName, str] = {}


class OutcomeForm(_Form):
    """Which events say how a decision ended.

    `source`: its name. `id`: the column with the decision's id. `label`: an SQL expression over the
    source's columns, a bool, a number or a text as the model's kind wants it; for `mmoe` the
    name of each task to its bool. `within`: how long after its decision an outcome counts.
    `negative_after`: how long after it a decision without one is learned as negative meanwhile.
    """

    source: Name
    id: Name
    label: Annotated[str | dict[str, str], BeforeValidator(values.label)]
    within: LongDuration
    negative_after: LongDuration | None = None


class CasesForm(_Form):
    """Which decisions go to the topic `<pipeline>.bad_cases`, for somebody to look at.

    `loss_above`: those whose label came at a loss above it. `confidence_below`: those whose
    probability is nearer than this to 0.5. `most_per_day` (100): how many of each, by event time.
    """

    loss_above: Positive | None = None
    confidence_below: Annotated[float, Field(gt=0, le=0.5)] | None = None
    most_per_day: Annotated[int, Field(ge=1, le=1_000_000)] = 100


class GateForm(_Form):
    """When a version is not served: where it is shown to be worse than this.

    `tolerance` (0.001): by how much its log loss may lie above the champion's. `alpha` (0.01): how
    likely one that is within it may be called worse. `least` (50): labels without which none is
    judged. `calibration` (3.0): how many times the positives p may sum to, or they p. `patience`
    (2): how many in a row are held for what labels alone say. `most_mib`: its size.
    """

    tolerance: NotNegative = 0.001
    alpha: Annotated[float, Field(gt=0, le=0.5)] = 0.01
    least: Annotated[int, Field(ge=1)] = 50
    calibration: Annotated[float, Field(gt=1)] = 3.0
    patience: Annotated[int, Field(ge=0)] = 2
    most_mib: Annotated[int, Field(ge=1)] | None = None


class TuneForm(_Form):
    """Among which settings `headrace tune` searches; no part of what the pipeline means.

    Each is `[low, high]`, `[low, high, log]`, or a list of three values or more. `kind` and `net`
    are lists of names. What is not named stays as it is.
    """

    kind: Names | None = None
    net: list[Net] | None = None
    alpha: Span | None = None
    beta: Span | None = None
    l1: Span | None = None
    l2: Span | None = None
    batch: WholeSpan | None = None
    width: WholeSpan | None = None
    rate: Span | None = None
    dense_rate: Span | None = None
    admit: WholeSpan | None = None


class SettingsForm(_Form):
    """The settings of models; `pipelines/models.py` says which kind has which, with defaults."""

    alpha: Positive | None = None
    beta: NotNegative | None = None
    l1: NotNegative | None = None
    l2: NotNegative | None = None
    level: Level | None = None
    net: Net | None = None
    pairs: Literal["fm", "ffm"] | None = None
    batch: Annotated[int, Field(ge=1, le=1 << 20)] | None = None
    width: Annotated[int, Field(ge=1, le=1024)] | None = None
    rate: Positive | None = None
    dense_rate: Positive | None = None
    hidden: Annotated[list[Units], Field(min_length=1, max_length=8)] | None = None
    cross_layers: Annotated[int, Field(ge=1, le=8)] | None = None
    cross_rank: Units | None = None
    admit: Annotated[int, Field(ge=1)] | None = None
    expire: LongDuration | None = None
    memory_mib: Annotated[int, Field(ge=1)] | None = None
    seed: Annotated[int, Field(ge=0, le=1 << 31)] | None = None
    device: Literal["auto", "cpu", "cuda"] | None = None
    threads: Shares | None = None
    experts: Annotated[int, Field(ge=1, le=64)] | None = None
    ranks: Shares | None = None
    rank_timeout: LongDuration | None = None


class ChallengerForm(SettingsForm):
    """A model that learns beside the declared one, as that one but for what stands here."""

    kind: Name | None = None


class ChallengersForm(_Form):
    """Which models learn beside the declared one, and may take its place.

    `settings`: of each its own, as they stand in `model`. `drawn` (0): so many more, from the space
    of `tune`; `seed` (0): which. `halve_after` (10000): labels after which the worse half ends;
    twice as many after each time.
    """

    settings: list[ChallengerForm] = []
    drawn: Annotated[int, Field(ge=0, le=100)] = 0
    seed: Annotated[int, Field(ge=0, le=1 << 31)] = 0
    halve_after: Annotated[int, Field(ge=1)] = 10_000


class ModelForm(SettingsForm):
    """What learns, and from what.

    `kind` (hybrid), and the settings that it has; `pipelines/models.py` says which, with defaults.
    `classes`, of `softmax`: how many, or their names. `slots` (1048576): its weights, a power of
    two. `bias` (true). `buckets`: input to ascending edges, numbers or durations, as a list or
    `{from: …, to: …, step: …}` with both ends. `tokens`: inputs, and lists of inputs for
    crosses. `numbers`: inputs taken as numbers. `weight`: an input,
    how many times a row counts. `negatives` (1.0): the share of negatives learned. `publish_every`
    (1d): of event time. `keep` (5): versions. `score_from`: decisions from this time on count in
    the scores. `score_every`: windows of event time that are scored each; `score_by`: inputs by
    whose values they are scored, too. `max_delay`: how far in event time a version may be behind
    the decision that it scores. `bad_cases`: decisions that are worth a look.
    `gate`: when a version is not served, or `off`. `tune`: among which settings to search.
    `challengers`: which other models learn beside it, and may take its place.
    """

    kind: Name = "hybrid"
    classes: Annotated[int | tuple[str, ...] | None, BeforeValidator(values.classes)] = None
    slots: Annotated[int, BeforeValidator(values.slots)] = 1 << 20
    bias: bool = True
    buckets: dict[Name, Annotated[tuple[float, ...], BeforeValidator(values.edges)]] = {}
    tokens: Annotated[list[Names], Field(min_length=1)]
    numbers: Names = ()
    weight: Name | None = None
    negatives: Share | None = None
    publish_every: LongDuration = values.DAY_MS
    keep: Annotated[int, Field(ge=1, le=1000)] = 5
    score_from: Instant | None = None
    score_every: LongDuration | None = None
    score_by: Names = ()
    max_delay: LongDuration | None = None
    gate: Annotated[GateForm | None, BeforeValidator(values.off)] = GateForm()
    bad_cases: CasesForm | None = None
    tune: TuneForm | None = None
    challengers: ChallengersForm | None = None


class ServeForm(_Form):
    """Where the store process is asked, and by whom.

    `host` (127.0.0.1): the address it listens at; any that other machines reach needs `tokens`.
    `port`, `flight_port` (0, any that is free): of HTTP and of Arrow Flight. `tokens`: role,
    `read`, `predict` or `admin`, to where its token is: `env:NAME` or `file:PATH`. `hosts`: other
    names that clients know it by. `fresh_within`: how far behind the clock a view may be before
    `/readyz` says that it is not. `metrics`: process, `views`, `labels`, `learner` or
    `supervisor`, to the port at `host` where it tells its metrics, with `tokens`; one that is left
    out does at any that is free, to this machine.
    """

    host: Annotated[str, BeforeValidator(values.host)] = "127.0.0.1"
    port: Port = 0
    flight_port: Port = 0
    tokens: dict[
        Literal["read", "predict", "admin"], Annotated[str, BeforeValidator(values.reference)]
    ] = {}
    hosts: list[Annotated[str, BeforeValidator(values.host)]] = []
    fresh_within: LongDuration | None = None
    metrics: dict[Literal["views", "labels", "learner", "supervisor"], Port] = {}


class KafkaForm(_Form):
    """The Kafka that carries the events; without it the pipeline starts a broker of its own.

    `bootstrap`: `host:port`, or a list of them. `properties`: what its clients need for TLS and
    SASL; `pipelines/kafka_properties.py` says which there are.
    """

    bootstrap: Annotated[str, BeforeValidator(values.bootstrap)] | None = None
    properties: dict[str, str] = {}


class FlinkForm(_Form):
    """The Flink that runs the jobs; without `rest` they run on this machine, each in a process.

    `rest`: `host:port` of a session cluster. `parallelism` (1): of the views job. `checkpoints`:
    the URI of a folder that the cluster and this machine can reach; the state folder unless given.
    """

    rest: Annotated[str, BeforeValidator(values.rest)] | None = None
    parallelism: Annotated[int, Field(ge=1, le=32_768)] = 1
    checkpoints: Annotated[str, BeforeValidator(values.folder_uri)] | None = None


class StoreForm(_Form):
    """How the store is laid out.

    `shards` (1): how many processes share the views' tiles, each those of some partitions; no more
    than any view has `shards`.
    """

    shards: Shares = 1


class DriftForm(_Form):
    """How far features have moved from a baseline, and what is done when the stream changes.

    `baseline`: two times, from the first to before the second, whose decisions it is of. `every`
    (1d): of event time, at each multiple after the baseline. `loss`: what the learner does when its
    loss rises. `fields`: token to what it does when the token's values change. What it does:
    `alert`, `raise_rate 3x for 1d`, `reset`, `promote`. `delta` (0.002): how likely a false alarm.
    """

    baseline: Annotated[tuple[Instant, Instant], BeforeValidator(values.pair)] | None = None
    every: LongDuration = values.DAY_MS
    loss: Actions | None = None
    fields: dict[Name, Actions] = {}
    delta: Annotated[float, Field(gt=0, le=0.5)] = 0.002


class PipelineForm(_Form):
    """A whole file.

    `pipeline`: its name, with which its topics begin. `every` (1s): the step of its views; it
    divides a day. `sources`, `streams`, `views`: by name. `decision`, `outcome`, `model`. `serve`.
    `drift`. `kafka`. `flink`. `store`.
    """

    pipeline: Name
    every: LongDuration = 1000
    sources: Annotated[dict[PartName, SourceForm], Field(min_length=1)]
    streams: dict[PartName, StreamForm] = {}
    views: Annotated[dict[PartName, ViewForm], Field(min_length=1)]
    decision: DecisionForm
    outcome: OutcomeForm
    model: ModelForm
    drift: DriftForm | None = None
    serve: ServeForm = ServeForm()
    kafka: KafkaForm = KafkaForm()
    flink: FlinkForm = FlinkForm()
    store: StoreForm = StoreForm()
