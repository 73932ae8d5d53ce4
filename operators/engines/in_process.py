"""The in-process engine: the oracle. Plain Python, written to be read, never tuned.

::

    log ─► texts ─► checked ─► derived ─► Event, Refused or late ─► tiles
                                                              └───► features, straight from events

What a source, a view and a feature are is said here row by row; DuckDB and Flink must equal it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from headrace.operators.aggregates import Aggregate, Bins, Ends
from headrace.operators.decay import Decay
from headrace.operators.event import Event
from headrace.operators.functions import Value
from headrace.operators.message import texts
from headrace.operators.record import Said
from headrace.operators.source import AT, AT_REASON, FILE_PARTITION, FROM_TOPIC, Column, Source
from headrace.operators.status import Status
from headrace.operators.streams.operator import Step
from headrace.operators.streams.stream import Origin, Stream, refusal
from headrace.operators.streams.union import Union
from headrace.operators.types import Type
from headrace.operators.view import END, NEWEST_AT, NEWEST_PLACE, Feature, View, bound

__all__ = [
    "Event",
    "Events",
    "Message",
    "Refused",
    "derived",
    "events",
    "feature",
    "file_events",
    "rows",
    "status",
    "tiles",
]

Message = tuple[int, int, int, bytes | None]
"""Partition, offset, the broker's time stamp in ms, payload."""


@dataclass(frozen=True)
class Refused:
    """A message that is no event, and why."""

    partition: int
    offset: int
    reason: str
    payload: bytes | None


@dataclass(frozen=True)
class Events:
    """What became of a log: events, dead letters, late rows, each in the log's order."""

    events: list[Event] = field(default_factory=list)
    dead: list[Refused] = field(default_factory=list)
    late: list[Refused] = field(default_factory=list)


def events(source: Source, log: Iterable[Message], *, as_known_at: int | None = None) -> Events:
    """Read the log of a source; each partition's messages stand in the order of their offsets.

    With `as_known_at` (ms, UTC; see `headrace.operators.event`) it reads the messages known before
    that time, and no row is late.

    >>> source = Source("s", "s", (Column("x", Type.INT64),), lateness_ms=10)
    >>> said = [b'{"at": 100, "x": 1}', b'{"at": 90}', b'{"at": 89, "x": 2}', b"?"]
    >>> found = events(source, [(0, n, 0, payload) for n, payload in enumerate(said)])
    >>> [dict(event.values) for event in found.events]
    [{'at': 100, 'x': 1}, {'at': 90, 'x': None}]
    >>> [(row.offset, row.reason) for row in (*found.dead, *found.late)]
    [(3, 'not a JSON object'), (2, 'late')]
    >>> corrected = events(source, [(0, 0, 7, said[0]), (0, 1, 8, said[2])], as_known_at=8)
    >>> [event.at for event in corrected.events]
    [100]
    """
    found = Events()
    high: dict[int, int] = {}
    for partition, offset, timestamp, payload in _known(log, as_known_at):
        at, row = _row(source, timestamp, payload)
        if at is not None:
            high[partition] = max(at, high.get(partition, at))
        if isinstance(row, str):
            found.dead.append(Refused(partition, offset, row, payload))
        elif at is not None and at < _punctual(source, high[partition], as_known_at):
            found.late.append(Refused(partition, offset, "late", payload))
        else:
            found.events.append(Event(partition, offset, row))
    return found


def _punctual(source: Source, high: int, as_known_at: int | None) -> int:
    """Give the time before which a row of the topic is late."""
    if as_known_at is not None:
        return source.starts_ms
    return max(high - source.lateness_ms, source.starts_ms)


def file_events(
    source: Source, files: Iterable[Iterable[Said]], *, as_known_at: int | None = None
) -> Events:
    """Read the rows of a source's files as `events` reads messages.

    They are given file by file in the order of the files' names, as
    `headrace.operators.record` says them; a row may be any time ahead.
    """
    found = Events()
    for partition, rows in enumerate(files, FILE_PARTITION):
        high = 0
        for offset, said in enumerate(rows):
            at, row = (None, said) if isinstance(said, str) else _said(source, None, said)
            high = max(high, at or 0)
            if isinstance(row, str):
                found.dead.append(Refused(partition, offset, row, None))
            elif source.live_from_ms is not None and (at or 0) >= source.live_from_ms:
                found.dead.append(Refused(partition, offset, FROM_TOPIC, None))
            elif as_known_at is None and (at or 0) < high - source.lateness_ms:
                found.late.append(Refused(partition, offset, "late", None))
            else:
                found.events.append(Event(partition, offset, row))
    return found


