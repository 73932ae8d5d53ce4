"""Random logs by the hundred: in process = DuckDB = hot index, bit for bit.

::

    seed ─► logs ─┬─► in process, each by itself ─┐
                  ├─► DuckDB, all at once ────────┼─► differences, made small
                  └─► hot index, all at once ─────┘

`run(count, seed)` tries `count` logs. What it finds becomes a row of `tests/cases`, or a cell or
a message of `tests/logs.py`.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import duckdb
import pyarrow as pa

from headrace.feature_store.history import History
from headrace.operators.engines import in_process
from headrace.operators.errors import HeadraceError
from headrace.operators.view import View
from tests.engines import (
    Ask,
    Row,
    asked_duckdb,
    asked_index,
    companion_rows,
    rows_in_process,
    rows_of_tiles,
    texts_of,
    tile_rows,
    tiles_of,
    told,
)
from tests.random_logs import EACH, NUMBER, SOURCE, VIEWS, Log, made, messages

BATCH = 500
MOST_SHRUNK = 3
"""Of a batch: the others are most likely the same."""

T = TypeVar("T")
Told = dict[str, list[str]]
"""What an engine says of a log: by what it is, its rows as texts."""
Compare = Callable[[Sequence[Log]], dict[int, list[str]]]
"""Puts logs through engines; says by place in what they differ."""


@dataclass(frozen=True)
class Difference:
    """A log, made small, and in what engines differ on it."""

    log: Log
    wrong: Sequence[str]

    def __str__(self) -> str:
        """Give the log and the first of its lines."""
        return "\n    ".join([str(self.log), *self.wrong[:6]])


def in_process_of(log: Log, number: int) -> Told:
    """Say what the oracle makes of a log, with answers to its questions."""
    found = in_process.events(SOURCE, messages(log, number))
    columns = (*SOURCE.types, *SOURCE.hidden)
    said = {
        "refused": sorted(repr(tuple(vars(row).values())) for row in (*found.dead, *found.late)),
        "events": sorted(
            repr((row.partition, row.offset, *(row.values[name] for name in columns)))
            for row in found.events
        ),
    }
    for view in VIEWS.values():
        said |= tiles_in_process(view, found.events)
        answers = [
            _answer(
                (key, at),
                tuple(in_process.feature(view, f, found.events, key, at) for f in view.features),
            )
            for key, at in _asks(log, number, view)
        ]
        said |= {f"answers of {view.name}": answers, f"index of {view.name}": answers}
    return said


def _answer(ask: Ask, values: Row) -> str:
    return f"at {ask[1]} of {ask[0]!r}: {values!r}"


def tiles_in_process(view: View, events: Sequence[in_process.Event]) -> Told:
    """Say what the oracle's tiles are, and their companion rows."""
    said = {f"tiles of {view.name}": tile_rows(view, in_process.tiles(view, events))}
    rows = companion_rows(rows_in_process(view, events))
    return said | {f"{name} of {view.name}": texts for name, texts in rows.items()}


def _asks(log: Log, number: int, view: View) -> list[Ask]:
    return [((number, *ask.key), ask.at) for ask in log.asks if ask.view == view.name]


def by_duckdb_and_index(batch: Sequence[Log]) -> list[Told]:
    """Say what DuckDB makes of logs, and what it and the index answer."""
    log = [each for number, one in enumerate(batch) for each in messages(one, number)]
    said = [Told() for _ in batch]
    with told(SOURCE, list(VIEWS.values()), log) as history:
        _add_events(said, history)
        for view in VIEWS.values():
            tiles, rows = tiles_of(history, view), rows_of_tiles(history, view)
            add_tiles(said, view, tiles, rows)
            asked = [_asks(one, number, view) for number, one in enumerate(batch)]
            asks = [ask for each in asked for ask in each]
            cut = tiles.num_rows // 3
            halves = [tiles.slice(0, cut), tiles.slice(cut)]
            duckdb_says = iter(asked_duckdb(history, view, asks) if asks else [])
            index_says = iter(asked_index(view, halves, asks, rows) if asks else [])
            for mine, each in zip(said, asked, strict=True):
                mine[f"answers of {view.name}"] = [_answer(ask, next(duckdb_says)) for ask in each]
                mine[f"index of {view.name}"] = [_answer(ask, next(index_says)) for ask in each]
    return said


