"""What a stream is: rows of sources, or of other streams, put through operators.

::

    source ─┐ rows that say nothing
    source ─┴─► but their time are none ─► union ─► step ─► step ─► rows ─► views, decisions
                                              └───────┴──► dead letters: a number out of range
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from headrace.operators.expression import range_checks
from headrace.operators.source import Hidden, Source
from headrace.operators.streams.hidden import Hide
from headrace.operators.streams.operator import Dialect, Step, Types
from headrace.operators.streams.union import Union
from headrace.operators.types import Type

__all__ = [
    "Leaf",
    "Origin",
    "Printed",
    "Stream",
    "lineage",
    "live",
    "print_stream",
    "refusal",
    "required",
    "roots",
    "starts_ms",
]


@dataclass(frozen=True)
class Leaf:
    """A source below a stream: partition P of the stream, where P mod n = i, is its P div n."""

    source: Source
    n: int = 1
    i: int = 0


@dataclass(frozen=True)
class Stream:
    """Rows of `inputs` (several are their union) put through `steps`, one after another.

    Lateness is decided at the sources alone. A progress event, a row of nothing but its time, is
    no row of a stream.
    """

    name: str
    inputs: tuple[Origin, ...]
    steps: tuple[Step, ...] = ()
    hidden: Mapping[str, Hidden] = field(default_factory=dict)
    """Columns that only features see, as a source has them."""

    @property
    def given(self) -> list[Types]:
        """Give the columns before each step, and, last, those of the rows."""
        types = [each.types for each in self.inputs]
        found: list[Types] = [Union().types(types) if types[1:] else types[0]]
        for step in self.steps:
            found.append(step.types(found[-1]))
        return found

    @property
    def types(self) -> dict[str, Type]:
        """Give the type of every column that has a name: `at` and the others."""
        return dict(self.given[-1])

    @property
    def every_step(self) -> tuple[Step, ...]:
        """Give the steps, and the one that computes what is hidden."""
        return (*self.steps, Hide(self.hidden)) if self.hidden else self.steps

    @property
    def leaves(self) -> tuple[Leaf, ...]:
        """Give the sources below, each as often as it is reached."""
        n = len(self.inputs)
        return tuple(
            Leaf(leaf.source, leaf.n * n, leaf.i * n + i)
            for i, each in enumerate(self.inputs)
            for leaf in (each.leaves if isinstance(each, Stream) else (Leaf(each),))
        )


Origin = Source | Stream
"""What has rows: of either, views and decisions are made."""


def roots(origin: Origin) -> tuple[Source, ...]:
    """Give the sources below, each once: they tell how far the rows are complete."""
    if isinstance(origin, Source):
        return (origin,)
    return tuple({leaf.source.name: leaf.source for leaf in origin.leaves}.values())


def live(origin: Origin) -> bool:
    """Say whether the stream sees its rows: of all sources below the topic is read."""
    return all(root.live for root in roots(origin))


def starts_ms(origin: Origin) -> int:
    """Give the time before which files have a part of its rows: the last hand-over below it."""
    return max(root.starts_ms for root in roots(origin))


def lineage(*origins: Origin) -> dict[str, Stream]:
    """Give the streams that are needed to make `origins`, inputs before what is made of them."""
    found: dict[str, Stream] = {}
    for origin in origins:
        if isinstance(origin, Stream):
            found |= lineage(*origin.inputs)
            found[origin.name] = origin
    return found


def required(origin: Origin) -> set[str]:
    """Name the columns that are null in no row."""
    if isinstance(origin, Source):
        return {column.name for column in origin.columns if column.required}
    return set.intersection(*map(required, origin.inputs)) & set(origin.types)


@dataclass
class Printed:
    """A stream's queries by the names of their relations, in order; and those of refused rows.

    A relation of `refused` has ``reason`` besides the rows' columns; it is null where a row is
    none.
    """

    queries: dict[str, str] = field(default_factory=dict)
    refused: dict[str, Types] = field(default_factory=dict)


def print_stream(stream: Stream, dialect: Dialect) -> Printed:
    """Print a stream over the relations of its inputs; the last query is that of its rows."""
    printed = Printed()
    types = stream.given
    parts = [_rows(each, dialect) for each in stream.inputs]
    query = f"SELECT {dialect.columns(types[0])} FROM {parts[0]}"
    if parts[1:]:
        query = Union().sql(parts, types[0], dialect)
    for place, step in enumerate(stream.every_step):
        name = f"{stream.name}__{place}"
        reasons = " ".join(_reasons(stream, step, dialect))
        if reasons:
            printed.queries[name] = query
            checked = f"{name}_checked"
            columns = dialect.columns(types[place])
            printed.queries[checked] = (
                f"SELECT {columns}, CASE {reasons} END AS reason FROM {dialect.relation(name)}"
            )
            printed.refused[checked] = types[place]
            query = f"SELECT {columns} FROM {dialect.relation(checked)} WHERE reason IS NULL"
        query = step.sql(f"({query})", types[place], dialect)
    printed.queries[stream.name] = query
    return printed


def _rows(origin: Origin, dialect: Dialect) -> str:
    """Print the rows of an input: of a source all that say more than their time."""
    relation = dialect.relation(origin.name)
    if isinstance(origin, Stream):
        return relation
    known = " OR ".join(f"{dialect.quote(column.name)} IS NOT NULL" for column in origin.columns)
    return f"(SELECT {dialect.columns(origin.types)} FROM {relation} WHERE {known})"


def _reasons(stream: Stream, step: Step, dialect: Dialect) -> Iterator[str]:
    for what, tree in step.checks().items():
        checks = list(range_checks(tree, dialect.engine))
        if checks:
            beyond = " OR ".join(f"{check} IS FALSE" for check in checks)
            yield f"WHEN {beyond} THEN '{refusal(stream, what)}'"


def refusal(stream: Stream, what: str) -> str:
    """Say why a row is refused.

    >>> refusal(Stream("late", ()), "where")
    'stream late: where: out of range'
    """
    return f"stream {stream.name}: {what}: out of range"
