"""What a source is: a topic or files of events with a schema, an event time, a rule of lateness.

Every engine puts a source's rows through the same three steps::

    bytes ─► parse ─► check ─► derive ─► events        at ≥ high − lateness
               │        │                 late rows    at < high − lateness
               └────────┴──► dead letters

With a hand-over (`live_from_ms`) the rows before it are those of the files and the others those of
the topic: each refuses what the other has, the topic as late.

`high` is the running maximum of `at` over the partition's rows up to this one, by offset: lateness
is a function of the log alone, never of the clock or of a merged watermark.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from headrace.operators.expression import Expression, range_checks
from headrace.operators.functions.function import kept, unsigned_zero
from headrace.operators.types import Type

__all__ = [
    "AT",
    "AT_REASON",
    "FILE_PARTITION",
    "FROM_TOPIC",
    "PLACE",
    "Column",
    "Hidden",
    "Source",
    "check_sql",
    "checks_sql",
    "ranges_sql",
]

AT = "at"
AT_REASON = "at: missing, no whole number of milliseconds, or far ahead"
PLACE = ("partition", "offset")
"""An event's place in the log; (at, partition, offset) is the one total order."""
FILE_PARTITION = 50_000
"""A source's file number k, in the order of their names, is the partition with this number + k."""
FROM_TOPIC = "at: from the hand-over on the topic counts"


@dataclass(frozen=True)
class Column:
    """A column that the producer writes; a row without a required one is a dead letter."""

    name: str
    type: Type
    required: bool = False


@dataclass(frozen=True)
class Hidden:
    """A column that features compute for themselves, such as the values of a ``where``."""

    expression: Expression
    features: tuple[str, ...]
    """Whose it is, by name."""


@dataclass(frozen=True)
class Source:
    """A Kafka topic of JSON objects, read as events.

    Parameters
    ----------
    name
        The name that views, the decision and the outcome use.
    topic
        The Kafka topic.
    columns
        What the producer writes, besides `at` (int64 milliseconds, UTC).
    derived
        Columns computed row by row from `columns`, in order, each by name.
    hidden
        Columns that only features see, by name; a name that nobody can write.
    files
        A path, or a pattern of paths, of files with the same rows; None where there are none.
    live_from_ms
        The hand-over, a step's end: rows of files count before it, those of the topic from it on.
        None without files; with files, that they are all there is.
    lateness_ms
        How far below the highest `at` of its partition an event may be.
    ahead_ms
        How far `at` may be ahead of the broker's own time stamp; beyond it the row is a dead
        letter and moves no watermark.
    idle_ms
        After this much wall time without rows a partition no longer holds the watermark back;
        0 means never, which is right for a replay.
    partitions
        How many partitions the topic has, when headrace creates it.
    keep
        Whether the store keeps its events, for questions; no part of what the source means.

    """

    name: str
    topic: str
    columns: tuple[Column, ...]
    derived: Mapping[str, Expression] = field(default_factory=dict)
    lateness_ms: int = 0
    ahead_ms: int = 86_400_000
    idle_ms: int = 0
    partitions: int = 1
    hidden: Mapping[str, Hidden] = field(default_factory=dict)
    files: str | None = None
    live_from_ms: int | None = None
    keep: bool = True

    @property
    def live(self) -> bool:
        """Say whether its topic is read."""
        return self.files is None or self.live_from_ms is not None

    @property
    def starts_ms(self) -> int:
        """Give the hand-over, before which no row of the topic counts; 0 where there is none."""
        return self.live_from_ms or 0

    def punctual_sql(self, high: str) -> str:
        """Print the time before which a row of the topic is late, from the running maximum."""
        bound = f"{high} - {self.lateness_ms}"
        return f"GREATEST({bound}, {self.starts_ms})" if self.starts_ms else bound

    @property
    def computed(self) -> dict[str, Expression]:
        """Give everything that is computed row by row: derived columns, then hidden ones."""
        return {**self.derived, **{name: each.expression for name, each in self.hidden.items()}}

    def called(self, name: str) -> str:
        """Say what a computed column is, for a dead letter's reason."""
        if name not in self.hidden:
            return f"column {name}"
        return f"feature {', '.join(self.hidden[name].features)}"

    @property
    def types(self) -> dict[str, Type]:
        """Give the type of every column that has a name: `at`, written ones, derived ones."""
        written = {column.name: column.type.held for column in self.columns}
        derived = {name: expression.type for name, expression in self.derived.items()}
        return {AT: Type.INT64, **written, **derived}


def checks_sql(source: Source, quote: Callable[[str], str]) -> tuple[list[str], str]:
    """Print every column's value, and the branches of a CASE that say why a row is refused.

    The columns of the same names hold their JSON texts.

    A row of nothing but its time is a progress event: no column of it is missing.
    """
    texts = [quote(column.name) for column in source.columns]
    present = f"COALESCE({', '.join(texts)}) IS NOT NULL" if len(texts) > 1 else "TRUE"
    pairs = [check_sql(c, text, present) for c, text in zip(source.columns, texts, strict=True)]
    values = [f"{value} AS {text}" for (value, _), text in zip(pairs, texts, strict=True)]
    return values, " ".join(reason for _, reason in pairs if reason)


def ranges_sql(source: Source, engine: str) -> str:
    """Print the branches of a CASE that refuse a row whose derived columns leave their types."""
    branches = []
    for name, expression in source.computed.items():
        checks = list(range_checks(expression, engine))
        if checks:
            beyond = " OR ".join(f"{check} IS FALSE" for check in checks)
            branches.append(f"WHEN {beyond} THEN '{source.called(name)}: out of range'")
    return " ".join(branches)


def check_sql(column: Column, text: str, present: str) -> tuple[str, str]:
    """Print a column's value from its JSON text, and the reason it is refused, in every engine.

    A number must be written the way it is read back, so nothing is rounded or cut: ``1.5`` is no
    int64, and neither is ``007``. NaN and the infinities are refused; −0.0 becomes 0.0.
    `text` is an SQL expression that is NULL where the column is missing; `present` says that the
    row has any column.
    """
    name, missing = column.name, ""
    if column.required:
        missing = f"WHEN {text} IS NULL AND {present} THEN 'column {name}: missing'"
    if column.type is Type.STRING:
        return text, missing
    if column.type is Type.BOOL:
        value, bad = kept(f"{text} = 'true'"), f"{text} NOT IN ('true', 'false')"
    elif column.type.held is Type.INT64:
        value = f"TRY_CAST({text} AS BIGINT)"
        bad = f"{value} IS NULL OR CAST({value} AS {_TEXT}) <> {text}"
        if column.type.limits:
            bad += " OR {} NOT BETWEEN {} AND {}".format(value, *column.type.limits)
    else:
        cast = f"TRY_CAST({text} AS DOUBLE)"
        value = unsigned_zero(cast)
        # The engines' casts also take, one or the other, 1d, 1_000, inf and blanks around.
        form = f"COALESCE(REGEXP_EXTRACT({text}, '{_NUMBER}', 0), '') <> {text}"
        bad = f"{form} OR {cast} IS NULL OR NOT (ABS({cast}) <= 1.7976931348623157E308)"
    refused = f"WHEN {text} IS NOT NULL AND ({bad}) THEN 'column {name}: not {column.type.value}'"
    return value, f"{missing} {refused}".strip()


_TEXT = "VARCHAR(2147483647)"
_NUMBER = "^-?[0-9]+([.][0-9]+)?([eE][+-]?[0-9]+)?$"
