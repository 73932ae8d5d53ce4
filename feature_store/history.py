"""History: tiles and features from the raw log, by DuckDB alone.

The second engine. What it computes from the log must equal what the stream computed from it,
cell for cell; training sets come from here, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

import duckdb
import pyarrow as pa

from headrace.feature_store.files import FileRows
from headrace.feature_store.files import read as read_file
from headrace.feature_store.messages import said
from headrace.feature_store.past import Past, Tiles
from headrace.feature_store.registered import registered
from headrace.feature_store.store import Declared
from headrace.operators.computed import computed_sql
from headrace.operators.engines.duckdb import quote, rows_sql, tiles_sql
from headrace.operators.engines.duckdb_log import (
    checked_file_sql,
    events_sql,
    known_sql,
    refused_sql,
)
from headrace.operators.engines.duckdb_streams import refused_sql as stream_refused_sql
from headrace.operators.engines.duckdb_streams import stream_sql
from headrace.operators.errors import StoreError
from headrace.operators.source import AT, FROM_TOPIC, Source
from headrace.operators.streams.stream import Stream, lineage, roots, starts_ms

__all__ = ["History", "read"]

_BATCH = 65_536


class History:
    """The log of a pipeline's sources, recomputed in memory.

    Parameters
    ----------
    declared
        What the pipeline declares.
    sources
        The sources, by name.
    streams
        Streams that are wanted besides those that views and the decision are made of.
    as_known_at
        Unless None, late rows count, too: of the messages that were known before this time, ms,
        UTC, or of all with `headrace.operators.event.EVER`. A late decision is then a decision, and
        the numbers of decisions are not the store's.

    """

    def __init__(
        self,
        declared: Declared,
        sources: Mapping[str, Source],
        streams: Mapping[str, Stream] | None = None,
        *,
        as_known_at: int | None = None,
    ) -> None:
        self._as_known_at = as_known_at
        self._declared = declared
        self._sources = sources
        self._loaded: set[str] = set()
        used = (view.source for view in declared.views.values())
        self._streams = lineage(*(streams or {}).values(), *used, declared.source)
        # All cores: nothing here sums a double, whose order of threads would show.
        # What does not fit goes to a folder that goes with it, and not to the one we are in.
        self._spilled = TemporaryDirectory(prefix="headrace-history-")
        self._connection = duckdb.connect(
            config={"memory_limit": "4GB", "temp_directory": self._spilled.name}
        )

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connection, and remove what was spilled."""
        self._connection.close()
        self._spilled.cleanup()

    def load(self, name: str, log: pa.Table, files: Sequence[Path] = ()) -> None:
        """Take in the log of one source, and its files: events and what is none become tables.

        A stream is made when the last of the sources below it is there.

        Raises
        ------
        StoreError
            Where a tile's sum leaves int64, or a file cannot be read.

        """
        source, corrected = self._sources[name], self._as_known_at is not None
        read(self._connection, source, log, as_known_at=self._as_known_at)
        for number, path in enumerate(files):
            rows = read_file(source, path, number)
            add_file(self._connection, source, rows, corrected=corrected)
        self._loaded.add(name)
        self._made(name)
        for stream in self._streams.values():
            below = {root.name for root in roots(stream)}
            if name in below and below <= self._loaded:
                for statement in stream_sql(stream):
                    self._connection.execute(statement)
                self._made(stream.name)

    def _made(self, name: str) -> None:
        """Make the views over a source or a stream whose events are there."""
        run = self._connection.execute
        for view in self._declared.views.values():
            if view.source.name == name:
                events = quote(f"events_{name}")
                try:
                    run(f"CREATE TABLE {quote(f'tiles_{view.name}')} AS {tiles_sql(view, events)}")
                    for rows in view.rows:
                        table = quote(f"tiles_{view.companion(rows)}")
                        run(f"CREATE TABLE {table} AS {rows_sql(view, rows, events)}")
                except duckdb.DataError as error:  # a value that its type cannot hold
                    asked = f"asked for the tiles of view {view.name!r}"
                    found = " ".join(str(error).splitlines()[:1])
                    raise StoreError(asked, found, "sum smaller values") from error

    def refused(self, name: str) -> pa.Table:
        """Give the places and reasons of what is no event of a source; ``late`` for late rows."""
        return self.query(
            f'SELECT partition, "offset", reason FROM {quote(f"refused_{name}")} '
            f"WHERE reason <> '{FROM_TOPIC}'"
        )

    def refused_by(self, name: str) -> pa.Table:
        """Give source, partition, offset and reason of the rows that a stream refuses."""
        return self.query(stream_refused_sql(self._streams[name]))

    def decisions(self) -> None:
        """Number the decisions in their total order, as the store does: those of the topic."""
        source = self._declared.source.name
        identity = quote(self._declared.id)
        self._connection.execute(
            "CREATE TABLE decisions AS SELECT row_number() OVER "
            '(ORDER BY "at", partition, "offset") - 1 AS seq, '
            f"CAST({identity} AS VARCHAR) AS id, * FROM {quote(f'events_{source}')} "
            f'WHERE {identity} IS NOT NULL AND "at" >= {starts_ms(self._declared.source)}'
        )

    def ask(self, rows: pa.Table) -> None:
        """Take rows with `seq`, `at` and the columns of the views' keys, for `features` of them."""
        with registered(self._connection, "given", rows):
            self._connection.execute("CREATE OR REPLACE TABLE asks AS SELECT * FROM given")

    def features(self, name: str, *, of: str = "decisions") -> pa.Table:
        """Give one view's features at every decision, in the order of their numbers.

        `of` may be ``asks`` instead: what was given to `ask`.
        """
        view, keys = self._declared.views[name], self._declared.keys
        rows = {rows.name: quote(f"tiles_{view.companion(rows)}") for rows in view.rows}
        tiles = {name: Tiles(quote(f"tiles_{name}"), rows)}
        columns = ", ".join(map(quote, dict.fromkeys(["seq", AT, *keys[name]])))
        decisions = self.query(f"SELECT {columns} FROM {of} ORDER BY seq")
        with closing(Past(self._connection, {name: view}, keys, tiles)) as past:
            asking, read = past.asking([feature.name for feature in view.features])
            found = read(asking.of(decisions, AT))
        return found.add_column(0, "seq", decisions["seq"])

    def computed(self, found: Sequence[pa.Table], *, of: str = "decisions") -> pa.Table:
        """Give the features computed of columns and of what `features` found, view by view."""
        parts = {f"_found_{i}": table for i, table in enumerate(found)}
        joins = " ".join(f"JOIN {name} USING (seq)" for name in parts)
        columns = ", ".join(
            f"{computed_sql(tree)} AS {quote(name)}"
            for name, tree in self._declared.computed.items()
        )
        return self.query(f"SELECT seq, {columns} FROM {of} {joins} ORDER BY seq", **parts)

    def batches(self, query: str, schema: pa.Schema) -> pa.RecordBatchReader:
        """Run a query of ours a batch at a time, with the columns and types of a schema."""
        names = ", ".join(quote(name) for name in schema.names)
        found = self._connection.sql(f"SELECT {names} FROM ({query})").to_arrow_reader(_BATCH)
        cast = (pa.Table.from_batches([batch]).cast(schema).to_batches() for batch in found)
        return pa.RecordBatchReader.from_batches(schema, (each for some in cast for each in some))

    def query(self, query: str, **tables: pa.Table) -> pa.Table:
        """Run a query of ours, with Arrow tables under their names."""
        with ExitStack() as seen:
            for name, table in tables.items():
                seen.enter_context(registered(self._connection, name, table))
            return self._connection.sql(query).to_arrow_table()


