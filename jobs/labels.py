"""The labels job: predictions and outcomes in, panes of examples out."""

from __future__ import annotations

from pathlib import Path

from headrace.jobs.machine import flink
from headrace.jobs.machine.job import Job, digest_of
from headrace.jobs.machine.speaking import for_flink
from headrace.jobs.transport import shard_keys
from headrace.operators.engines.flink import Kafka, examples_sql, source_sql
from headrace.operators.engines.flink_streams import stream_sql
from headrace.operators.streams.stream import lineage, roots
from headrace.pipelines.pipeline import Pipeline

__all__ = ["digest", "run", "sql"]


def sql(pipeline: Pipeline, kafka: Kafka) -> tuple[list[str], list[str]]:
    """Print the job: the statements that define it, and its inserts."""
    outcome = pipeline.outcome
    made, insert = examples_sql(
        outcome.source,
        outcome.id,
        outcome.labels,
        within_ms=outcome.within_ms,
        every_ms=pipeline.every_ms,
        kafka=kafka,
        predictions=pipeline.predictions_topic,
        topic=pipeline.examples_topic,
        shard_key=shard_keys(1)[0],
    )
    sources = [text for source in roots(outcome.source) for text in source_sql(source, kafka)]
    streams = [text for stream in lineage(outcome.source).values() for text in stream_sql(stream)]
    return [*sources, *streams, *made], [insert]


def digest(pipeline: Pipeline) -> str:
    """Hash the job's SQL."""
    return digest_of(*sql(pipeline, Kafka("", _group(pipeline))))


def _group(pipeline: Pipeline) -> str:
    return f"{pipeline.name}.labels"


def run(pipeline: Pipeline, *, bootstrap: str, folder: Path) -> None:
    """Run the job until it is stopped; `folder` is its own."""
    kafka = Kafka(bootstrap, _group(pipeline), for_flink(pipeline.kafka))
    statements, inserts = sql(pipeline, kafka)
    topics = [source.topic for source in roots(pipeline.outcome.source)]
    topics.append(pipeline.predictions_topic)
    name = f"{pipeline.name} labels"
    job = Job(name, statements, inserts, kafka, topics, timed=topics)
    flink.run(job, folder=folder, flink=pipeline.flink)
