"""headrace send: events of a file into a source's topic, and the word that nothing earlier comes.

::

    rows.jsonl ─► each line checked: an object with `at` ─► the topic, in the file's order
    --through T ─► every partition of every source: nothing before T will come ─► views complete
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from headrace.jobs import transport
from headrace.jobs.replay import beat
from headrace.jobs.transport import Writer
from headrace.operators.errors import HeadraceError, UnknownName
from headrace.operators.source import AT, Source
from headrace.pipelines.pipeline import Pipeline

__all__ = ["Events", "caught_up", "live_source", "read", "send", "through"]


@dataclass(frozen=True)
class Events:
    """Lines of a file: each row's bytes, and the text that decides its partition."""

    rows: tuple[bytes, ...]
    keys: tuple[bytes | None, ...]


def live_source(pipeline: Pipeline, name: str) -> Source:
    """Give the source of this name, which has a topic.

    Raises
    ------
    UnknownName
        Where there is none.

    """
    known = {each: source for each, source in pipeline.sources.items() if source.live}
    if name not in known:
        raise UnknownName(kind="source with a topic", name=name, known=list(known))
    return known[name]


def read(path: Path, key: str | None = None) -> Events:
    """Read a file of JSON objects, one a line; empty lines are none.

    What is wrong with a column is the pipeline's to say, in its dead letters; what is no event at
    all is said here, and nothing is sent.

    Parameters
    ----------
    path
        The file.
    key
        The column whose value decides the partition; without, rows go round.

    Raises
    ------
    HeadraceError
        Where a line is no object with a whole number `at`, or lacks the key.

    """
    rows: list[bytes] = []
    keys: list[bytes | None] = []
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        asked = f"asked to send {path}"
        raise HeadraceError(asked, str(error.strerror), "give a file of JSON lines") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        row = _row(path, number, line)
        if key is not None and key not in row:
            asked, found = f"asked to send {path} by {key}", f"line {number} has no {key}"
            raise HeadraceError(asked, found, "give a column that every row has")
        rows.append(line)
        keys.append(None if key is None else orjson.dumps(row[key]))
    return Events(tuple(rows), tuple(keys))


def _row(path: Path, number: int, line: bytes) -> dict[str, Any]:
    asked = f"asked to send {path}"
    do = 'write one JSON object a line, as in {"at": 1767225600000, "user": "u1"}; nothing was sent'
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise HeadraceError(asked, f"line {number} is no JSON: {error}", do) from error
    if not isinstance(row, dict) or type(row.get(AT)) is not int:
        found = f"line {number} is no object with `at`, a whole number of ms since 1970"
        raise HeadraceError(asked, found, do)
    return row


def send(bootstrap: str, source: Source, events: Events) -> int:
    """Send them in order, and give how many they were; they are in the log when this returns."""
    count = transport.partitions(bootstrap, source.topic)
    with Writer(bootstrap) as writer:
        for number, (row, key) in enumerate(zip(events.rows, events.keys, strict=True)):
            partition = number % count if key is None else zlib.crc32(key) % count
            writer.send(source.topic, row, key=key, partition=partition)
    return len(events.rows)


def through(bootstrap: str, pipeline: Pipeline, at: int) -> None:
    """Tell every partition of every source that nothing before `at`, ms, will come any more.

    The first word stands in the pane that ends by then, the second lets the watermark pass it.
    """
    sources = [source for source in pipeline.sources.values() if source.live]
    with Writer(bootstrap) as writer:
        for source in sources:
            count = {source.topic: transport.partitions(bootstrap, source.topic)}
            for when in (at - 1, at + source.lateness_ms):
                beat(writer, count, when)


def caught_up(pipeline: Pipeline, status: Mapping[str, Any], at: int) -> bool:
    """Say by a store's status whether all before `at` is predicted, labelled and learned."""
    every, publish = pipeline.every_ms, pipeline.model.publish_every_ms
    target = at // every * every
    complete = min((view["complete"] for view in status["views"].values()), default=target)
    return bool(
        not status["waiting"]
        and complete >= target
        and status["through"] >= target
        and status["examples_complete"] >= target
        and status["metrics_at"] >= target // publish * publish
    )
