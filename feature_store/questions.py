"""What a user may ask of the store: one SELECT over its tables, within limits.

::

    text ─► length, brackets ─► DuckDB's parse tree ─► tables and functions by name ─► run, watched

The file's own settings keep files, the network and settings away; they are not enough. Some
functions take a pointer, run a text as SQL or wait; some make gigabytes of one small row, between
two looks at an interrupt. So a question's functions and tables are looked up before it runs.

A call that is let through and multiplies text (REPLACE in REPLACE) can still pass the memory that a
question may take before the watch sees it: a limit of the machine's is the last bound.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pyarrow as pa

from headrace.feature_store.registered import registered
from headrace.operators.errors import StoreError, UnknownName

__all__ = ["Busy", "Limits", "answer"]


@dataclass(frozen=True)
class Limits:
    """How much one question may take.

    Parameters
    ----------
    rows, size_bytes
        Of the answer: more is an error, never an answer that is cut.
    seconds
        Of running: a reader that goes on keeps the file from being checkpointed.
    growth_bytes
        How much the process may grow while it runs.

    """

    rows: int = 10_000_000
    size_bytes: int = 512 << 20
    seconds: float = 30.0
    growth_bytes: int = 2 << 30


@dataclass(frozen=True)
class Lent:
    """Rows of a table that others have: the names by which it is asked for, what fetches them."""

    names: frozenset[str]
    rows: Callable[[], pa.Table]


class Busy(StoreError):
    """As many questions as may run at once are running."""


_MOST_CHARACTERS = 65_536
_MOST_BRACKETS, _MOST_OPENED = 100, 1_000
"""How deep, and how many: DuckDB's parser cannot be interrupted, and takes 1.6 s where 1,000 open
and none closes, 8 s for 2,000. What closes one may be in a text, where it closes none."""
_MOST_COLUMNS = 1_000
"""Binding takes their square, and cannot be interrupted: 1 s for 2,000, 15 s for 8,000."""
_LOOK_SECONDS = 0.02
_BATCH_ROWS = 65_536


def _words(text: str) -> list[str]:
    return text.split()


_TABLE_FUNCTIONS = frozenset(
    _words(
        "duckdb_columns duckdb_functions duckdb_keywords duckdb_schemas duckdb_tables duckdb_types "
        "duckdb_views generate_series histogram histogram_values icu_calendar_names json_each "
        "json_tree pg_timezone_names pragma_table_info range regexp_split_to_table unnest"
    )
)
_INFORMATION = ("columns", "schemata", "tables", "views")
_REFUSED = {
    # It looks outside the question, or changes something.
    **dict.fromkeys(
        _words(
            "current_setting getenv getvariable json_execute_serialized_sql nextval currval setval "
            "setseed write_log query query_table"
        ),
        "it reaches beyond the store's tables",
    ),
    # One call keeps a thread and cannot be interrupted.
    **dict.fromkeys(_words("pg_sleep sleep_ms"), "it only waits"),
    # They read what a text says is in memory.
    **dict.fromkeys(
        _words("combine combine_aggr finalize to_aggregate_state"), "its argument is not checked"
    ),
    # One row of them is as large as a number says.
    **dict.fromkeys(
        _words(
            "array_resize bar bitstring equi_width_bins format generate_series generate_subscripts "
            "list_resize lpad printf range repeat rpad"
        ),
        "it makes one value as large as a number says",
    ),
}
_INSTEAD = {"range": "ask FROM range(…)", "generate_series": "ask FROM generate_series(…)"}


def answer(
    cursor: duckdb.DuckDBPyConnection,
    query: str,
    limits: Limits,
    *,
    made: Mapping[str, Callable[[], pa.Table]],
    lent: Mapping[str, Lent],
    empty: bool = False,
) -> tuple[pa.Schema, list[pa.RecordBatch]]:
    """Answer a question in whole, or only its form; nothing of it runs on when this returns.

    `made` are tables that are made where the question names them, in the time that it has; `lent`
    by table what is put into it, where the question reaches it. The caller rolls that back.

    Raises
    ------
    StoreError
        Where it is no single SELECT, uses what is not for questions, is wrong, or takes too much.
    UnknownName
        Where there is no such table, or view of features.

    """
    asked = f"asked for {query.strip()[:200]!r}"
    used = _check(cursor, asked, query, made)
    # Inside brackets nothing can write: DELETE in a WITH must stand at the top. Lines of its own,
    # for the query may end in a comment.
    one = query.strip().rstrip(";")
    bounded = f"SELECT * FROM (\n{one}\n) LIMIT {0 if empty else limits.rows + 1}"
    with _Watch(cursor.interrupt, limits) as watch:
        try:
            for name in made.keys() & set(map(_table, used.tables)):
                cursor.register(name, made[name]())
            if not empty:
                _borrow(cursor, used, lent)
            reader = cursor.sql(bounded).to_arrow_reader(_BATCH_ROWS)
            return reader.schema, _read(asked, reader, limits)
        except (duckdb.Error, pa.ArrowException) as error:
            if watch.found:
                raise StoreError(asked, watch.found, "ask for less, or an aggregate") from error
            raise StoreError(asked, _said(error), "mend the query") from error


def _borrow(cursor: duckdb.DuckDBPyConnection, used: _Used, lent: Mapping[str, Lent]) -> None:
    named = {*map(_table, used.tables), *map(".".join, used.table_functions)}
    for table, each in lent.items():
        if named & each.names:
            with registered(cursor, "lent", each.rows()):
                cursor.execute(f"INSERT INTO {table} BY NAME SELECT * FROM lent")


def _read(asked: str, reader: pa.RecordBatchReader, limits: Limits) -> list[pa.RecordBatch]:
    batches: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in reader:
        batches.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
        if rows > limits.rows or size > limits.size_bytes:
            found = f"the answer has more than {limits.rows} rows"
            if rows <= limits.rows:
                found = f"the answer has more than {limits.size_bytes >> 20} MiB"
            raise StoreError(asked, found, "ask for an aggregate, or add a LIMIT")
    return batches


def _check(
    cursor: duckdb.DuckDBPyConnection, asked: str, query: str, made: Collection[str]
) -> _Used:
    """Refuse what is no question, before anything of it runs; give the names in it."""
    if len(query) > _MOST_CHARACTERS:
        found = f"it has {len(query)} characters, and {_MOST_CHARACTERS} are read"
        raise StoreError(asked, found, "ask a shorter question")
    deepest, opened = _brackets(query)
    if deepest > _MOST_BRACKETS:
        found = f"its brackets are nested deeper than {_MOST_BRACKETS}"
        raise StoreError(asked, found, "ask a simpler question")
    if opened > _MOST_OPENED:
        found = f"{opened} brackets open in it, and {_MOST_OPENED} are read"
        raise StoreError(asked, found, "ask a simpler question")
    try:
        query.encode()
        (text,) = cursor.execute("SELECT json_serialize_sql(?)", [query]).fetchall()[0]
    except (duckdb.Error, UnicodeEncodeError) as error:
        raise StoreError(asked, _said(error), "mend the query") from error
    parsed = orjson.loads(text)
    if parsed["error"] and parsed.get("error_type") != "not implemented":
        raise StoreError(asked, _one_line(parsed["error_message"]), "mend the query")
    if parsed["error"] or len(parsed["statements"]) != 1:
        raise StoreError(asked, "that is not one SELECT", "ask one question, change nothing")
    used = _Used(parsed)
    if used.columns > _MOST_COLUMNS:
        found = f"it selects {used.columns} columns, and {_MOST_COLUMNS} are answered"
        raise StoreError(asked, found, "ask for fewer")
    for name in sorted(used.functions & _REFUSED.keys()):
        found = f"{name}() is not for questions: {_REFUSED[name]}"
        raise StoreError(asked, found, _INSTEAD.get(name, "ask without it"))
    _known_functions(cursor, asked, used)
    _known_tables(cursor, used, made)
    return used


def _brackets(query: str) -> tuple[int, int]:
    """Say how deep brackets are nested, and how many open; those in texts count like others."""
    deep = deepest = opened = 0
    for character in query:
        if character in "([{":
            deep, opened = deep + 1, opened + 1
            deepest = max(deep, deepest)
        elif character in ")]}":
            deep -= 1
    return deepest, opened


def _known_functions(cursor: duckdb.DuckDBPyConnection, asked: str, used: _Used) -> None:
    others = {path[-1] for path in used.table_functions if path[:-1] != ("features",)}
    for name in sorted(others - _TABLE_FUNCTIONS):
        found = f"{name}() is no table of the store"
        raise StoreError(asked, found, "ask its tables: headrace sql completes their names")
    wanted = {path[-1] for path in used.table_functions if path[:-1] == ("features",)}
    if not wanted:
        return  # DuckDB takes 20 ms to list its functions
    known = _names(
        cursor,
        "SELECT DISTINCT function_name FROM duckdb_functions() "
        "WHERE schema_name = 'features' AND function_type = 'table_macro'",
    )
    for name in sorted(wanted - known):
        raise UnknownName(kind="view of features", name=name, known=known)


def _known_tables(cursor: duckdb.DuckDBPyConnection, used: _Used, made: Collection[str]) -> None:
    known = _names(
        cursor,
        "SELECT CASE schema_name WHEN 'main' THEN name ELSE schema_name || '.' || name END FROM ("
        "SELECT schema_name, table_name AS name FROM duckdb_tables() UNION ALL "
        "SELECT schema_name, view_name FROM duckdb_views() WHERE NOT internal)",
    )
    known |= {*made} | {f"information_schema.{name}" for name in _INFORMATION}
    for path in used.tables:
        name = _table(path)
        if name not in known and name not in used.ctes:
            raise UnknownName(kind="table", name=name, known=sorted(known))


def _names(cursor: duckdb.DuckDBPyConnection, query: str) -> set[str]:
    return {name.lower() for (name,) in cursor.execute(query).fetchall()}


class _Used:
    """The names in a parse tree, in lower case: DuckDB compares them so."""

    def __init__(self, tree: object) -> None:
        self.functions: set[str] = set()
        self.table_functions: set[tuple[str, ...]] = set()
        self.tables: set[tuple[str, ...]] = set()
        self.ctes: set[str] = set()
        self.columns = 0
        waiting = [tree]
        while waiting:
            node = waiting.pop()
            if isinstance(node, dict):
                waiting.extend(self._node(node))
            elif isinstance(node, list):
                waiting.extend(node)

    def _node(self, node: dict[str, Any]) -> Iterator[object]:
        """Note what a node names; give its parts."""
        if node.get("type") == "TABLE_FUNCTION" and "function" in node:
            function = node["function"]
            self.table_functions.add(_path(function))
            yield from (value for key, value in node.items() if key != "function")
            yield function.get("arguments", function.get("children"))
            return
        if node.get("type") == "BASE_TABLE":
            self.tables.add(_path(node))
        if "function_name" in node:
            self.functions.add(str(node["function_name"]).lower())
        self.columns = max(self.columns, len(node.get("select_list") or ()))
        if "cte_map" in node:
            self.ctes |= {str(each["key"]).lower() for each in node["cte_map"]["map"]}
        if "cte_name" in node:
            self.ctes.add(str(node["cte_name"]).lower())
        yield from node.values()


def _path(node: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(part).lower() for part in node["qualified_name"]["path"])


def _table(path: tuple[str, ...]) -> str:
    return ".".join(path[1:] if len(path) > 1 and path[0] == "main" else path)


class _Watch:
    """Interrupts a question that takes too long or makes the process grow too much.

    Again and again, for an interrupt before the question has begun is lost.
    """

    def __init__(self, interrupt: Callable[[], None], limits: Limits) -> None:
        self.found = ""
        self._interrupt, self._limits = interrupt, limits
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, name="question", daemon=True)

    def __enter__(self) -> _Watch:
        self._start_bytes = _resident_bytes()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        waited = 0.0
        while not self._done.wait(_LOOK_SECONDS):
            waited += _LOOK_SECONDS
            if waited > self._limits.seconds:
                self.found = f"it took more than {self._limits.seconds:g} seconds"
            elif _resident_bytes() - self._start_bytes > self._limits.growth_bytes:
                self.found = f"it took more than {self._limits.growth_bytes >> 20} MiB of memory"
            if self.found:
                self._interrupt()


def _resident_bytes() -> int:
    """Give the memory that this process has now; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * 4096
    except OSError:
        return 0


def _said(error: Exception) -> str:
    """Give what DuckDB says in one line, without the query that it points into."""
    return _one_line(str(error).partition("\n\nLINE ")[0])


def _one_line(text: str) -> str:
    return " ".join(text.split())
