"""Rows of a key that follow one another closely are one session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.operators.event import Event
from headrace.operators.source import AT
from headrace.operators.streams.dedup import alone_sql
from headrace.operators.streams.operator import Dialect, Step, Types, with_values
from headrace.operators.types import Type

__all__ = ["SESSION_START", "Session"]

SESSION_START = "session_start"


@dataclass(frozen=True)
class Session(Step):
    """Add `session_start`, the time of the first row of the row's session, int64 ms.

    A row begins a session where none of its key is in the `gap_ms` before it; one exactly so much
    earlier still holds the session together. With the key it is the session's id. Where a part of
    the key is null, so is `session_start`.

    State in the stream: the rows of the last `gap_ms`, and two numbers for each key, for ever.

    Examples
    --------
    >>> seen = ((0, "a"), (10, "a"), (10, "b"), (21, "a"), (22, None), (31, "a"))
    >>> rows = [Event(0, n, {"at": at, "user": user}) for n, (at, user) in enumerate(seen)]
    >>> [row.values["session_start"] for row in Session(("user",), 10).of(rows)]
    [0, 0, 10, 21, None, 21]

    """

    name = "session"
    remembers = True
    key: tuple[str, ...]
    gap_ms: int

    def types(self, given: Types) -> dict[str, Type]:
        """Give the columns and `session_start`."""
        return {**given, SESSION_START: Type.INT64}

    def made_of(self) -> dict[str, set[str]]:
        """Name the time and the key."""
        return {SESSION_START: {AT, *self.key}}

    def sql(self, rows: str, given: Types, dialect: Dialect) -> str:
        """Print two windows: is a row the first after a gap, and when was the last first one."""
        columns, at = dialect.columns(given), dialect.quote("at")
        keys = [dialect.quote(name) for name in self.key]
        gap = dialect.since([*keys, "_alone"], self.gap_ms)
        ever = dialect.since(keys, None)
        return (
            f"SELECT {columns}, CASE WHEN _alone IS NULL THEN _start END "
            f"AS {dialect.quote(SESSION_START)} "
            f"FROM (SELECT {columns}, _alone, MAX(_begins) {ever} AS _start "
            f"FROM (SELECT {columns}, _alone, CASE WHEN _least = {at} THEN {at} END AS _begins "
            f"FROM (SELECT {columns}, _alone, MIN({at}) {gap} AS _least "
            f"FROM (SELECT {columns}, {alone_sql(keys, dialect)} AS _alone FROM {rows}))))"
        )

    def of(self, rows: Sequence[Event]) -> list[Event]:
        """Go through the rows, with each key's last time and last start."""
        last: dict[tuple[object, ...], tuple[int, int]] = {}
        found = []
        for row in rows:
            key = tuple(row.values[name] for name in self.key)
            before, start = last.get(key, (row.at - self.gap_ms - 1, row.at))
            if row.at - before > self.gap_ms:
                start = row.at
            last[key] = row.at, start
            found.append(with_values(row, {SESSION_START: None if None in key else start}))
        return found
