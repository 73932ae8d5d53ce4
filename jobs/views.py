"""The views job: raw topics in; panes of tiles, panes of decisions, dead letters, late rows out."""

from __future__ import annotations

from pathlib import Path

from headrace.jobs import flink
from headrace.jobs.transport import shard_keys
from headrace.operators.engines import flink_streams
from headrace.operators.engines.flink import (
    Kafka,
    decisions_sql,
    progress_sql,
    refused_sql,
    source_sql,
    view_sql,
)
from headrace.operators.streams.stream import live
from headrace.pipelines.pipeline import Pipeline

__all__ = ["run", "sql"]


def sql(pipeline: Pipeline, kafka: Kafka) -> tuple[list[str], list[str]]:
    """Print the job: the statements that define it, and its inserts."""
    statements: list[str] = []
    inserts: list[str] = []
    every = pipeline.streamed.values()
    sources = [source for source in pipeline.sources.values() if source.live]
    for source in sources:
        views = [view for view in every if view.source == source]
        statements += source_sql(source, kafka)
        statements.append(progress_sql(source, pipeline.every_ms, views))
    dead: list[str] = []
    for stream in filter(live, pipeline.streams.values()):
        views = [view for view in every if view.source == stream]
        statements += flink_streams.stream_sql(stream)
        statements.append(flink_streams.stream_progress_sql(stream, pipeline.every_ms, views))
        dead += flink_streams.refused_sql(stream)
    for view in every:
        made, insert = view_sql(
            view, kafka, topic=pipeline.view_topic(view), shard_keys=shard_keys(view.shards)
        )
        statements += made
        inserts.append(insert)
    tables, refused = refused_sql(
        sources,
        kafka,
        dead=pipeline.dead_topic,
        late=pipeline.late_topic,
        also=dead,
    )
    made, insert = decisions_sql(
        pipeline.decision.source,
        pipeline.decision.id,
        pipeline.every_ms,
        kafka,
        topic=pipeline.decisions_topic,
        shard_key=shard_keys(1)[0],
    )
    return [*statements, *tables, *made], [*refused, *inserts, insert]


def run(pipeline: Pipeline, *, bootstrap: str, folder: Path) -> None:
    """Run the job until it is stopped; `folder` keeps its checkpoints."""
    kafka = Kafka(bootstrap, f"{pipeline.name}.views")
    statements, inserts = sql(pipeline, kafka)
    topics = [source.topic for source in pipeline.sources.values() if source.live]
    flink.run(
        f"{pipeline.name} views",
        statements,
        inserts,
        checkpoints=folder / "checkpoints",
        kafka=kafka,
        topics=topics,
    )
