"""Streams as Flink SQL: the rows of each, its dead letters, and how far it is complete.

Panes of a view over a stream fire at the merged watermark of the sources below it; a stream that
has no row still moves, for the progress of its sources is its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from headrace.operators.engines.flink import interval, missing_key, pane_end, text
from headrace.operators.engines.flink_rows import place_sql
from headrace.operators.streams.operator import Dialect, Types
from headrace.operators.streams.stream import Leaf, Stream, print_stream, roots
from headrace.operators.view import View

__all__ = ["FLINK", "refused_sql", "stream_progress_sql", "stream_sql"]


class _Flink(Dialect):
    engine = "flink"
    carried = ("partition", "offset", "at", "rowtime")
    place = f"CONCAT({place_sql()})"

    def quote(self, name: str) -> str:
        """Quote an identifier."""
        return f"`{name}`"

    def relation(self, name: str) -> str:
        """Name the view of the events of a source or a stream."""
        return f"`{name}`"

    def since(self, keys: Sequence[str], before_ms: int | None) -> str:
        """Print a window over the event time."""
        # With a low end Flink 2.3 passes over rows at 0 and before; without, it does not.
        low = "UNBOUNDED" if before_ms is None else interval(before_ms)
        return (
            f"OVER (PARTITION BY {', '.join(keys)} ORDER BY rowtime "
            f"RANGE BETWEEN {low} PRECEDING AND CURRENT ROW)"
        )


FLINK = _Flink()


def stream_sql(stream: Stream) -> list[str]:
    """Print the statements that define a stream over the views of its inputs."""
    queries = print_stream(stream, FLINK).queries
    return [
        f"CREATE TEMPORARY VIEW {FLINK.relation(name)} AS\n{query}"
        for name, query in queries.items()
    ]


def refused_sql(stream: Stream) -> list[str]:
    """Print the queries for the stream's dead letters; none where nothing can fail.

    A message is the row as it stood, in JSON; its headers are those of its source's dead letters:
    source, topic, partition and offset where it came from, and the reason.
    """
    facts = {
        "source": _by_leaf(stream.leaves, lambda leaf: text(leaf.source.name)),
        "topic": _by_leaf(stream.leaves, lambda leaf: text(leaf.source.topic)),
        "partition": _by_leaf(
            stream.leaves, lambda leaf: f"CAST(`partition` / {leaf.n} AS STRING)"
        ),
        "offset": "CAST(`offset` AS STRING)",
        "reason": "reason",
    }
    pairs = ", ".join(f"{text(key)}, CAST({value} AS BYTES)" for key, value in facts.items())
    return [
        f"SELECT CAST({_row(types)} AS BYTES), MAP[{pairs}] FROM `{name}` WHERE reason IS NOT NULL"
        for name, types in print_stream(stream, FLINK).refused.items()
    ]


def _by_leaf(leaves: Sequence[Leaf], said: Callable[[Leaf], str]) -> str:
    if not leaves[1:]:
        return said(leaves[0])
    branches = (f"WHEN MOD(`partition`, {leaf.n}) = {leaf.i} THEN {said(leaf)}" for leaf in leaves)
    return f"CASE {' '.join(branches)} END"


def _row(types: Types) -> str:
    return (
        f"JSON_OBJECT({', '.join(f'{text(name)} VALUE `{name}`' for name in types)} NULL ON NULL)"
    )


def stream_progress_sql(stream: Stream, every_ms: int, views: Sequence[View]) -> str:
    """Print the count per pane of a stream's rows, and the panes of the sources below it."""
    unkeyed = "".join(
        f", COUNT(CASE WHEN {missing_key(view)} THEN 1 END) AS `unkeyed_{view.name}`"
        for view in views
    )
    nothing = "".join(f", CAST(0 AS BIGINT) AS `unkeyed_{view.name}`" for view in views)
    step = interval(every_ms)
    counts = (
        f"SELECT TUMBLE_ROWTIME(rowtime, {step}) AS pane_time, {pane_end(every_ms)} AS pane, "
        f"COUNT(*) AS n{unkeyed} FROM `{stream.name}` GROUP BY TUMBLE(rowtime, {step})"
    )
    beats = [
        f"SELECT pane_time, pane, CAST(0 AS BIGINT) AS n{nothing} FROM `{source.name}__progress`"
        for source in roots(stream)
    ]
    union = " UNION ALL ".join([counts, *beats])
    return f"CREATE TEMPORARY VIEW `{stream.name}__progress` AS\n{union}"
