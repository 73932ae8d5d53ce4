"""Each id once within a horizon."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.operators.event import Event
from headrace.operators.streams.operator import Dialect, Step, Types
from headrace.operators.types import Type

__all__ = ["Dedup", "alone_sql"]


@dataclass(frozen=True)
class Dedup(Step):
    """Drop a row where one of the same id stands before it, at most `within_ms` before its time.

    Before it in the one total order (at, partition, offset). All rows count that were given, the
    dropped ones among them: an id that keeps coming back is dropped for as long as it does. A row
    whose id, or a part of it, is null is kept.

    State in the stream: the rows of the last `within_ms`.

    Parameters
    ----------
    id
        One column or several; no float64.
    within_ms
        The horizon; a row exactly so much earlier still counts.

    Examples
    --------
    >>> seen = ((0, "a"), (5, "a"), (5, "b"), (15, "a"), (26, "a"), (27, None), (27, None))
    >>> rows = [Event(0, n, {"at": at, "click": id}) for n, (at, id) in enumerate(seen)]
    >>> [row.at for row in Dedup(("click",), 10).of(rows)]
    [0, 5, 26, 27, 27]

    """

    name = "dedup"
    remembers = True
    id: tuple[str, ...]
    within_ms: int

    def types(self, given: Types) -> dict[str, Type]:
        """Give the same columns."""
        return dict(given)

    def sql(self, rows: str, given: Types, dialect: Dialect) -> str:
        """Print the comparison of a row's place with the first one of its window."""
        columns = dialect.columns(given)
        keys = [dialect.quote(name) for name in self.id]
        window = dialect.since([*keys, "_alone"], self.within_ms)
        return (
            f"SELECT {columns} FROM (SELECT {columns}, _place, MIN(_place) {window} AS _first "
            f"FROM (SELECT {columns}, {dialect.place} AS _place, "
            f"{alone_sql(keys, dialect)} AS _alone FROM {rows})) WHERE _first = _place"
        )

    def of(self, rows: Sequence[Event]) -> list[Event]:
        """Drop what has one of its id before it."""
        seen: dict[tuple[object, ...], int] = {}
        kept = []
        for row in rows:
            key = tuple(row.values[name] for name in self.id)
            if None in key or row.at - seen.get(key, row.at - self.within_ms - 1) > self.within_ms:
                kept.append(row)
            seen[key] = row.at
        return kept


def alone_sql(keys: Sequence[str], dialect: Dialect) -> str:
    """Print what makes a row whose key has a null a group of its own.

    In one group they would be compared with each other, all of them, in vain.
    """
    missing = " OR ".join(f"{key} IS NULL" for key in keys)
    return f"CASE WHEN {missing} THEN {dialect.place} END"
