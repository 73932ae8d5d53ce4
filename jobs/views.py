"""The views job: raw topics in; panes of tiles, panes of decisions, dead letters, late rows out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from headrace.jobs.machine import flink
from headrace.jobs.machine.job import Job, digest_of
from headrace.jobs.machine.speaking import for_flink
from headrace.jobs.machine.state import read_json, write_json
from headrace.jobs.transport import Place, shard_keys
from headrace.operators.engines import flink_streams
from headrace.operators.engines.flink import (
    Kafka,
    decisions_sql,
    progress_sql,
    refused_sql,
    source_sql,
    view_sql,
)
from headrace.operators.streams.stream import live, roots
from headrace.pipelines.pipeline import Pipeline

__all__ = ["digest", "group", "note_starts", "run", "sql"]


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
    """Run the job until it is stopped; `folder` is its own."""
    kafka = Kafka(bootstrap, group(pipeline), for_flink(pipeline.kafka))
    statements, inserts = sql(pipeline, kafka)
    topics = [source.topic for source in pipeline.sources.values() if source.live]
    counted = [view.source for view in pipeline.streamed.values()]
    timed = {root.topic for each in (*counted, pipeline.decision.source) for root in roots(each)}
    job = Job(
        f"{pipeline.name} views",
        statements,
        inserts,
        kafka,
        topics,
        starts=_starts(pipeline, folder),
        timed=sorted(timed.intersection(topics)),
    )
    flink.run(job, folder=folder, flink=pipeline.flink)


def group(pipeline: Pipeline) -> str:
    """Name the consumer group under which the job's offsets are written with each checkpoint."""
    return f"{pipeline.name}.views"


def digest(pipeline: Pipeline) -> str:
    """Hash the job's SQL."""
    return digest_of(*sql(pipeline, Kafka("", group(pipeline))))


def note_starts(pipeline: Pipeline, folder: Path, starts: Mapping[Place, int] | None) -> None:
    """Keep where the job is to start that has the SQL of now; its beginning without `starts`."""
    folder.mkdir(parents=True, exist_ok=True)
    offsets = [[*place, offset] for place, offset in (starts or {}).items()]
    write_json(folder / f"starts-{digest(pipeline)}.json", offsets)


def _starts(pipeline: Pipeline, folder: Path) -> dict[Place, int]:
    path = folder / f"starts-{digest(pipeline)}.json"
    offsets = read_json(path) if path.exists() else []
    return {(topic, partition): offset for topic, partition, offset in offsets}