def _known(log: Iterable[Message], as_known_at: int | None) -> Iterator[Message]:
    """Give the messages that were known before a time; all of them where none is given."""
    known: dict[int, int] = {}
    for message in log:
        partition, _, timestamp, _ = message
        known[partition] = max(timestamp, known.get(partition, timestamp))
        if as_known_at is None or known[partition] < as_known_at:
            yield message


def _row(
    source: Source, timestamp: int, payload: bytes | None
) -> tuple[int | None, dict[str, Value] | str]:
    """Give a message's time, which moves the watermark, and its values or why it is refused."""
    said = texts(payload)
    return (None, said) if isinstance(said, str) else _said(source, timestamp, said)


def _said(
    source: Source, timestamp: int | None, said: Mapping[str, str | None]
) -> tuple[int | None, dict[str, Value] | str]:
    """Check what a row says; `timestamp` None lets it be ahead."""
    at_text = said.get(AT)
    if at_text is None or not re.fullmatch("[0-9]{1,14}", at_text):
        return None, AT_REASON
    at = int(at_text)
    if timestamp is not None and at > timestamp + source.ahead_ms:
        return None, AT_REASON
    row: dict[str, Value] = {AT: at}
    progress = all(said.get(column.name) is None for column in source.columns)
    for column in source.columns:
        text = said.get(column.name)
        if text is None:
            # One column alone cannot say whether a row lacks it or is a progress event.
            if column.required and not (progress and len(source.columns) > 1):
                return at, f"column {column.name}: missing"
            row[column.name] = None
            continue
        value = _value(column, text)
        if value is None:
            return at, f"column {column.name}: not {column.type.value}"
        row[column.name] = value
    written = dict(row)
    for name, expression in source.computed.items():
        try:
            row[name] = expression.of(written)
        except OverflowError:
            return at, f"{source.called(name)}: out of range"
    return at, row


def _value(column: Column, text: str) -> Value:
    """Give the value of a text, None where it is none of the column's type."""
    if column.type is Type.STRING:
        return text
    if column.type is Type.BOOL:
        return {"true": True, "false": False}.get(text)
    if column.type.held is Type.INT64:
        whole = int(text) if re.fullmatch("0|-?[1-9][0-9]{0,18}", text) else None
        low, high = column.type.limits or (-(2**63), 2**63 - 1)
        return whole if whole is not None and low <= whole <= high else None
    if not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", text):
        return None
    number = float(text)
    return number + 0.0 if math.isfinite(number) else None


def derived(stream: Stream, found: Mapping[str, Sequence[Event]]) -> Events:
    """Give the rows of a stream, and its dead letters, from the events of sources by name.

    A dead letter is the row as it stood: its place in the stream and the reason. No row is late.
    """
    made = Events()
    parts = [_given(each, found) for each in stream.inputs]
    rows = Union().of(parts, stream.given[0]) if parts[1:] else parts[0]
    for step in stream.every_step:
        kept = []
        for row in rows:
            reason = _reason(stream, step, row)
            if reason:
                made.dead.append(Refused(row.partition, row.offset, reason, None))
            else:
                kept.append(row)
        rows = step.of(kept)
    made.events.extend(rows)
    return made


def _given(origin: Origin, found: Mapping[str, Sequence[Event]]) -> list[Event]:
    """Give the rows of an input in their total order; a progress event is none."""
    if isinstance(origin, Stream):
        return derived(origin, found).events
    said = [column.name for column in origin.columns]
    rows = [row for row in found[origin.name] if any(row.values[c] is not None for c in said)]
    return sorted(rows, key=lambda row: row.order)


def _reason(stream: Stream, step: Step, row: Event) -> str:
    for what, tree in step.checks().items():
        try:
            tree.of(row.values)
        except OverflowError:
            return refusal(stream, what)
    return ""


