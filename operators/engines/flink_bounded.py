"""Flink SQL over sources that end: a range of each topic, rows of files; what is made is files.

::

    topic, from offset to offset ─► <source>__log … as ever ─┐
                                                             ├─► <source> ─► views ─► files
    rows of files, checked, by their running high ───────────┘

Rows of files come as one file that cannot be split, in the order of the running maximum of `at` in
their own file: so no watermark passes a row that is not late by the rule. A reader of many files
would finish one, and hold the next for late.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from headrace.operators.engines.flink import Kafka, interval, source_sql, text
from headrace.operators.source import Source

__all__ = ["HIGHS", "Bounded", "bounded_sql", "high_sql"]

HIGHS = "highs"
"""The folder of how far each partition came: source, partition, at; the greatest counts."""
_DAY_MS = 86_400_000


@dataclass(frozen=True)
class Bounded(Kafka):
    """Topics that are read from offset to offset, and folders that are written.

    Parameters
    ----------
    begins, ends
        Of each topic, by partition: the first offset that is read, and the first that is not.
    folder
        The URI below which the folders are.

    """

    begins: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    ends: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    folder: str = ""

    def reads(self, source: Source) -> bool:
        """Say whether there is a range of a source's topic."""
        return source.live and source.topic in self.begins

    def reading(self, topic: str, idle_ms: int) -> str:
        """Print the WITH clause of a table that reads a range of a topic; no partition is idle."""
        del idle_ms
        return self._clause(
            {
                "connector": "kafka",
                "topic": topic,
                "format": "raw",
                "scan.startup.mode": "specific-offsets",
                "scan.startup.specific-offsets": _offsets(self.begins[topic]),
                "scan.bounded.mode": "specific-offsets",
                "scan.bounded.specific-offsets": _offsets(self.ends[topic]),
                "properties.auto.offset.reset": "none",
                "properties.isolation.level": "read_committed",
                "scan.watermark.emit.strategy": "on-event",
            }
        )

    def writing(self, topic: str, key: str | None = None) -> str:
        """Print the WITH clause of a table that writes JSON lines into a folder."""
        del key
        return f"WITH {_json(f'{self.folder}/{topic}')}"


def _offsets(offsets: Mapping[int, int]) -> str:
    """Print offsets by partition.

    >>> _offsets({0: 5, 1: 0})
    'partition:0,offset:5;partition:1,offset:0'
    """
    return ";".join(f"partition:{place},offset:{n}" for place, n in sorted(offsets.items()))


def _json(path: str) -> str:
    return f"('connector' = 'filesystem', 'path' = {text(path)}, 'format' = 'json')"


def bounded_sql(source: Source, bounded: Bounded, rows: str | None) -> list[str]:
    """Print the statements that define `source`; `rows` is the URI of the rows of its files.

    Without them its topic is read; with them that, too, where there is a range of it.
    """
    if rows is None:
        return source_sql(source, bounded)
    statements = _files_sql(source, rows)
    parts = [f"`{source.name}__rows`"]
    if bounded.reads(source):
        statements += source_sql(_live(source), bounded)
        parts.append(f"`{_live(source).name}`")
    names = ("partition", "offset", "at", "rowtime", *_written(source), *source.computed)
    columns = ", ".join(f"`{name}`" for name in names)
    union = " UNION ALL ".join(f"SELECT {columns} FROM {part}" for part in parts)
    return [*statements, f"CREATE TEMPORARY VIEW `{source.name}` AS {union}"]


def high_sql(source: Source, *, of_files: bool) -> str:
    """Print the query for how far each partition of a source's topic came, a row for each day."""
    checked = (_live(source) if of_files else source).name
    return (
        f"SELECT {text(source.name)}, `partition`, MAX(`at`) FROM `{checked}__checked` "
        f"GROUP BY `partition`, TUMBLE(rowtime, {interval(_DAY_MS)})"
    )


def _live(source: Source) -> Source:
    """Give the part of a source that its topic has, under a name of its own."""
    return replace(source, name=f"{source.name}__live")


def _written(source: Source) -> list[str]:
    return [column.name for column in source.columns]


def _files_sql(source: Source, rows: str) -> list[str]:
    types = {"at": "BIGINT", **{name: source.types[name].flink for name in _written(source)}}
    columns = ", ".join(f"`{name}` {kind}" for name, kind in types.items())
    table = (
        f"CREATE TEMPORARY TABLE `{source.name}__file` (`partition` INT, `offset` BIGINT, "
        f"{columns}, rowtime AS TO_TIMESTAMP_LTZ(`at`, 3), "
        f"WATERMARK FOR rowtime AS rowtime - {interval(source.lateness_ms + 1)}) WITH {_json(rows)}"
    )
    derived = "".join(f", {e.sql('flink')} AS `{name}`" for name, e in source.computed.items())
    names = ", ".join(f"`{name}`" for name in ("partition", "offset", "rowtime", *types))
    view = f"CREATE TEMPORARY VIEW `{source.name}__rows` AS SELECT {names}{derived} "
    return [table, f"{view}FROM `{source.name}__file`"]
