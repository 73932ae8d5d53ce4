"""What a pipeline means, engine by engine: trees of expressions, both SQLs, the state kept.

::

    feature ─► aggregate, window ─► view ─► tile columns ─┬─► Flink SQL   tiles, from the stream
                                     └─► source ─► trees  └─► DuckDB SQL  events, tiles, features

Nothing here runs anything; it is what would run, printed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pyarrow as pa

from headrace.operators.computed import computed_sql
from headrace.operators.engines import duckdb, duckdb_streams, flink, flink_streams
from headrace.operators.engines.duckdb_log import checked_sql, events_sql
from headrace.operators.engines.flink import Kafka
from headrace.operators.engines.quoting import quote
from headrace.operators.errors import UnknownName
from headrace.operators.expression import Call, Column, Expression
from headrace.operators.source import Source
from headrace.operators.streams.stream import lineage, roots
from headrace.operators.view import Feature, View
from headrace.pipelines.pipeline import Pipeline

__all__ = ["Explained", "State", "Step", "explain", "said"]

_LINK_BYTES = 32
"""Of each tile in the hot index: its end, two links and a depth."""
_TEXT_BYTES = 16
"""Taken for a text of a key, whose length nobody knows beforehand."""


@dataclass(frozen=True)
class State:
    """What a view keeps, per tile: there is one tile for each key and step that has an event.

    Parameters
    ----------
    columns
        A tile's columns and their types.
    tile_bytes
        What one takes in the hot index; a text of a key is taken to have 16 bytes.
    rows
        What a tile has several rows of, and how many at most; None where there is no bound but the
        events. A row takes 16 bytes in the hot index.
    open_steps
        For how many steps the stream keeps a key's tile before it is sent: those that a row
        within the lateness may still fall into.

    """

    columns: dict[str, str]
    tile_bytes: int
    rows: dict[str, int | None]
    open_steps: int


@dataclass(frozen=True)
class Step:
    """A step on the way, as each engine is told to take it."""

    name: str
    flink: str
    duckdb: str


@dataclass(frozen=True)
class Explained:
    """One view, or one feature: what it means, its text for each engine. `view` may be none."""

    view: str
    meaning: tuple[str, ...]
    steps: tuple[Step, ...]
    state: State


def said(tree: Expression) -> str:
    """Say an expression as a tree of pinned functions, apart from any engine's text.

    >>> from headrace.operators.expression import parse
    >>> from headrace.operators.types import Type
    >>> said(parse("LEAST(delay, 180) / 60", {"delay": Type.INT64}))
    'div(least(delay:int64, 180), 60):float64'
    """
    return f"{_said(tree)}:{tree.type.value}" if isinstance(tree, Call) else _said(tree)


def _said(tree: Expression) -> str:
    if isinstance(tree, Call):
        return f"{tree.function.name}({', '.join(map(_said, tree.arguments))})"
    return f"{tree.name}:{tree.type.value}" if isinstance(tree, Column) else repr(tree.value)


def explain(pipeline: Pipeline, feature: str | None = None) -> Iterator[Explained]:
    """Explain every view of a pipeline, or the one that `feature` is read from, with it alone.

    Raises
    ------
    UnknownName
        Where no view has the feature.

    """
    if feature is None:
        yield from (_explained(pipeline, view) for view in pipeline.views.values())
        yield from (_of_others(name, tree) for name, tree in pipeline.decision.computed.items())
        return
    if feature in pipeline.decision.computed:
        yield _of_others(feature, pipeline.decision.computed[feature])
        return
    if feature not in pipeline.features:
        known = [*pipeline.features, *pipeline.decision.computed]
        raise UnknownName(kind="feature", name=feature, known=known)
    view, found = pipeline.features[feature]
    yield _explained(pipeline, replace(view, features=(found,)))


def _explained(pipeline: Pipeline, view: View) -> Explained:
    kafka = Kafka("<bootstrap>", f"{pipeline.name}.views")
    made, _ = flink.view_sql(
        view,
        kafka,
        topic=pipeline.view_topic(view),
        shard_keys=[f"<key of shard {shard}>" for shard in range(view.shards)],
    )
    keys = pipeline.decision.keys.get(view.name, view.key)
    rows = {each.name: f"tiles__{each.name}" for each in view.rows}
    features = duckdb.features_sql(view, "tiles", "decisions", keys=keys, identity="seq", rows=rows)
    tiles = [duckdb.tiles_sql(view, "events")]
    tiles += [duckdb.rows_sql(view, each, "events") for each in view.rows]
    tables = 1 + len(view.bins)
    steps = (
        Step(
            "events",
            ";\n".join(_flink_events(view, kafka)),
            ";\n".join(_duckdb_events(view)),
        ),
        Step("tiles", ";\n".join(made[:tables]), ";\n".join(tiles)),
        Step(
            "panes of tiles to the store; features at decisions",
            ";\n".join(made[tables:]),
            features,
        ),
    )
    return Explained(view.name, tuple(_meaning(view)), steps, _state(view))


def _of_others(name: str, tree: Expression) -> Explained:
    """Explain a feature that is computed of others, when a decision is scored: no stream has it."""
    said_of_stream = "-- computed where decisions are scored"
    step = Step("features at decisions", said_of_stream, f"{computed_sql(tree)} AS {quote(name)}")
    return Explained("", (f"feature {name} := {said(tree)}",), (step,), State({}, 0, {}, 0))


def _flink_events(view: View, kafka: Kafka) -> Iterator[str]:
    for source in roots(view.source):
        yield from flink.source_sql(source, kafka)
    for stream in lineage(view.source).values():
        yield from flink_streams.stream_sql(stream)


def _duckdb_events(view: View) -> Iterator[str]:
    for source in roots(view.source):
        yield f"CREATE TABLE checked AS {checked_sql(source, 'log', 'odd')}"
        yield events_sql(source, "checked")
    for stream in lineage(view.source).values():
        yield from duckdb_streams.stream_sql(stream)


def _source(source: Source) -> Iterator[str]:
    yield f"source {source.name} (topic {source.topic}, lateness {source.lateness_ms} ms)"
    for name, tree in source.derived.items():
        yield f"derive {name} := {said(tree)}"


def _meaning(view: View) -> Iterator[str]:
    """Say the way from the source to each feature, a step to a line."""
    source = view.source
    for root in roots(source):
        yield from _source(root)
    for stream in lineage(source).values():
        steps = [*(["union"] if stream.inputs[1:] else []), *(step.name for step in stream.steps)]
        inputs = ", ".join(each.name for each in stream.inputs)
        yield f"stream {stream.name} from {inputs}: {', '.join(steps) or 'all rows'}"
    for name, hidden in source.hidden.items():
        yield f"derive {name} := {said(hidden.expression)}, for {', '.join(hidden.features)}"
    yield f"group by {', '.join(view.key)} in steps of {view.every_ms} ms, {view.shards} shards"
    for partial in view.partials:
        yield f"tile {partial.name} := {partial.sql}, merged by {partial.merge.value}"
    for newest in view.newest:
        yield f"tile {newest.name} := {newest.column} of the newest row"
    for bins in view.bins:
        merged = f"{bins.number_sql}, merged by {bins.merge.value}"
        yield f"rows of a tile {bins.name} := by {bins.sql}: {merged}"
    for ends in view.ends:
        which = "newest" if ends.newest else "oldest"
        yield f"rows of a tile {ends.name} := {ends.column} of the {which} rows that have it"
    for feature in view.features:
        yield f"feature {feature.name} := {_feature(feature)}"


def _feature(feature: Feature) -> str:
    aggregate = feature.aggregate
    text = f"{aggregate}:{aggregate.type.value}"
    if feature.reach_ms is None:
        return f"{text} of all before b"
    return f"{text} of b − {feature.reach_ms} ms ≤ at < b"


def _state(view: View) -> State:
    schema = view.tile_schema
    columns = {field.name: str(field.type) for field in schema}
    size = _LINK_BYTES + sum(_width(field.type) for field in schema)
    rows = {each.name: each.most_rows for each in view.rows}
    lateness_ms = max(source.lateness_ms for source in roots(view.source))
    return State(columns, size, rows, -(-lateness_ms // view.every_ms) + 1)


def _width(kind: pa.DataType) -> int:
    """Give the bytes of a value, and one for whether there is any."""
    return (_TEXT_BYTES if pa.types.is_string(kind) else max(kind.bit_width // 8, 1)) + 1
