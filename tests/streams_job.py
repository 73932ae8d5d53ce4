"""Run by `tests/test_streams_job.py`: the views job, and every row of every stream besides."""

from __future__ import annotations

import sys
from pathlib import Path

from headrace.jobs import views
from headrace.jobs.machine import flink
from headrace.jobs.machine.job import Job
from headrace.operators.engines.flink import Kafka
from headrace.operators.streams.stream import Stream
from headrace.pipelines.load import load

ROWS = "rows"


def rows_sql(stream: Stream) -> str:
    """Print the insert of a stream's rows into the one sink."""
    names = ("partition", "offset", *stream.types)
    fields = ", ".join(f"'{name}' VALUE `{name}`" for name in names)
    row = f"JSON_OBJECT({fields} NULL ON NULL)"
    return (
        "INSERT INTO `rows__out` "
        f"SELECT JSON_OBJECT('{stream.name}' VALUE {row} NULL ON NULL) FROM `{stream.name}`"
    )


def main(path: Path, bootstrap: str, folder: Path) -> None:
    """Run until stopped."""
    pipeline = load(path)
    kafka = Kafka(bootstrap, f"{pipeline.name}.streams")
    statements, inserts = views.sql(pipeline, kafka)
    topic = kafka.writing(f"{pipeline.name}.{ROWS}")
    statements.append(f"CREATE TEMPORARY TABLE `rows__out` (message STRING) {topic}")
    inserts += [rows_sql(stream) for stream in pipeline.streams.values()]
    topics = [source.topic for source in pipeline.sources.values()]
    flink.run(Job("streams", statements, inserts, kafka, topics), folder=folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
