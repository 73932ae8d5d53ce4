"""headrace backfill --engine flink: the history of views by Flink, with the SQL of the stream.

::

    topics, from begin to end as of now ──┐
                                          ├─► one job that ends ─► panes, in files ─► backfills/
    files ─► checked here, as ever ─► rows ┘

It is streaming mode over sources that end: the same tiles as DuckDB's, bit for bit. The folder in
between is one that Flink and this process can reach, as checkpoints are.
"""

from __future__ import annotations

import gzip
import shutil
import time
import uuid
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import orjson
import pyarrow as pa
from pyarrow import fs

from headrace.feature_store import backfill
from headrace.feature_store.backfill import TILES, Backfill
from headrace.feature_store.history import History
from headrace.feature_store.messages import LOG
from headrace.feature_store.panes import FIRST, Panes, read_tiles
from headrace.jobs import transport
from headrace.jobs.evolve.backfill import Done, complete, history_of, refused, timed, until
from headrace.jobs.machine import flink
from headrace.jobs.machine.job import Job
from headrace.jobs.machine.speaking import for_flink
from headrace.jobs.machine.waiting import wait_until
from headrace.jobs.transport import Place, shard_keys
from headrace.operators.engines import flink_streams
from headrace.operators.engines.duckdb import quote
from headrace.operators.engines.flink import progress_sql, view_sql
from headrace.operators.engines.flink_bounded import HIGHS, Bounded, bounded_sql, high_sql
from headrace.operators.errors import EnvironmentProblem
from headrace.operators.identity import version
from headrace.operators.source import FILE_PARTITION, Source
from headrace.operators.streams.stream import lineage, roots
from headrace.operators.view import END, View
from headrace.pipelines.pipeline import Pipeline

__all__ = ["by_flink"]

_BATCH = 10_000
_LET_GO_SECONDS = 30.0


def by_flink(
    pipeline: Pipeline,
    views: Mapping[str, View],
    address: str | None,
    folder: Path,
    *,
    to: int | None = None,
) -> list[Done]:
    """Compute views' history into `folder`, as `backfilled` does, by Flink.

    Parameters
    ----------
    pipeline
        The declaration, which says which Flink, too.
    views
        Those that are wanted.
    address
        Of the Kafka that has the topics; without one they are empty.
    folder
        Where backfills are kept.
    to
        No later than this time, ms, UTC, the stream takes over.

    Raises
    ------
    EnvironmentProblem
        Where Flink cannot be had, its job fails or is stopped, or a view would be handed over
        before all its files count.

    """
    began = time.monotonic()
    wanted = {root.name: root for view in views.values() for root in roots(view.source)}
    with _between(pipeline, folder) as place:
        bounded = _bounded(pipeline, wanted.values(), address, place)
        # One that has no topic yet has no rows but those of files, or none at all.
        here = {
            name
            for name, source in pipeline.sources.items()
            if source.files is not None or (name in wanted and not bounded.reads(source))
        }
        history, _ = history_of(pipeline, {}, lambda _: (LOG.empty_table(), 0), sources=here)
        with history:
            rows = {
                name: _write_rows(history, wanted[name], f"{place}/rows/{name}.json.gz")
                for name in sorted(here & {*wanted})
            }
            _run(pipeline, views, _sql(pipeline, views, wanted, bounded, rows), bounded, folder)
            highs = _highs(place)
            done = [
                _write(view, place, _until(view, bounded, highs, to), folder)
                for view in views.values()
            ]
            done += refused(history, pipeline, folder)
    return timed(done, began)


def _run(
    pipeline: Pipeline,
    views: Collection[str],
    sql: tuple[list[str], list[str]],
    bounded: Bounded,
    folder: Path,
) -> None:
    kafka = bounded if bounded.begins else None
    job = Job(f"{pipeline.name} backfill", *sql, kafka)
    own = folder.parent / "flink"
    if not flink.run(job, folder=own, flink=pipeline.flink):
        asked, found = f"asked for the history of {', '.join(views)}", "it was told to stop"
        raise EnvironmentProblem(asked, found, "ask for it again")
    wait_until(lambda: _removed(own), _LET_GO_SECONDS, f"Flink to let go of {own}")


def _removed(own: Path) -> bool:
    """Remove a folder that others may remove from at the same time: Flink its checkpoints."""
    shutil.rmtree(own, ignore_errors=True)
    return not own.exists()


def _until(view: View, bounded: Bounded, highs: Mapping[str, Sequence[int]], to: int | None) -> int:
    below = roots(view.source)
    partitions = {root.name: len(bounded.ends.get(root.topic, ())) for root in below}
    least = {root.name: complete(root, highs[root.name], partitions[root.name]) for root in below}
    return until(view, least, to)


@contextmanager
def _between(pipeline: Pipeline, folder: Path) -> Iterator[str]:
    """Give the URI of a new folder that Flink can reach, and remove it."""
    shared = pipeline.flink.checkpoints or folder.parent.absolute().as_uri()
    place = f"{shared}/backfill-{uuid.uuid4().hex}"
    try:
        yield place
    finally:
        files, path = fs.FileSystem.from_uri(place)
        if files.get_file_info(path).type == fs.FileType.Directory:
            files.delete_dir(path)


