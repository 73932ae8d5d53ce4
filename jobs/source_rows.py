"""The rows of sources, from their topics and their files, into a history."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from headrace.feature_store import files
from headrace.feature_store.history import History
from headrace.feature_store.messages import LOG
from headrace.jobs import transport
from headrace.jobs.transport import Message, Reader
from headrace.operators.source import Source
from headrace.pipelines.pipeline import Pipeline

__all__ = ["loaded", "log_of", "read_log"]


def loaded(
    history: History,
    pipeline: Pipeline,
    log: Callable[[Source], pa.Table],
    *,
    names: Collection[str] | None = None,
    most_files: int | None = None,
) -> Iterator[tuple[Source, pa.Table, list[Path]]]:
    """Load source after source, and give each with its log and its files once it is there.

    Parameters
    ----------
    history
        What is loaded.
    pipeline
        The declaration, beside whose file those of its sources are.
    log
        Reads the topic of a source that has one.
    names
        Of which sources; of all unless given.
    most_files
        No more files than so many of each.

    """
    for name, source in pipeline.sources.items():
        if names is None or name in names:
            rows = log(source) if source.live else LOG.empty_table()
            paths = files.found(source, pipeline.path.parent)
            history.load(name, rows, paths[:most_files])
            yield source, rows, paths


def read_log(bootstrap: str, topic: str, *, most_rows: int | None = None) -> pa.Table:
    """Read a whole topic, as it ends now; no more of it than the first rows of each partition."""
    ends = transport.ends(bootstrap, [topic])
    starts = transport.begins(bootstrap, [topic])
    if most_rows is not None:
        ends = {place: min(end, starts[place] + most_rows) for place, end in ends.items()}
    parts = [LOG.empty_table()]
    with Reader(bootstrap, starts, max_records=50_000) as reader:
        # By positions, not rows: transactions and compaction leave offsets without a message.
        while any(at < ends[place] for place, at in reader.positions().items()):
            for (_, partition), messages in reader.poll(1_000, 50_000).items():
                known = [m for m in messages if m.offset < ends[topic, partition]]
                parts.append(log_of(partition, known))
    return pa.concat_tables(parts)


def log_of(partition: int, messages: Sequence[Message]) -> pa.Table:
    """Give messages of a partition as a log."""
    columns = {
        "partition": [partition] * len(messages),
        "offset": [message.offset for message in messages],
        "timestamp": [message.timestamp for message in messages],
        "payload": [message.value for message in messages],
    }
    return pa.table(columns, LOG)