def read(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    log: pa.Table,
    *,
    as_known_at: int | None = None,
) -> None:
    """Make the tables of a source: what each message says, its events, and what is none.

    They are ``checked_<source>``, ``events_<source>`` (a view) and ``refused_<source>``.
    """
    if as_known_at is not None:
        with registered(connection, "log", log):
            log = connection.sql(known_sql("log", as_known_at)).to_arrow_table()
    names = (quote(f"{what}_{source.name}") for what in ("checked", "events", "refused"))
    checked, events, refused = names
    with said(connection, source, log, corrected=as_known_at is not None) as query:
        connection.execute(f"CREATE OR REPLACE TABLE {checked} AS {query}")
        connection.execute(f"CREATE OR REPLACE VIEW {events} AS {events_sql(source, checked)}")
        connection.execute(f"CREATE OR REPLACE TABLE {refused} AS {refused_sql(checked, 'log')}")


def add_file(
    connection: duckdb.DuckDBPyConnection, source: Source, rows: FileRows, *, corrected: bool
) -> None:
    """Add the rows of a file to the tables of a source."""
    checked, refused = (quote(f"{what}_{source.name}") for what in ("checked", "refused"))
    with (
        registered(connection, "plain", rows.plain),
        registered(connection, "odd", rows.odd),
    ):
        query = checked_file_sql(source, "plain", "odd", corrected=corrected)
        connection.execute(f"CREATE OR REPLACE TEMP TABLE of_file AS {query}")
        connection.execute(f"INSERT INTO {checked} BY NAME SELECT * FROM of_file")
        for each in ("plain", "odd"):
            payload = "encode(CAST(to_json(said) AS VARCHAR)) AS payload"
            places = f'SELECT partition, "offset", {payload} FROM {each}'
            connection.execute(
                f"INSERT INTO {refused} BY NAME {refused_sql('of_file', f'({places})')}"
            )
        connection.execute("DROP TABLE of_file")
