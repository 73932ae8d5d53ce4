"""The events of sources, kept as rows for questions: what ``events.<source>`` shows.

::

    messages ─┬─ plain ── DuckDB ───┐            one transaction
              └─ odd ──── the oracle ┴─► rows, highs, offsets ─► rows."<source>-<identity>"
    files ───── as backfilled, once ─────────────────────────────►        │
                                                          events.<source> ┘

A dead letter is none of them, and neither is a progress event; a late row is, and its column
`came_late` says so. A source that is declared otherwise has another table, which is read anew from
the topic; the old one stays until it is dropped. What a topic has lost before it was read is named
in the table ``gaps``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from headrace.feature_store.backfill import EVENTS, found, tables
from headrace.feature_store.catalogue import Catalogue, Place
from headrace.feature_store.messages import LOG, said
from headrace.feature_store.registered import registered
from headrace.feature_store.versions import (
    events_table,
    events_version,
    held,
    note_events,
    rows_version,
)
from headrace.operators.engines.duckdb_log import kept_sql, kept_types
from headrace.operators.errors import StoreError
from headrace.operators.source import AT, Source

__all__ = ["Events", "Said"]


@dataclass(frozen=True)
class Said:
    """What messages of a source say: its rows, and of each partition its `high` after them."""

    source: str
    rows: pa.Table
    highs: Mapping[int, int]


class Events:
    """The tables of the sources that are kept.

    Parameters
    ----------
    catalogue
        The open file.
    sources
        Those that are kept, by name.

    """

    def __init__(self, catalogue: Catalogue, sources: Mapping[str, Source]) -> None:
        self._catalogue = catalogue
        self.sources = sources
        self._versions = {name: events_version(source) for name, source in sources.items()}
        self._highs: dict[tuple[str, int], int] = {}

    def create(self, backfills: Path) -> None:
        """Make what tables there are not; take in the rows of files where they are new.

        Raises
        ------
        StoreError
            Where a source has files, and their events were not computed.

        """
        known = held(self._catalogue, "events")
        for name, source in self.sources.items():
            version = self._versions[name]
            kinds = ((each, kind.arrow) for each, kind in kept_types(source).items())
            self._catalogue.create(events_table(version), pa.schema(kinds))
            self._catalogue.show(f"events.{name}", events_table(version))
            if version not in known:
                with self._catalogue.transaction():
                    note_events(self._catalogue, version)
                    if source.files is not None:
                        self._take_files(source, backfills)
        self._catalogue.hide("events", keep=self.sources)
        named = {version: name for name, version in self._versions.items()}
        panes = self._catalogue.read("SELECT name, shard, complete FROM panes").to_pylist()
        for row in panes:
            if row["name"] in named:
                name = named[row["name"]]
                self._highs[name, row["shard"]] = row["complete"] + self.sources[name].lateness_ms

    def _take_files(self, source: Source, folder: Path) -> None:
        backfill = found(folder).get(rows_version(source))
        if backfill is None or EVENTS not in backfill.tables:
            asked = f"asked to keep the events of the source {source.name!r}"
            found_ = "it has history in files, and its events were not computed"
            do = "run `headrace backfill`, or declare `keep: false` for it"
            raise StoreError(asked, found_, do)
        for name, rows in tables(folder, backfill):
            if name == EVENTS:
                self._catalogue.append(events_table(self._versions[source.name]), rows)

    @property
    def topics(self) -> dict[str, str]:
        """Give the topics that are read, each with its source."""
        return {each.topic: name for name, each in self.sources.items() if each.live}

    def watermarks(self) -> dict[Place, int]:
        """Give the event time, ms, before which a row of a partition is late, as far as is read."""
        known = dict(self._highs)  # at once: another thread may ask
        return {
            (self.sources[name].topic, partition): high - self.sources[name].lateness_ms
            for (name, partition), high in known.items()
        }

    def kept(self, place: Place) -> Place:
        """Say under which name a partition's offset is kept: another version has its own."""
        topic, partition = place
        return self._versions[self.topics[topic]], partition

    def read(self, name: str, log: pa.Table) -> Said:
        """Say what messages of a source are: those after all that were kept before."""
        source = self.sources[name]
        partitions = pc.unique(log["partition"]).to_pylist()
        # A row of nothing but its time, before all others, says the running maximum so far.
        before = {p: self._highs[name, p] for p in partitions if (name, p) in self._highs}
        columns = {
            "partition": [*before],
            "offset": [-1] * len(before),
            "timestamp": [*before.values()],
            "payload": [orjson.dumps({AT: high}) for high in before.values()],
        }
        whole = pa.concat_tables([pa.table(columns, LOG), log])
        with self._catalogue.beside() as cursor, said(cursor, source, whole) as query:
            checked = cursor.sql(query).to_arrow_table()
            with registered(cursor, "checked", checked):
                kept = f'{kept_sql(source, "checked")} AND "offset" >= 0'
                rows = cursor.sql(kept).to_arrow_table()
        times = checked.filter(pc.is_valid(checked[AT])).group_by("partition")
        highs = times.aggregate([(AT, "max")]).to_pylist()
        return Said(
            name,
            rows,
            {row["partition"]: row[f"{AT}_max"] for row in highs},
        )

    def add(self, told: Said) -> None:
        """Keep what messages said; inside a transaction, with their offsets."""
        version, source = self._versions[told.source], self.sources[told.source]
        self._catalogue.append(events_table(version), told.rows)
        most = max(told.highs, default=0)
        counts = np.bincount(told.rows["partition"].to_numpy(), minlength=most + 1)
        for partition, high in told.highs.items():
            rows, end = int(counts[partition]), high - source.lateness_ms
            self._catalogue.complete(version, partition, end=end, rows=rows, unkeyed=0)
            self._highs[told.source, partition] = high

    def lose(self, place: Place, first: int, following: int) -> None:
        """Note that a topic has lost the messages from `first` to before `following`."""
        topic, partition = place
        row = {"topic": topic, "partition": partition, "first": first, "next": following}
        with self._catalogue.transaction():
            self._catalogue.append("gaps", pa.Table.from_pylist([row]))
            self._catalogue.advance({self.kept(place): (first, following)})