def _add_events(said: Sequence[Told], history: History) -> None:
    """Add what became of every message."""
    names = ", ".join(f'"{name}"' for name in ("offset", *SOURCE.types, *SOURCE.hidden))
    for what, query in (
        ("refused", "SELECT * FROM refused_events"),
        ("events", f"SELECT partition, {names} FROM events_events"),
    ):
        rows = history.query(query).to_pylist()
        of = grouped(rows, lambda row: row["partition"] // EACH)
        for number, mine in enumerate(said):
            mine[what] = sorted(repr(tuple(row.values())) for row in of[number])


def add_tiles(
    said: Sequence[Told], view: View, tiles: pa.Table, rows: Mapping[str, pa.Table]
) -> None:
    """Add to each log its tiles of a view, and their companion rows."""
    for what, table in {"tiles": tiles, **rows}.items():
        of = grouped(table.to_pylist(), lambda row: row[NUMBER])
        names = view.tile_schema.names if what == "tiles" else table.schema.names
        for number, mine in enumerate(said):
            mine[f"{what} of {view.name}"] = texts_of(of[number], names)


def grouped(
    rows: Iterable[Mapping[str, Any]], by: Callable[[Mapping[str, Any]], int]
) -> Mapping[int, list[Mapping[str, Any]]]:
    """Give rows by the number of their log."""
    found: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        found[by(row)].append(row)
    return found


def different(batch: Sequence[Log]) -> dict[int, list[str]]:
    """Compare DuckDB and the index with the oracle; a batch that ends with an error is halved."""
    try:
        theirs = by_duckdb_and_index(batch)
    except (duckdb.Error, HeadraceError) as error:
        if len(batch) == 1:
            return {0: [f"{type(error).__name__}: {error}"]}
        half = len(batch) // 2
        first, second = different(batch[:half]), different(batch[half:])
        return first | {half + place: wrong for place, wrong in second.items()}
    ours = (in_process_of(log, number) for number, log in enumerate(batch))
    return wrong_of(ours, theirs)


def wrong_of(ours: Iterable[Told], theirs: Iterable[Told]) -> dict[int, list[str]]:
    """Say where two differ: what one of them has alone, with − what only the oracle has."""
    found = {}
    for number, (mine, yours) in enumerate(zip(ours, theirs, strict=True)):
        wrong = [
            f"{what}: {sign} {row}"
            for what in mine
            for sign, one, other in (
                ("-", mine[what], yours[what]),
                ("+", yours[what], mine[what]),
            )
            for row in (Counter(one) - Counter(other)).elements()
        ]
        if wrong:
            found[number] = wrong
    return found


def shrunk(log: Log, wrong: Sequence[str], compare: Compare = different) -> Difference:
    """Leave out what the difference does not need, all that may be left out tried at once."""
    smaller = list(_smaller(log))
    found = compare(smaller) if smaller else {}
    if not found:
        return Difference(log, wrong)
    first = min(found)
    return shrunk(smaller[first], found[first], compare)


_CELL = re.compile(rb', "\w+": (?:"(?:[^"\\]|\\.)*"|[^,"{}]+)')


def _smaller(log: Log) -> Iterator[Log]:
    """Give a log with less in it, what has lost most first."""
    if log.asks:
        yield replace(log, asks=())
    yield from (replace(log, said=less) for less in _fewer(log.said))
    yield from (replace(log, asks=less) for less in _fewer(log.asks))
    for place, (partition, said) in enumerate(log.said):
        for cell in _CELL.finditer(said or b""):
            less = (said or b"").replace(cell[0], b"", 1)
            yield replace(log, said=(*log.said[:place], (partition, less), *log.said[place + 1 :]))


def _fewer(of: tuple[T, ...]) -> Iterator[tuple[T, ...]]:
    """Leave out a half, a quarter, … one."""
    size = 2 * len(of)
    while size > 1:
        size = (size + 1) // 2
        for start in range(0, len(of), size):
            yield (*of[:start], *of[start + size :])


def run(count: int, seed: int) -> tuple[int, list[Difference]]:
    """Try `count` logs in process, in DuckDB and in the index; give how many, and what differs."""
    logs, found = made(count, seed), list[Difference]()
    for start in range(0, count, BATCH):
        batch = logs[start : start + BATCH]
        wrong = different(batch)
        found += [shrunk(batch[place], lines) for place, lines in [*wrong.items()][:MOST_SHRUNK]]
        found += [
            Difference(batch[place], lines) for place, lines in [*wrong.items()][MOST_SHRUNK:]
        ]
    return len(logs), found