def tiles(view: View, found: Iterable[Event]) -> list[dict[str, Value]]:
    """Give the tiles of a view, one for each key and step that has an event, in no order."""
    return [_tile(view, key, group) for key, group in _groups(view, found).items()]


def _groups(view: View, found: Iterable[Event]) -> dict[tuple[Value, ...], list[Event]]:
    """Give the events of each tile, by the tile's key and end."""
    groups: dict[tuple[Value, ...], list[Event]] = {}
    for event in found:
        key = tuple(event.values[part] for part in view.key)
        if None not in key:
            end = bound(event.at, view.every_ms) + view.every_ms
            groups.setdefault((*key, end), []).append(event)
    return groups


def _tile(view: View, key: Sequence[Value], group: list[Event]) -> dict[str, Value]:
    row: dict[str, Value] = dict(zip((*view.key, END), key, strict=True))
    for partial in view.partials:
        row[partial.name] = partial.of([event.values.get(partial.column) for event in group])
    if view.keeps_newest:
        newest = max(group, key=lambda event: event.order)
        row |= dict(zip((NEWEST_AT, *NEWEST_PLACE), newest.order, strict=True))
        row |= {each.name: newest.values[each.column] for each in view.newest}
    return row


def rows(view: View, which: Bins | Ends, found: Iterable[Event]) -> list[dict[str, Value]]:
    """Give a view's rows of one companion table, in no order."""
    names = [*view.key, END, *(name for name, _ in which.fields)]
    return [
        dict(zip(names, (*key, *row), strict=True))
        for key, group in _groups(view, found).items()
        for row in _rows(which, group)
    ]


def _rows(which: Bins | Ends, group: list[Event]) -> Iterable[tuple[Value, ...]]:
    if isinstance(which, Bins):
        return which.gather(event.values[which.column] for event in group).items()
    return which.kept((*event.order, event.values[which.column]) for event in group)


def feature(
    view: View, which: Feature, found: Iterable[Event], key: Sequence[Value], at: int
) -> object:
    """Compute a feature for `key` at the time `at` from the events alone: the rule of time.

    The rows are those with b − W ≤ at < b, where b = ⌊t / every⌋ · every, oldest first.
    """
    high = bound(at, view.every_ms)
    low = -math.inf if which.reach_ms is None else high - which.reach_ms
    chosen = sorted(
        (
            event
            for event in found
            if low <= event.at < high
            and None not in key
            and [event.values[part] for part in view.key] == list(key)
        ),
        key=lambda event: event.order,
    )
    aggregate = which.aggregate
    if aggregate.of_ages:
        column = aggregate.column
        known = [each for each in chosen if not column or each.values[column] is not None]
        return aggregate.of([at - event.at for event in known])
    if aggregate.half_life_ms is not None:
        return aggregate.of(_weighed(view, aggregate, chosen, high))
    return aggregate.of([aggregate.row(event.values) for event in chosen])


def status(
    view: View, which: Feature, found: Iterable[Event], key: Sequence[Value], at: int
) -> Status:
    """Say what a feature's value stands for, from the events alone."""
    high = bound(at, view.every_ms)
    known = list(found)
    mine = (
        event.at
        for event in known
        if event.at < high
        and None not in key
        and [event.values[part] for part in view.key] == list(key)
    )
    value = feature(view, which, known, key, at)
    newest_ms = max(mine, default=None)
    return Status.of(value, newest_ms=newest_ms, bound_ms=high, reach_ms=which.reach_ms)


def _weighed(
    view: View, aggregate: Aggregate, rows: Iterable[Event], high: int
) -> list[tuple[float, list[object]]]:
    """Give tiles, the newest first: each with its weight, and what its rows say."""
    decay = Decay((aggregate.half_life_ms or 0) // view.every_ms)
    found: dict[int, list[object]] = {}
    for event in rows:
        end = bound(event.at, view.every_ms) + view.every_ms
        found.setdefault(end, []).append(aggregate.row(event.values))
    return [
        (decay.weight((high - end) // view.every_ms), found[end])
        for end in sorted(found, reverse=True)
    ]
