"""Random logs in one real views job: Flink = DuckDB = in process.

::

    logs ─► one topic, two partitions each ─► the views job ─► tiles, dead letters,  ┐
      │                                                        late rows, decisions  ├─► differences
      └─► DuckDB, from the same topic; in process, log by log ──────────────────────┘

Every partition ends with a row at the last time of all and with a beat, so that the merged
watermark, which is the lowest of all partitions, passes the last pane.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count as counting
from pathlib import Path

import pyarrow as pa

from headrace.feature_store.panes import read_items
from headrace.jobs import assembly
from headrace.jobs.machine.broker import running
from headrace.jobs.transport import Message as KafkaMessage
from headrace.jobs.transport import Topic, Writer, create_topics
from headrace.operators.engines import in_process
from headrace.operators.engines.in_process import Message
from headrace.operators.source import Source
from headrace.operators.view import END
from headrace.pipelines.load import load
from headrace.pipelines.pipeline import Pipeline
from tests import logs
from tests.engines import rows_of_tiles, tiles_of, told
from tests.fuzz_logs import (
    MOST_SHRUNK,
    Difference,
    Told,
    add_tiles,
    grouped,
    shrunk,
    tiles_in_process,
    wrong_of,
)
from tests.random_logs import EACH, LAST_AT, SOURCE, VIEWS, Log, endings, made, messages
from tests.views_job import Made, headers, read_all, run_jobs, source_yaml, tiles_made, view_yaml


@dataclass
class Job:
    """Runs the views job over logs, each time as a pipeline of another name."""

    bootstrap: str
    folder: Path
    _numbers: counting[int] = field(default_factory=counting)

    def different(self, batch: Sequence[Log]) -> dict[int, list[str]]:
        """Compare Flink and DuckDB with the oracle."""
        pipeline = self._pipeline(len(batch))
        sent = [
            each
            for number, log in enumerate(batch)
            for each in (*messages(log, number), *endings(log, number))
        ]
        self._send(pipeline, sent)
        views = (pipeline.view_topic(view) for view in pipeline.views.values())
        last = dict.fromkeys((*views, pipeline.decisions_topic), LAST_AT + logs.EVERY)
        found = run_jobs(pipeline, self.bootstrap, pipeline.path.parent, ("views",), last)
        by_flink = _by_flink(pipeline, found, len(batch))
        ours = _in_process(pipeline, sent, len(batch))
        wrong = wrong_of(ours, by_flink)
        for number, lines in wrong_of(ours, _by_duckdb(pipeline, sent, len(batch))).items():
            wrong[number] = [*wrong.get(number, ()), *(f"duckdb: {line}" for line in lines)]
        return wrong

    def _pipeline(self, size: int) -> Pipeline:
        name = f"fuzz{next(self._numbers)}"
        folder = self.folder / name
        folder.mkdir(parents=True)
        path = folder / "fuzz.yaml"
        path.write_text(_yaml(name, size * EACH), "utf-8")
        return load(path)

    def _send(self, pipeline: Pipeline, sent: Sequence[Message]) -> None:
        """Write the topic, each message at its place, with time stamps of ours."""
        sources = [Topic(each.topic, each.partitions) for each in pipeline.sources.values()]
        create_topics(self.bootstrap, [*sources, *assembly.topics(pipeline)])
        topic = pipeline.sources[SOURCE.name].topic
        with Writer(self.bootstrap) as writer:
            for partition, _, stamp, said in sent:
                writer.send(topic, said, partition=partition, timestamp_ms=stamp, key=b"key")
        there = [
            (each.partition, each.offset, each.timestamp, each.value)
            for part in read_all(self.bootstrap, topic).values()
            for each in part
        ]
        assert sorted(there, key=repr) == sorted(sent, key=repr)


def _yaml(name: str, partitions: int) -> str:
    """Write the pipeline: every row with a name is a decision, so its columns are compared too."""
    source = replace(SOURCE, topic=f"{name}_events", partitions=partitions)
    views = [line for v in VIEWS.values() for line in view_yaml(v, logs.FEATURES[v.name])]
    keys = ", ".join(f"{view.name}: [{', '.join(view.key)}]" for view in VIEWS.values())
    return "\n".join(
        (
            f"pipeline: {name}",
            f"every: {logs.EVERY}ms",
            "sources:",
            *source_yaml(source, logs.DERIVED),
            f"  results: {{topic: {name}_results, columns: {{name: string required, y: int64}}}}",
            "views:",
            *views,
            f"decision: {{source: {SOURCE.name}, id: name, keys: {{{keys}}}}}",
            "outcome: {source: results, id: name, label: y > 0, within: 1s}",
            "model: {kind: ftrl, tokens: [s]}",
        )
    )


def _in_process(pipeline: Pipeline, sent: Sequence[Message], size: int) -> list[Told]:
    """Say what the oracle makes of each log."""
    source = pipeline.sources[SOURCE.name]
    parts: list[list[Message]] = [[] for _ in range(size)]
    for message in sent:
        parts[message[0] // EACH].append(message)
    found = []
    for part in parts:
        events = in_process.events(source, part)
        said: Told = {
            "dead": [repr(tuple(vars(row).values())) for row in events.dead],
            "late": [repr((row.partition, row.offset, row.payload)) for row in events.late],
            "decisions": [
                repr([row.partition, row.offset, *(row.values[name] for name in source.types)])
                for row in events.events
                if row.values["name"] is not None
            ],
        }
        for view in pipeline.views.values():
            said |= tiles_in_process(view, events.events)
        found.append(said)
    return found


def _by_flink(pipeline: Pipeline, made: Made, size: int) -> list[Told]:
    """Say what the job made of each log."""
    said = [Told(dead=[], late=[], decisions=[]) for _ in range(size)]
    for topic, what in ((pipeline.dead_topic, "dead"), (pipeline.late_topic, "late")):
        for message in made[topic][0]:
            told_by = headers(message)
            place = int(told_by["partition"]), int(told_by["offset"])
            reason = (told_by["reason"],) if what == "dead" else ()
            said[place[0] // EACH][what].append(repr((*place, *reason, message.value)))
    decisions = _decisions(pipeline.sources[SOURCE.name], made[pipeline.decisions_topic][0])
    for number, rows in grouped(decisions, lambda row: row["partition"] // EACH).items():
        said[number]["decisions"] = [repr([*row.values()]) for row in rows]
    for view in pipeline.views.values():
        add_tiles(said, view, *tiles_made(view, made[pipeline.view_topic(view)]))
    return said


def _decisions(source: Source, panes: Sequence[KafkaMessage]) -> list[dict[str, object]]:
    item = [("partition", pa.int32()), ("offset", pa.int64())]
    item += [(name, kind.arrow) for name, kind in source.types.items()]
    payloads = [pane.value or b"" for pane in panes]
    found = read_items(payloads, 0, name="decisions", item=pa.struct(item))
    assert found is not None
    rows: list[dict[str, object]] = found.items.drop_columns([END]).to_pylist()
    return rows


def _by_duckdb(pipeline: Pipeline, sent: Sequence[Message], size: int) -> list[Told]:
    """Say what DuckDB makes of each log."""
    source = pipeline.sources[SOURCE.name]
    said = [Told(dead=[], late=[], decisions=[]) for _ in range(size)]
    with told(source, list(pipeline.views.values()), sent) as history:
        for row in history.query("SELECT * FROM refused_events").to_pylist():
            place, reason = (row["partition"], row["offset"]), row["reason"]
            late = reason == "late"
            text = repr((*place, *(() if late else (reason,)), row["payload"]))
            said[place[0] // EACH]["late" if late else "dead"].append(text)
        names = ", ".join(f'"{name}"' for name in ("partition", "offset", *source.types))
        events = history.query(f"SELECT {names} FROM events_events WHERE name IS NOT NULL")
        for row in events.to_pylist():
            said[row["partition"] // EACH]["decisions"].append(repr([*row.values()]))
        for view in pipeline.views.values():
            add_tiles(said, view, tiles_of(history, view), rows_of_tiles(history, view))
    return said


def run(count: int, seed: int, folder: Path) -> tuple[int, list[Difference]]:
    """Try `count` logs in one job; give how many, and what differs."""
    batch = made(count, seed)
    with running(folder / "broker") as broker:
        job = Job(broker.address, folder)
        wrong = [*job.different(batch).items()]
        found = [shrunk(batch[n], lines, job.different) for n, lines in wrong[:MOST_SHRUNK]]
    return count, found + [Difference(batch[n], lines) for n, lines in wrong[MOST_SHRUNK:]]
