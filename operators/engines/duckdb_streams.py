"""Streams as DuckDB SQL: the rows of each, and those that are refused."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.operators.engines.duckdb import quote
from headrace.operators.streams.operator import Dialect
from headrace.operators.streams.stream import Leaf, Stream, print_stream

__all__ = ["DUCKDB", "refused_sql", "stream_sql"]


class _DuckDB(Dialect):
    engine = "duckdb"
    carried = ("partition", "offset", "at")
    place = '{"at": "at", "p": partition, "o": "offset"}'

    def quote(self, name: str) -> str:
        """Quote an identifier."""
        return quote(name)

    def relation(self, name: str) -> str:
        """Name the table of the events of a source or a stream."""
        return quote(f"events_{name}")

    def since(self, keys: Sequence[str], before_ms: int | None) -> str:
        """Print a window over the times."""
        low = "UNBOUNDED" if before_ms is None else before_ms
        return (
            f'OVER (PARTITION BY {", ".join(keys)} ORDER BY "at" '
            f"RANGE BETWEEN {low} PRECEDING AND CURRENT ROW)"
        )


DUCKDB = _DuckDB()


def stream_sql(stream: Stream) -> list[str]:
    """Print the statements that make ``events_<name>`` of the tables of the stream's inputs."""
    queries = print_stream(stream, DUCKDB).queries
    return [
        f"CREATE {'TABLE' if name == stream.name else 'VIEW'} {DUCKDB.relation(name)} AS {query}"
        for name, query in queries.items()
    ]


def refused_sql(stream: Stream) -> str:
    """Print the query for the stream's dead letters: source, partition, offset there, reason."""
    found = [
        f"SELECT {_source(stream.leaves)} AS source, {_partition(stream.leaves)} AS partition, "
        f'"offset", reason FROM {DUCKDB.relation(name)} WHERE reason IS NOT NULL'
        for name in print_stream(stream, DUCKDB).refused
    ]
    nothing = "SELECT '' AS source, 0 AS partition, 0 AS \"offset\", '' AS reason WHERE FALSE"
    return " UNION ALL ".join(found) or nothing


def _source(leaves: Sequence[Leaf]) -> str:
    names = (f"WHEN partition % {leaf.n} = {leaf.i} THEN '{leaf.source.name}'" for leaf in leaves)
    return f"CASE {' '.join(names)} END"


def _partition(leaves: Sequence[Leaf]) -> str:
    places = (f"WHEN partition % {leaf.n} = {leaf.i} THEN partition // {leaf.n}" for leaf in leaves)
    return f"CASE {' '.join(places)} END"