def _bounded(
    pipeline: Pipeline, sources: Collection[Source], address: str | None, place: str
) -> Bounded:
    """Note where each topic begins and ends now."""
    there = set() if address is None else transport.topics(address)
    topics = sorted(there.intersection(source.topic for source in sources if source.live))
    if address is None or not topics:
        return Bounded("", "", folder=place)
    begins, ends = (
        _by_topic(offsets)
        for offsets in (transport.begins(address, topics), transport.ends(address, topics))
    )
    group, properties = f"{pipeline.name}.backfill", for_flink(pipeline.kafka)
    return Bounded(address, group, properties, begins, ends, place)


def _by_topic(offsets: Mapping[Place, int]) -> dict[str, dict[int, int]]:
    found: dict[str, dict[int, int]] = defaultdict(dict)
    for (topic, partition), offset in offsets.items():
        found[topic][partition] = offset
    return found


def _write_rows(history: History, source: Source, place: str) -> str:
    """Write the events of a source's files by the running high of their own file, as JSON lines."""
    checked = quote(f"checked_{source.name}")
    names = ("partition", "offset", "at", *(column.name for column in source.columns))
    query = (
        f'SELECT {", ".join(map(quote, names))} FROM (SELECT *, MAX("at") OVER (PARTITION BY '
        f'partition ORDER BY "offset") AS high FROM {checked} WHERE partition >= {FILE_PARTITION}) '
        f'WHERE reason IS NULL ORDER BY high, partition, "offset"'
    )
    files, path = fs.FileSystem.from_uri(place)
    files.create_dir(str(Path(path).parent))
    with files.open_output_stream(path, compression=None) as out, gzip.open(out, "wb", 1) as lines:
        for batch in history.query(query).to_batches(_BATCH):
            lines.write(b"".join(orjson.dumps(row) + b"\n" for row in batch.to_pylist()))
    return place


def _sql(
    pipeline: Pipeline,
    views: Mapping[str, View],
    wanted: Mapping[str, Source],
    bounded: Bounded,
    rows: Mapping[str, str],
) -> tuple[list[str], list[str]]:
    """Print the job: as the views job, less decisions and what is refused."""
    every = views.values()
    statements, inserts, highs = [], [], []
    for name, source in wanted.items():
        statements += bounded_sql(source, bounded, rows.get(name))
        of_it = [view for view in every if view.source == source]
        statements.append(progress_sql(source, pipeline.every_ms, of_it))
        if bounded.reads(source):
            highs.append(high_sql(source, of_files=name in rows))
    for stream in lineage(*(view.source for view in every)).values():
        of_it = [view for view in every if view.source == stream]
        statements += flink_streams.stream_sql(stream)
        statements.append(flink_streams.stream_progress_sql(stream, pipeline.every_ms, of_it))
    for view in every:
        keys = shard_keys(view.shards)
        made, insert = view_sql(view, bounded, topic=view.name, shard_keys=keys)
        statements += made
        inserts.append(insert)
    if highs:
        table = "`source` STRING, `partition` INT, `at` BIGINT"
        statements.append(f"CREATE TEMPORARY TABLE `highs__out` ({table}) {bounded.writing(HIGHS)}")
        inserts.append(f"INSERT INTO `highs__out` {' UNION ALL '.join(highs)}")
    return statements, inserts


def _lines(place: str) -> Iterator[dict[str, object]]:
    """Read the lines of JSON that a job has written into a folder."""
    files, path = fs.FileSystem.from_uri(place)
    for each in files.get_file_info(fs.FileSelector(path, allow_not_found=True, recursive=True)):
        if each.type == fs.FileType.File and not each.base_name.startswith((".", "_")):
            with files.open_input_stream(each.path) as lines:
                yield from map(orjson.loads, lines.read().splitlines())


def _highs(place: str) -> dict[str, list[int]]:
    """Give how far each partition with a row came, by source."""
    found: dict[str, dict[object, int]] = defaultdict(dict)
    for line in _lines(f"{place}/{HIGHS}"):
        if line.get("at") is not None:
            of_it, at = found[str(line["source"])], int(str(line["at"]))
            of_it[line["partition"]] = max(at, of_it.get(line["partition"], at))
    return defaultdict(list, {name: list(each.values()) for name, each in found.items()})


def _panes(view: View, place: str, end: int) -> list[Panes]:
    """Read the panes of each shard that end by a time, in the order of their ends."""
    shards: dict[object, list[tuple[int, bytes]]] = defaultdict(list)
    for line in _lines(f"{place}/{view.name}"):
        message = str(line["message"]).encode()
        ends = int(orjson.loads(message)["end"])
        if ends <= end:
            shards[line["shard"]].append((ends, message))
    found = (
        read_tiles(view, [message for _, message in sorted(each)], FIRST)
        for each in shards.values()
    )
    return [panes for panes in found if panes is not None]


def _write(view: View, place: str, end: int, folder: Path) -> Backfill:
    """Keep the tiles of panes that end by a time, sorted by end and key."""
    made = _panes(view, place, end)
    tables = {TILES: [view.tile_schema.empty_table(), *(panes.items for panes in made)]}
    for rows in view.rows:
        parts = (panes.more[rows.name] for panes in made)
        tables[rows.name] = [view.rows_schema(rows).empty_table(), *parts]
    order = [(name, "ascending") for name in (END, *view.key)]
    return backfill.write(
        folder,
        version(view),
        (
            (name, pa.concat_tables(each).sort_by(order).to_reader())
            for name, each in tables.items()
        ),
        until=end,
        rows=sum(panes.rows for panes in made),
        unkeyed=sum(panes.unkeyed for panes in made),
    )
