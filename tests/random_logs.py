"""Random logs that share a topic: each has two partitions, and a number in all of its rows.

Lateness is decided partition by partition, and the number is a part of every key: so logs do not
meet, and one query or one Flink job answers for hundreds. A log by itself takes a second or more,
nearly all of it DuckDB's planning.

Each log has few of the cells of `tests/logs.py`, so that its rows meet in keys and tiles, and a
span, an order and a share of bad messages of its own.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from headrace.operators.engines import in_process
from headrace.operators.engines.in_process import Message
from headrace.operators.functions import Value
from headrace.operators.source import Column
from headrace.operators.types import Type
from headrace.operators.view import View
from tests import logs

NUMBER = "log"
SOURCE = replace(logs.SOURCE, columns=(Column(NUMBER, Type.INT64), *logs.SOURCE.columns))
VIEWS: dict[str, View] = {
    name: replace(view, source=SOURCE, key=(NUMBER, *view.key), shards=4)
    for name, view in logs.VIEWS.items()
}
MOST_ROWS = 40
EACH = 2
"""So many partitions has a log."""
LAST_AT = logs.STAMP + logs.AHEAD
END_AT, LATE_STAMP = 60_000, 100_000

_PARTS: dict[Type, tuple[Value, ...]] = {
    Type.STRING: ("a", "b", "", "a|b", "unknown", None),
    Type.INT64: (0, 1, 7, -1, 2**63 - 1, 12, None),
}


@dataclass(frozen=True)
class Ask:
    """A question to a view: a key, without the log's number, and a time."""

    view: str
    key: tuple[Value, ...]
    at: int


@dataclass(frozen=True)
class Log:
    """Messages, each with its partition of two, and questions."""

    said: tuple[tuple[int, bytes | None], ...]
    asks: tuple[Ask, ...]


def messages(log: Log, number: int) -> list[Message]:
    """Give a log's messages with their places in the topic, and its number in them."""
    return logs.placed(
        [(number * EACH + place, _numbered(said, number)) for place, said in log.said]
    )


def endings(log: Log, number: int) -> list[Message]:
    """Give what ends each partition for Flink: a row at the last time of all, and a beat."""
    found = []
    for place in range(EACH):
        partition, offset = number * EACH + place, sum(part == place for part, _ in log.said)
        row = b'{"at": %d, "name": "last", "k": "a", "h": "b", "g": 1}' % LAST_AT
        found.append((partition, offset, logs.STAMP, _numbered(row, number)))
        found.append((partition, offset + 1, LATE_STAMP, b'{"at": %d}' % END_AT))
    return found


def _numbered(said: bytes | None, number: int) -> bytes | None:
    """Put the number first; a beat has none, and what is broken stays so."""
    if said is None or said in logs.PROGRESS:
        return said
    return said.replace(b"{", b'{"%s": %d, ' % (NUMBER.encode(), number), 1)


def made(count: int, seed: int) -> list[Log]:
    """Make logs."""
    chance = random.Random(seed)  # noqa: S311 - cases, no secrets
    return [_log(chance) for _ in range(count)]


def _log(chance: random.Random) -> Log:
    cells = {name: _some(cells, chance) for name, cells in logs.CELLS.items()}
    if chance.random() < 0.2:  # fields in another order
        cells = dict(chance.sample([*cells.items()], len(cells)))
    times = _times(chance)
    hard = chance.choice((0.0, 0.05, 0.3))
    said = tuple((chance.randrange(EACH), _message(at, cells, hard, chance)) for at in times)
    return Log(said, tuple(_asks(said, chance)))


def _some(cells: Sequence[str | None], chance: random.Random) -> Sequence[str | None]:
    """Give a few of a column's cells, or all of them."""
    few = chance.choice((1, 2, 3, 5, len(cells)))
    return chance.choices(cells, k=few)


def _times(chance: random.Random) -> list[int]:
    """Give times in any order, or in about their own, with ties and late ones."""
    span = chance.choice((900, 3_000, 6_000, 14_000))
    start = chance.choice((0, 0, 999, 1_000, 9_001))
    times = [start + chance.randrange(span) for _ in range(chance.randrange(MOST_ROWS + 1))]
    if chance.random() < 0.3:
        times = [at // 500 * 500 - chance.choice((0, 0, 1)) for at in times]
    if chance.random() < 0.6:
        times = [at - chance.choice((0, 0, 0, 300, 1_999, 2_000, 2_001)) for at in sorted(times)]
    return [max(0, at) for at in times]


def _message(
    at: int, cells: dict[str, Sequence[str | None]], hard: float, chance: random.Random
) -> bytes | None:
    row = {name: chance.choice(of) for name, of in cells.items()}
    if chance.random() >= hard:
        return logs.payload(str(at), row)
    kind = chance.randrange(3)
    if kind == 0:
        return chance.choice((*logs.BROKEN, *logs.ODD))
    if kind == 1:
        return logs.payload(chance.choice((*logs.BAD_TIMES, *logs.ODD_TIMES)), row)
    name = chance.choice([*logs.BAD_CELLS])
    return logs.payload(str(at), {**row, name: chance.choice(logs.BAD_CELLS[name])})


def _asks(said: Sequence[tuple[int, bytes | None]], chance: random.Random) -> list[Ask]:
    """Ask of keys that the log has, and of others, at the edges of tiles and anywhere."""
    events = in_process.events(logs.SOURCE, logs.placed(said)).events
    asks = []
    for view in logs.VIEWS.values():
        for _ in range(chance.randrange(5)):
            key = tuple(chance.choice(_PARTS[kind]) for kind in view.key_types)
            at = chance.randrange(40_000)
            if events and chance.random() < 0.8:
                event = chance.choice(events)
                key = tuple(event.values[part] for part in view.key)
                at = event.at + chance.choice((0, 1, 999, 1_000, 1_001, 3_000, 3_500, 12_000))
            asks.append(Ask(view.name, key, at))
    return asks
