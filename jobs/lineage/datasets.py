"""What each job reads and writes, and of which columns its columns are made.

Topics, tables and folders are named as OpenLineage's conventions name them: a namespace, which says
where the data is, and a name in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from headrace.feature_store.catalogue import TABLES
from headrace.jobs import assembly
from headrace.operators.computed import columns_of
from headrace.operators.engines.duckdb_log import kept_types
from headrace.operators.identity import version
from headrace.operators.made_of import Made, feature_made_of, made_of, tiles_made_of
from headrace.operators.source import AT, Source
from headrace.operators.streams.stream import Origin, live, roots
from headrace.operators.view import View
from headrace.pipelines.pipeline import Pipeline

__all__ = ["JOBS", "Dataset", "Field", "Flow", "flow"]

JOBS = ("views", "labels", "store", "learner", "backfill")
Place = tuple[str, str]
"""A dataset: its namespace and its name."""


@dataclass(frozen=True)
class Field:
    """A column: its type, and the columns of inputs, each with its dataset, that it is made of."""

    type: str
    of: frozenset[tuple[Place, str]] = frozenset()
    same: bool = False
    """Whether it is one of them as it is."""


@dataclass(frozen=True)
class Dataset:
    """Data in one place."""

    place: Place
    fields: Mapping[str, Field] = field(default_factory=dict)
    versioned: bool = False
    """Whether it has versions: the registry of models."""


@dataclass(frozen=True)
class Flow:
    """What a job reads and what it writes."""

    inputs: tuple[Dataset, ...]
    outputs: tuple[Dataset, ...]


def flow(pipeline: Pipeline, job: str, bootstrap: str, state: Path) -> Flow:
    """Say what a job of a pipeline reads and writes, with its Kafka and its state folder."""
    places = _Places(pipeline, bootstrap, state)
    flows = (places.views, places.labels, places.store, places.learner, places.backfill)
    return dict(zip(JOBS, flows, strict=True))[job]()


class _Places:
    """Where a pipeline's data is."""

    def __init__(self, pipeline: Pipeline, bootstrap: str, state: Path) -> None:
        self._pipeline, self._state = pipeline, state.absolute()
        self._kafka = f"kafka://{bootstrap.partition(',')[0]}"
        self._duckdb = f"duckdb://{self._state / 'store' / 'store.duckdb'}"
        self._registry = Dataset(
            ("file", str(self._state / "learner" / "versions")), versioned=True
        )

    def _topic(self, name: str) -> Place:
        return self._kafka, name

    def _table(self, name: str) -> Place:
        return self._duckdb, f"store.{name}"

    def _source(self, source: Source) -> list[Dataset]:
        """Give the topic and the files of a source, those that are read."""
        kinds = {AT: "int64", **{column.name: column.type.value for column in source.columns}}
        fields = {name: Field(kind) for name, kind in kinds.items()}
        places = [self._topic(source.topic)] if source.live else []
        return [Dataset(place, fields) for place in (*places, *self._files(source))]

    def _files(self, source: Source) -> list[Place]:
        if source.files is None:
            return []
        return [("file", str((self._pipeline.path.parent / source.files).absolute()))]

    def _read(self, origins: Iterable[Origin]) -> list[Dataset]:
        known = {root.name: root for origin in origins for root in roots(origin)}
        return [each for root in known.values() for each in self._source(root)]

    def _of(self, made: Made) -> frozenset[tuple[Place, str]]:
        """Give the columns of topics and files where `made` has columns of sources."""
        sources = self._pipeline.sources
        return frozenset(
            (dataset.place, column)
            for source, column in made.of
            for dataset in self._source(sources[source])
        )

    def _made(self, kinds: Mapping[str, str], made: Mapping[str, Made]) -> dict[str, Field]:
        return {
            name: Field(kind, self._of(made[name]), made[name].same)
            if name in made
            else Field(kind)
            for name, kind in kinds.items()
        }

    def _tiles(self, view: View) -> dict[str, Field]:
        kinds = {each.name: str(each.type) for each in view.tile_schema}
        kinds |= {rows.name: "list" for rows in view.rows}
        return self._made(kinds, tiles_made_of(view))

    def _view_topic(self, view: View) -> Dataset:
        return Dataset(self._topic(self._pipeline.view_topic(view)), self._tiles(view))

    def _past(self, view: View) -> Dataset:
        folder = self._state / "store" / "backfills"
        return Dataset(("file", str(folder / version(view))), self._tiles(view))

    def _tiles_of(self, view: View) -> list[Dataset]:
        """Give where a view's tiles come from: its topic, a backfill where it has files."""
        of_files = any(root.files is not None for root in roots(view.source))
        topic = [self._view_topic(view)] if live(view.source) else []
        return [*topic, self._past(view)] if of_files else topic

    def _decision_topic(self) -> Dataset:
        origin = self._pipeline.decision.source
        kinds = {name: kind.value for name, kind in origin.types.items()}
        return Dataset(
            self._topic(self._pipeline.decisions_topic), self._made(kinds, made_of(origin))
        )

    def views(self) -> Flow:
        """Raw topics to panes of tiles and of decisions."""
        pipeline = self._pipeline
        views = [self._view_topic(view) for view in pipeline.streamed.values()]
        refused = [Dataset(self._topic(t)) for t in (pipeline.dead_topic, pipeline.late_topic)]
        inputs = self._read(source for source in pipeline.sources.values() if source.live)
        inputs = [each for each in inputs if each.place[0] == self._kafka]
        return Flow(tuple(inputs), (*views, self._decision_topic(), *refused))

    def _predicted(self) -> dict[str, Field]:
        """Give the columns of predictions: features, and what is made of those the model uses."""
        pipeline = self._pipeline
        found = _copied(self._decision_topic())
        for name, (view, feature) in pipeline.features.items():
            of = frozenset(
                (tiles.place, name)
                for tiles in self._tiles_of(view)
                for name in feature_made_of(feature)
            )
            found[name] = Field(feature.aggregate.type.value, of)
        for name, tree in pipeline.decision.computed.items():
            found[name] = _together(tree.type.value, found, columns_of(tree))
        names = assembly.encoding(pipeline).inputs
        return found | {"p": _together("float64", found, names)}

    def store(self) -> Flow:
        """Panes to tables, and predictions."""
        pipeline, declared = self._pipeline, assembly.declared(self._pipeline)
        views = {name: self._tiles_of(view) for name, view in pipeline.views.items()}
        copied = {
            "dead_letters": pipeline.dead_topic,
            "late_rows": pipeline.late_topic,
            "metrics": pipeline.metrics_topic,
        }
        topics = [Dataset(self._topic(name)) for name in copied.values()]
        kept = list(declared.kept.values())
        tiles = [each for of_view in views.values() for each in of_view]
        inputs = [*tiles, self._decision_topic(), self._example_topic(), *topics, self._registry]
        inputs += [each for each in self._read(kept) if each.place[0] == self._kafka]
        found = self._predicted()
        schema = {each.name: str(each.type) for each in declared.prediction_schema}
        known = {n: found[n] if n in found else Field(kind) for n, kind in schema.items()}
        outputs = [Dataset(self._table("main.predictions"), known), self._prediction_topic()]
        outputs += [Dataset(self._table(f"views.{n}"), _copied(*of)) for n, of in views.items()]
        decisions = _copied(self._decision_topic())
        outputs.append(Dataset(self._table("main.decisions"), decisions))
        outputs.append(Dataset(self._table("main.examples"), self._examples()))
        outputs += [
            Dataset(self._table(f"main.{name}"), {f.name: Field(str(f.type)) for f in TABLES[name]})
            for name in copied
        ]
        outputs += [
            Dataset(
                self._table(f"events.{source.name}"),
                self._made({n: k.value for n, k in kept_types(source).items()}, made_of(source)),
            )
            for source in kept
        ]
        return Flow(tuple(inputs), tuple(outputs))

    def _prediction_topic(self) -> Dataset:
        found = self._predicted()
        inputs = assembly.encoding(self._pipeline).inputs
        fields = {name: found.get(name, Field(kind)) for name, kind in _HEAD.items()}
        fields |= {f"x.{name}": found[name] for name in inputs}
        return Dataset(self._topic(self._pipeline.predictions_topic), fields)

    def _example_topic(self) -> Dataset:
        pipeline, outcome = self._pipeline, self._pipeline.outcome
        made = made_of(outcome.source)
        read = {name for label in outcome.labels.values() for name in columns_of(label)}
        of = frozenset().union(*(self._of(made[name]) for name in read))
        fields = {AT: Field("int64", self._of(made[AT]), made[AT].same)}
        fields |= {"label": Field(outcome.label.type.value, of)}
        fields |= {"task": Field("string")} if outcome.tasks else {}
        place = self._topic(pipeline.predictions_topic)
        for name, kind in _HEAD.items():
            fields[f"prediction.{name}"] = Field(kind, frozenset({(place, name)}), same=True)
        return Dataset(self._topic(pipeline.examples_topic), fields)

    def _examples(self) -> dict[str, Field]:
        """Give the columns of the store's table, which names the prediction."""
        topic = self._example_topic()
        of = {name: f"prediction.{name}" for name in ("seq", "id")}
        of |= {name: name for name in (AT, "task", "label") if name in topic.fields}
        return {
            name: Field(topic.fields[told].type, frozenset({(topic.place, told)}), same=True)
            for name, told in of.items()
        }

    def labels(self) -> Flow:
        """Predictions and outcomes to examples."""
        inputs = [self._prediction_topic(), *self._read([self._pipeline.outcome.source])]
        return Flow(tuple(inputs), (self._example_topic(),))

    def learner(self) -> Flow:
        """Predictions and examples to versions."""
        metrics = Dataset(self._topic(self._pipeline.metrics_topic))
        inputs = (self._prediction_topic(), self._example_topic())
        return Flow(inputs, (self._registry, metrics))

    def backfill(self) -> Flow:
        """Files and raw topics to tiles of the past."""
        views = self._pipeline.views.values()
        inputs = self._read(view.source for view in views)
        return Flow(tuple(inputs), tuple(map(self._past, views)))


_HEAD = {"seq": "int64", "id": "string", AT: "int64", "p": "float64", "version": "int64"}


def _together(kind: str, fields: Mapping[str, Field], names: Iterable[str]) -> Field:
    return Field(kind, frozenset().union(*(fields[name].of for name in names)))


def _copied(*of: Dataset) -> dict[str, Field]:
    """Give the columns of a table that has what other places say, all the same columns."""
    return {
        name: Field(each.type, frozenset((one.place, name) for one in of), same=True)
        for name, each in of[0].fields.items()
    }
