"""The DuckDB file: its tables, and the one way to write to it.

Rows and the Kafka offsets they came from are committed in one transaction; the file is a cache of
the log and can be rebuilt from it. One process owns it: DuckDB lets no second one in.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from headrace.feature_store.questions import Busy, Limits, answer
from headrace.operators.engines.duckdb import quote
from headrace.operators.errors import StoreError
from headrace.operators.types import Type

__all__ = ["Catalogue", "Place"]

Place = tuple[str, int]
"""A topic and a partition of it."""
READERS = 2
"""Questions that run at once: the writer commits 763 times a second beside one, 58 beside eight."""

_TABLES = {
    "offsets": [("topic", pa.string()), ("partition", pa.int32()), ("next", pa.int64())],
    "panes": [
        ("name", pa.string()),
        ("shard", pa.int32()),
        ("complete", pa.int64()),
        ("rows", pa.int64()),
        ("unkeyed", pa.int64()),
    ],
    "dead_letters": [
        ("source", pa.string()),
        ("topic", pa.string()),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("reason", pa.string()),
        ("payload", pa.binary()),
    ],
    "late_rows": [
        ("source", pa.string()),
        ("topic", pa.string()),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("at", pa.int64()),
        ("watermark", pa.int64()),
        ("payload", pa.binary()),
    ],
    "metrics": [("at", pa.int64()), ("name", pa.string()), ("value", pa.float64())],
    "versions": [
        ("kind", pa.string()),
        ("name", pa.string()),
        ("identity", pa.string()),
        ("since", pa.int64()),
    ],
}
_SQL = {
    pa.bool_(): "BOOLEAN",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.float64(): "DOUBLE",
    pa.string(): "VARCHAR",
    pa.binary(): "BLOB",
    Type.INT128.arrow: Type.INT128.duckdb,
}


class Catalogue:
    """An open DuckDB file, locked down: no files, no network, no extensions, no settings.

    Parameters
    ----------
    path
        The file; its folder must exist.

    Raises
    ------
    StoreError
        Where another process has the file.

    """

    def __init__(self, path: Path) -> None:
        self._connection = _open(path)
        self._writing = threading.Lock()
        self._asking = threading.BoundedSemaphore(READERS)
        for name, columns in _TABLES.items():
            self.create(name, pa.schema(columns))
        self._connection.execute("CHECKPOINT")

    def create(self, table: str, schema: pa.Schema) -> None:
        """Create a table, ``name`` or ``schema.name``; one that is there gets what it lacks.

        Raises
        ------
        StoreError
            Where it has a column of another type.

        """
        columns = {field.name: _type(field.type) for field in schema}
        listed = ", ".join(f"{quote(name)} {kind}" for name, kind in columns.items())
        self._space(table)
        self._connection.execute(f"CREATE TABLE IF NOT EXISTS {_quoted(table)} ({listed})")
        told = self._connection.execute(f"DESCRIBE {_quoted(table)}").fetchall()
        there = {name: kind for name, kind, *_ in told}
        for name, kind in columns.items():
            if name not in there:
                self._connection.execute(
                    f"ALTER TABLE {_quoted(table)} ADD COLUMN {quote(name)} {kind}"
                )
            elif there[name] != kind:
                asked = f"asked for the column {name!r} of {table} as {kind}"
                found = f"what is kept of it is {there[name]}"
                raise StoreError(asked, found, "give what is new another name")

    def show(self, name: str, table: str) -> None:
        """Let `name`, ``schema.name``, be a table as it is now, whatever it showed before."""
        self._space(name)
        self._connection.execute(
            f"CREATE OR REPLACE VIEW {_quoted(name)} AS SELECT * FROM {_quoted(table)}"
        )

    def drop(self, table: str) -> None:
        """Remove a table with its rows."""
        self._connection.execute(f"DROP TABLE {_quoted(table)}")

    def _space(self, name: str) -> None:
        space, _, _ = name.rpartition(".")
        if space:
            self._connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quote(space)}")

    def define(self, macro: str, parameter: str, query: str) -> None:
        """Define a table macro, ``schema.name``, of one parameter: `query` reads it by its name."""
        self._space(macro)
        self._connection.execute(
            f"CREATE OR REPLACE MACRO {_quoted(macro)}({quote(parameter)}) AS TABLE {query}"
        )

    def checkpoint(self) -> None:
        """Write the log of changes into the file: due after every change of a table's form."""
        self._connection.execute("CHECKPOINT")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what is written inside, or nothing of it.

        The only COMMIT there is: after a failed statement DuckDB's own would answer success and
        roll back, so an error that was caught inside is raised again here.
        """
        with self._writing:
            self._connection.execute("BEGIN")
            written = False
            try:
                yield
                self._connection.execute("SELECT 1")  # refused where a statement has failed
                written = True
            finally:
                self._connection.execute("COMMIT" if written else "ROLLBACK")

    def append(self, table: str, rows: pa.Table) -> None:
        """Append rows by the names of their columns."""
        if rows.num_rows == 0:
            return
        self._connection.register("appended", rows)
        self._connection.execute(f"INSERT INTO {_quoted(table)} BY NAME SELECT * FROM appended")
        self._connection.unregister("appended")

    def offsets(self) -> dict[Place, int]:
        """Give the next offset of every partition read so far."""
        rows = self._connection.execute("SELECT topic, partition, next FROM offsets").fetchall()
        return {(topic, partition): following for topic, partition, following in rows}

    def advance(self, moved: Mapping[Place, tuple[int, int]]) -> None:
        """Move offsets from where this process read on to the next; inside a transaction.

        Raises
        ------
        StoreError
            Where an offset is not what this process left: another writer was here.

        """
        for (topic, partition), (was, following) in moved.items():
            done = self._connection.execute(
                "UPDATE offsets SET next = ? WHERE topic = ? AND partition = ? AND next = ?",
                [following, topic, partition, was],
            ).fetchone()
            if done is None or done[0] != 1:
                asked = f"asked to move '{topic}' partition {partition} on from offset {was}"
                found = "the file says otherwise: another process wrote to it"
                raise StoreError(asked, found, "leave one store process running, restart it")

    def begin(self, places: list[Place]) -> None:
        """Start partitions that were never read at offset 0."""
        known = self.offsets()
        new = [place for place in places if place not in known]
        names, partitions = [p[0] for p in new], [p[1] for p in new]
        rows = {"topic": names, "partition": partitions, "next": [0] * len(new)}
        with self.transaction():
            self.append("offsets", pa.table(rows, pa.schema(_TABLES["offsets"])))

    def complete(self, name: str, shard: int, *, end: int, rows: int, unkeyed: int) -> None:
        """Note that a shard's panes are complete to `end`; inside a transaction."""
        changed = self._connection.execute(
            "UPDATE panes SET complete = ?, rows = rows + ?, unkeyed = unkeyed + ? "
            "WHERE name = ? AND shard = ?",
            [end, rows, unkeyed, name, shard],
        ).fetchone()
        if changed is None or changed[0] == 0:
            self._connection.execute(
                "INSERT INTO panes VALUES (?, ?, ?, ?, ?)", [name, shard, end, rows, unkeyed]
            )

    def read(self, query: str, parameters: list[object] | None = None) -> pa.Table:
        """Run a query of ours on its own cursor: it sees what is committed."""
        cursor = self._connection.cursor()
        try:
            return cursor.sql(query, params=parameters or None).to_arrow_table()
        finally:
            cursor.close()

    def select(self, query: str, limits: Limits | None = None) -> pa.Table:
        """Answer a user's question on a cursor of its own, in whole; it sees what is committed.

        Raises
        ------
        StoreError
            As `questions.answer`; `Busy` where too many run and none of them ends in time.

        """
        limits = limits or Limits()
        if not self._asking.acquire(timeout=limits.seconds):
            asked = f"asked for {query.strip()[:200]!r}"
            found = f"{READERS} questions are running, as many as may"
            raise Busy(asked, found, "ask again later")
        try:
            with closing(self._connection.cursor()) as cursor:
                schema, batches = answer(cursor, query, limits)
                return pa.Table.from_batches(batches, schema)
        finally:
            self._asking.release()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def _type(kind: pa.DataType) -> str:
    return f"{_type(kind.value_type)}[]" if pa.types.is_list(kind) else _SQL[kind]


def _quoted(table: str) -> str:
    return ".".join(quote(part) for part in table.split("."))


def _open(path: Path) -> duckdb.DuckDBPyConnection:
    settings: dict[str, str | bool | int | float | list[str]] = {
        "python_enable_replacements": "false",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "allow_community_extensions": "false",
        "memory_limit": "2GB",
        # Sums of doubles depend on the order of threads; and the other core belongs to Flink.
        "threads": "1",
    }
    try:
        connection = duckdb.connect(str(path), config=settings)
    except duckdb.IOException as error:
        asked = f"asked to open the store's file '{path}'"
        raise StoreError(
            asked, str(error).splitlines()[0], "stop the process that has it"
        ) from error
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection
