"""What a view is: a stream grouped by a key, kept in tiles, and the features read from them.

The one rule of time: the value of a feature at t is computed from the events with
b − W ≤ at < b, where b = ⌊t / every⌋ · every. A tile that ends at e holds the events with
e − every ≤ at < e, so a window is the tiles with b − W < e ≤ b.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

import pyarrow as pa

from headrace.operators.aggregates import Aggregate, Bins, Ends, Newest, Partial
from headrace.operators.decay import MOST_HALF_LIVES
from headrace.operators.streams.stream import Origin
from headrace.operators.types import Type

__all__ = ["END", "NEWEST_AT", "NEWEST_PLACE", "PLACE_DIGITS", "Feature", "View", "bound"]

END = "end"
"""The tile column with the exclusive end of its step, int64 ms."""
NEWEST_AT = "newest_at"
NEWEST_PLACE = ("newest_partition", "newest_offset")
PLACE_DIGITS = (15, 5, 19)
"""Digits of at, partition and offset in the text by which the stream orders rows in a tile."""


def bound(at: int, every_ms: int) -> int:
    """Give b, the step at or below `at` that a feature's window ends before.

    >>> bound(299_999, 300_000), bound(300_000, 300_000)
    (0, 300000)
    """
    return at // every_ms * every_ms


@dataclass(frozen=True)
class Feature:
    """One aggregate of one view over one window; `window_ms` None means all that came before."""

    name: str
    aggregate: Aggregate
    window_ms: int | None = None

    def __post_init__(self) -> None:
        """Tell the aggregate its window."""
        object.__setattr__(self, "aggregate", self.aggregate.over(self.window_ms))

    @property
    def reach_ms(self) -> int | None:
        """Give how far before b its rows are looked for; with a half-life that has an end."""
        half_life = self.aggregate.half_life_ms
        if half_life is None:
            return self.window_ms
        most = MOST_HALF_LIVES * half_life
        return most if self.window_ms is None else min(self.window_ms, most)


@dataclass(frozen=True)
class View:
    """The events of a source or a stream by key, in steps of `every_ms`, hashed to `shards`.

    `horizon_ms` is how far before the newest complete step the hot index keeps tiles; None keeps
    all. No value depends on it.
    """

    name: str
    source: Origin
    key: tuple[str, ...]
    every_ms: int
    features: tuple[Feature, ...]
    shards: int = 1
    horizon_ms: int | None = None

    @property
    def partials(self) -> tuple[Partial, ...]:
        """List the mergeable columns of a tile, each once."""
        return _once(p for p in self._needed() if isinstance(p, Partial))

    @property
    def newest(self) -> tuple[Newest, ...]:
        """List the columns kept of the newest row, each once."""
        return _once(p for p in self._needed() if isinstance(p, Newest))

    @property
    def keeps_newest(self) -> bool:
        """Say whether tiles carry their newest row's time and place."""
        return any(not feature.aggregate.windowed for feature in self.features)

    @property
    def bins(self) -> tuple[Bins, ...]:
        """List the bins of a tile, each once."""
        return _once(p for p in self._needed() if isinstance(p, Bins))

    @property
    def ends(self) -> tuple[Ends, ...]:
        """List the ends of a tile, each once, with the most rows that an aggregate needs."""
        most: dict[str, Ends] = {}
        for ends in (p for p in self._needed() if isinstance(p, Ends)):
            known = most.setdefault(ends.name, ends)
            rows = max(known.most_rows, ends.most_rows)
            most[ends.name] = replace(known, most_rows=rows)
        return _once(most.values())

    @property
    def rows(self) -> tuple[Bins | Ends, ...]:
        """List what tiles have several rows of, each with a companion table of its own."""
        return (*self.bins, *self.ends)

    def companion(self, rows: Bins | Ends) -> str:
        """Name the companion table: no view has a name with two underscores."""
        return f"{self.name}__{rows.name}"

    def rows_schema(self, rows: Bins | Ends) -> pa.Schema:
        """Give a companion table's columns: key parts, end, and the rows' own."""
        fields = [(name, kind.arrow) for name, kind in zip(self.key, self.key_types, strict=True)]
        fields.append((END, pa.int64()))
        return pa.schema([*fields, *((name, kind.arrow) for name, kind in rows.fields)])

    def _needed(self) -> Iterable[Partial | Newest | Bins | Ends]:
        for feature in self.features:
            yield from feature.aggregate.partials

    @property
    def key_types(self) -> tuple[Type, ...]:
        """Give the types of the key's parts."""
        return tuple(self.source.types[name] for name in self.key)

    @property
    def tile_schema(self) -> pa.Schema:
        """Give a tile's columns: key parts, end, partials, the newest row."""
        fields = [(name, kind.arrow) for name, kind in zip(self.key, self.key_types, strict=True)]
        fields.append((END, pa.int64()))
        fields += [(partial.name, partial.type.arrow) for partial in self.partials]
        if self.keeps_newest:
            fields += [(name, pa.int64()) for name in (NEWEST_AT, *NEWEST_PLACE)]
            fields += [(newest.name, newest.type.arrow) for newest in self.newest]
        return pa.schema(fields)


_Column = TypeVar("_Column", Partial, Newest, Bins, Ends)


def _once(found: Iterable[_Column]) -> tuple[_Column, ...]:
    """Keep each name once, by name: the order of the features changes no tile and no message."""
    named = {each.name: each for each in found}
    return tuple(named[name] for name in sorted(named))
