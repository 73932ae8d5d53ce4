"""The DuckDB file: its tables, and the one way to write to it.

Rows and the Kafka offsets they came from are committed in one transaction; the file is a cache of
the log and can be rebuilt from it. One process owns it::

    open ──► DuckDB's lock: a second process is told who has the file
        └──► owner.epoch + 1: whoever had it before, and does not know, can commit nothing

    transaction ─ BEGIN ─ append … advance ─ owner's? ─ COMMIT ─ offsets as moved? ─► acknowledged
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from headrace.feature_store.causes import explained
from headrace.feature_store.questions import Busy, Lent, Limits, answer
from headrace.feature_store.registered import registered
from headrace.operators.engines.duckdb import quote
from headrace.operators.errors import HeadraceError, StoreError
from headrace.operators.types import Type

__all__ = ["TABLES", "Catalogue", "Place"]

Place = tuple[str, int]
"""A topic and a partition of it."""
READERS = 2
"""Questions that run at once: the writer commits 763 times a second beside one, 58 beside eight."""

_OWN = ("owner",)
"""Of the file, and not of the log."""
_IN_ORDER = ("versions",)
"""Tables whose rows' order says which is the newest."""
_BATCH_ROWS = 122_880
"""As many as DuckDB and Parquet keep in one group."""
_OPENED = "asked to open the store's file"
_READ = "asked to read the store's file"
TABLES: dict[str, pa.Schema] = {
    "offsets": pa.schema([("topic", pa.string()), ("partition", pa.int32()), ("next", pa.int64())]),
    "panes": pa.schema(
        [
            ("name", pa.string()),
            ("shard", pa.int32()),
            ("complete", pa.int64()),
            ("rows", pa.int64()),
            ("unkeyed", pa.int64()),
            ("began", pa.int64()),
        ]
    ),
    "dead_letters": pa.schema(
        [
            ("source", pa.string()),
            ("topic", pa.string()),
            ("partition", pa.int32()),
            ("offset", pa.int64()),
            ("reason", pa.string()),
            ("payload", pa.binary()),
        ]
    ),
    "late_rows": pa.schema(
        [
            ("source", pa.string()),
            ("topic", pa.string()),
            ("partition", pa.int32()),
            ("offset", pa.int64()),
            ("at", pa.int64()),
            ("watermark", pa.int64()),
            ("payload", pa.binary()),
        ]
    ),
    "gaps": pa.schema(
        [
            ("topic", pa.string()),
            ("partition", pa.int32()),
            ("first", pa.int64()),
            ("next", pa.int64()),
        ]
    ),
    "models": pa.schema(
        [
            ("number", pa.int64()),
            ("parent", pa.int64()),
            ("through", pa.int64()),
            ("kind", pa.string()),
            ("metrics", pa.string()),
        ]
    ),
    "metrics": pa.schema(
        [
            ("at", pa.int64()),
            ("name", pa.string()),
            ("value", pa.float64()),
            ("slice_of", pa.string()),
            ("slice", pa.string()),
            ("cause", pa.string()),
        ]
    ),
    "versions": pa.schema(
        [
            ("kind", pa.string()),
            ("name", pa.string()),
            ("identity", pa.string()),
            ("since", pa.int64()),
        ]
    ),
    "owner": pa.schema(
        [
            ("epoch", pa.int64()),
            ("pid", pa.int64()),
            ("commits", pa.int64()),
            ("writes_as", pa.string()),
        ]
    ),
}
"""What is in every file, whatever its pipeline declares."""
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
    new
        Whether it may be one that is not there yet.

    Raises
    ------
    StoreError
        Where another process has the file, or it is not there and was to be.
    CorruptError
        Where the file's bytes are not what was written.
    EnvironmentProblem
        Where the disk is full.

    """

    def __init__(self, path: Path, *, new: bool = True) -> None:
        self.path = path
        if not new and not path.exists():
            asked = f"asked to open the store's file '{path}'"
            raise StoreError(asked, "it is not there", "start the pipeline, or give its --state")
        self._writing = threading.Lock()
        self._asking = threading.BoundedSemaphore(READERS)
        self._made: dict[str, Callable[[], pa.Table]] = {}
        self._lent: dict[str, Lent] = {}
        self._inside = False
        self._moved: dict[Place, int] = {}
        self._epoch = 0
        self._connection = _open(path)
        try:
            with explained(path, _OPENED):
                self._begin_epoch()
        except (duckdb.Error, HeadraceError):
            self._connection.close()
            raise

    def _begin_epoch(self) -> None:
        """Make the tables, and take the file from whoever had it before."""
        for name, schema in TABLES.items():
            self.create(name, schema)
        self._connection.execute(
            "INSERT INTO owner SELECT 0, 0, 0, NULL WHERE NOT EXISTS (SELECT * FROM owner)"
        )
        self._connection.execute("UPDATE owner SET epoch = epoch + 1, pid = ?", [os.getpid()])
        [(self._epoch,)] = self._connection.execute("SELECT epoch FROM owner").fetchall()
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

    def writes_as(self) -> tuple[str, bool]:
        """Name this file among all that the log is written from; say if it had the name before."""
        [(name,)] = self._connection.execute("SELECT writes_as FROM owner").fetchall()
        if name is not None:
            return name, True
        name = secrets.token_hex(8)
        with self.transaction():
            self._connection.execute("UPDATE owner SET writes_as = ?", [name])
        return name, False

    def show(self, name: str, table: str) -> None:
        """Let `name`, ``schema.name``, be a table as it is now, whatever it showed before."""
        self._space(name)
        self._connection.execute(
            f"CREATE OR REPLACE VIEW {_quoted(name)} AS SELECT * FROM {_quoted(table)}"
        )

    def hide(self, space: str, keep: Collection[str]) -> None:
        """Remove what `show` made in a schema, but for some."""
        shown = self._connection.execute(
            "SELECT view_name FROM duckdb_views() WHERE schema_name = ?", [space]
        ).fetchall()
        for (name,) in shown:
            if name not in keep:
                self._connection.execute(f"DROP VIEW {quote(space)}.{quote(name)}")

    def forget(self, version: str, tables: Sequence[str]) -> None:
        """Remove a version of a view or of events: its tables, what shows them or is noted."""
        with self.transaction():
            shown = self._connection.execute(
                "SELECT schema_name, view_name FROM duckdb_views() WHERE contains(sql, ?)",
                [f'"{version}'],
            ).fetchall()
            for space, name in shown:
                self._connection.execute(f"DROP VIEW {quote(space)}.{quote(name)}")
            for table in tables:
                self._connection.execute(f"DROP TABLE {_quoted(table)}")
            for table, column in (("versions", "name"), ("panes", "name"), ("offsets", "topic")):
                self._connection.execute(f"DELETE FROM {table} WHERE {column} = ?", [version])
        self.checkpoint()

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
        with explained(self.path, "asked to checkpoint the store's file"):
            self._connection.execute("CHECKPOINT")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what is written inside, or nothing of it.

        The only COMMIT there is: after a failed statement DuckDB's own would answer success and
        roll back, so an error that was caught inside is raised again here. When it returns, the
        offsets that `advance` moved were read again from what was committed.

        Raises
        ------
        StoreError
            Where another process has taken the file, or what was committed is not what was asked.
        EnvironmentProblem
            Where the disk is full.

        """
        asked = "asked to commit to the store's file"
        with self._writing, explained(self.path, asked):
            self._connection.execute("BEGIN")
            self._inside, self._moved, written = True, {}, False
            try:
                yield
                self._check_owner(asked)
                written = True
            finally:
                self._inside = False
                self._connection.execute("COMMIT" if written else "ROLLBACK")
            self._check_committed(asked)

    def _check_owner(self, asked: str) -> None:
        """Count the commit as this process's; a zombie's is refused, here or by the conflict."""
        # A change that changes nothing takes no lock: two processes would both pass.
        [(counted,)] = self._connection.execute(
            "UPDATE owner SET commits = commits + 1 WHERE epoch = ?", [self._epoch]
        ).fetchall()
        if counted != 1:
            [(pid,)] = self._connection.execute("SELECT pid FROM owner").fetchall()
            found = f"process {pid} has taken it since"
            asked = f"{asked} '{self.path}'"
            raise StoreError(asked, found, "leave one store process running")

    def _check_committed(self, asked: str) -> None:
        """Read the offsets again: DuckDB's COMMIT has answered success and rolled back before."""
        known = self.offsets() if self._moved else {}
        for place, following in self._moved.items():
            if known.get(place) != following:
                found = f"after COMMIT {place} is at {known.get(place)}, and not at {following}"
                asked = f"{asked} '{self.path}'"
                raise StoreError(asked, found, "start this process again")

    def append(self, table: str, rows: pa.Table) -> None:
        """Append rows by the names of their columns; inside a transaction."""
        if not self._inside:
            asked, found = f"asked to append to {table!r}", "no transaction is open"
            raise StoreError(asked, found, "write it inside transaction()")
        if rows.num_rows == 0:
            return
        with registered(self._connection, "appended", rows):
            self._connection.execute(f"INSERT INTO {_quoted(table)} BY NAME SELECT * FROM appended")

    def missing(self, table: str, rows: pa.Table, by: str) -> int:
        """Count the rows that `table` has not, of those given; inside a transaction it sees all.

        `by` is a column of numbers: only the part of the table that is in its range is looked at.
        """
        if rows.num_rows == 0:
            return 0
        names = ", ".join(map(quote, rows.column_names))
        bounds = f"SELECT MIN({quote(by)}) AS low, MAX({quote(by)}) AS high FROM sought"
        with registered(self._connection, "sought", rows):
            [(count,)] = self._connection.execute(
                f"SELECT COUNT(*) FROM (SELECT {names} FROM sought EXCEPT SELECT {names} FROM "
                f"{_quoted(table)}, ({bounds}) WHERE {quote(by)} BETWEEN low AND high)"
            ).fetchall()
        return int(count)

    def offsets(self) -> dict[Place, int]:
        """Give the next offset of every partition read so far."""
        query = "SELECT topic, partition, next FROM offsets"
        with explained(self.path, _READ):
            rows = self._connection.execute(query).fetchall()
        return {(topic, partition): following for topic, partition, following in rows}

    def advance(self, moved: Mapping[Place, tuple[int, int]]) -> None:
        """Move offsets from where this process read on to the next; inside a transaction.

        Raises
        ------
        StoreError
            Where an offset is not what this process left: another writer was here.

        """
        if not moved:
            return
        known = self.offsets()
        for (topic, partition), (was, _) in moved.items():
            if known.get((topic, partition)) != was:
                asked = f"asked to move '{topic}' partition {partition} on from offset {was}"
                found = "the file says otherwise: another process wrote to it"
                raise StoreError(asked, found, "leave one store process running, restart it")
        rows = {
            "topic": [topic for topic, _ in moved],
            "partition": [partition for _, partition in moved],
            "next": [following for _, following in moved.values()],
        }
        with registered(self._connection, "moved", pa.table(rows, TABLES["offsets"])):
            self._connection.execute(
                "UPDATE offsets SET next = moved.next FROM moved "
                "WHERE offsets.topic = moved.topic AND offsets.partition = moved.partition"
            )
        self._moved |= {place: following for place, (_, following) in moved.items()}

    def begin(self, places: list[Place]) -> None:
        """Start partitions that were never read at offset 0."""
        known = self.offsets()
        new = [place for place in places if place not in known]
        names, partitions = [p[0] for p in new], [p[1] for p in new]
        rows = {"topic": names, "partition": partitions, "next": [0] * len(new)}
        with self.transaction():
            self.append("offsets", pa.table(rows, TABLES["offsets"]))

    def complete(
        self, name: str, shard: int, *, end: int, rows: int, unkeyed: int, began: int = 0
    ) -> None:
        """Note that a shard's panes are complete to `end`; inside a transaction.

        Those up to `began`, said the first time, are not the stream's.
        """
        [(changed,)] = self._connection.execute(
            "UPDATE panes SET complete = ?, rows = rows + ?, unkeyed = unkeyed + ? "
            "WHERE name = ? AND shard = ?",
            [end, rows, unkeyed, name, shard],
        ).fetchall()
        if changed == 0:
            self._connection.execute(
                "INSERT INTO panes VALUES (?, ?, ?, ?, ?, ?)",
                [name, shard, end, rows, unkeyed, began],
            )

    @contextmanager
    def beside(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Give a cursor for queries over what is in memory: it is in no transaction."""
        with closing(self._connection.cursor()) as cursor, explained(self.path, _READ):
            yield cursor

    def read(self, query: str, parameters: list[object] | None = None) -> pa.Table:
        """Run a query of ours on its own cursor: it sees what is committed."""
        with self.beside() as cursor:
            return cursor.sql(query, params=parameters or None).to_arrow_table()

    def tables(self) -> list[str]:
        """Name the tables of the log, as ``name`` or ``schema.name``: all but whose the file is."""
        rows = self.read("SELECT schema_name AS space, table_name AS name FROM duckdb_tables()")
        names = (
            each["name"] if each["space"] == "main" else f"{each['space']}.{each['name']}"
            for each in rows.to_pylist()
        )
        return sorted(name for name in names if name not in _OWN)

    @contextmanager
    def snapshot(self) -> Iterator[Callable[[str], pa.RecordBatchReader]]:
        """Read whole tables as of one moment: each sorted by time, then by all of its columns.

        That of versions stays in its order. Each reader is to be used up before the next table is
        asked for.
        """
        with closing(self._connection.cursor()) as cursor, explained(self.path, _READ):

            def read(table: str) -> pa.RecordBatchReader:
                names = cursor.sql(f"SELECT * FROM {_quoted(table)} LIMIT 0").columns
                times = [name for name in ("end", "at") if name in names]
                order = ", ".join(map(quote, dict.fromkeys([*times, *names])))
                if table in _IN_ORDER:
                    order = "rowid"
                rows = cursor.sql(f"SELECT * FROM {_quoted(table)} ORDER BY {order}")
                return rows.to_arrow_reader(_BATCH_ROWS)

            cursor.begin()
            try:
                yield read
            finally:
                cursor.rollback()

    def take(self, other: Catalogue) -> None:
        """Take in every table of another file, in its own order, group by group."""
        made = other.read("SELECT schema_name AS space, sql FROM duckdb_tables()").to_pylist()
        for each in made:
            self._connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quote(each['space'])}")
            statement = each["sql"].replace("CREATE TABLE ", "CREATE TABLE IF NOT EXISTS ", 1)
            self._connection.execute(statement)
        self.checkpoint()
        with other.snapshot() as read:
            for table in other.tables():
                for batch in read(table):
                    with self.transaction():
                        self.append(table, pa.Table.from_batches([batch]))
        self.checkpoint()

    def offer(self, table: str, make: Callable[[], pa.Table]) -> None:
        """Let questions see a table that is made when one names it, and kept nowhere."""
        self._made[table] = make

    def lend(self, table: str, *names: str, rows: Callable[[], pa.Table]) -> None:
        """Let questions that name a table, so or by one of `names`, see rows that others have.

        They are in it while a question is answered, and for it alone.
        """
        self._lent[_quoted(table)] = Lent(frozenset(n.lower() for n in (table, *names)), rows)

    def select(self, query: str, limits: Limits | None = None, *, empty: bool = False) -> pa.Table:
        """Answer a user's question on a cursor of its own, in whole; it sees what is committed.

        `empty` gives no row of it: what columns there are.

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
            with closing(self._connection.cursor()) as cursor, _forgotten(cursor, self._lent):
                schema, batches = answer(
                    cursor, query, limits, made=self._made, lent=self._lent, empty=empty
                )
                return pa.Table.from_batches(batches, schema)
        finally:
            self._asking.release()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


@contextmanager
def _forgotten(cursor: duckdb.DuckDBPyConnection, lent: Collection[str]) -> Iterator[None]:
    """Roll back what is lent to a question."""
    if not lent:
        yield
        return
    cursor.begin()
    try:
        yield
    finally:
        cursor.rollback()


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
    with explained(path, _OPENED):
        connection = duckdb.connect(str(path), config=settings)
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection
