"""Random cells: the store's index, DuckDB and the oracle asked for the same features at (key, t).

::

    tiles ─► keys, ends ─► asks: (keys, t) ─┬─► the store's index ─┐
                                            ├─► DuckDB ────────────┴─► every cell that differs
                                            └─► in process ──────────► of some rows, all cells

An ask stands where an error would show: for a key with a tile that ends at e, at e + W for each
window W of its view, a millisecond before and after, and somewhere in the step; before the first
event, after the last; for keys that nobody has seen, and null ones. The oracle reads the raw
messages by itself; from a key's events it is handed those of the windows' reach and a step more on
either side, and decides itself which of them count.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headrace.feature_store.history import History
from headrace.feature_store.store import Declared
from headrace.jobs.checks.verdict import Verdict, compare
from headrace.operators.computed import with_computed
from headrace.operators.engines import in_process
from headrace.operators.engines.duckdb import quote
from headrace.operators.event import Event
from headrace.operators.functions import Value
from headrace.operators.record import records
from headrace.operators.source import AT, Source
from headrace.operators.streams.stream import roots
from headrace.operators.types import Type
from headrace.operators.view import END, View

__all__ = ["Asks", "Edges", "Random", "by_oracle", "compare_cells", "edges"]

Answer = Callable[[pa.Table], pa.Table]
"""Gives every feature for rows with `at` and the views' keys, in their order: the index."""
_INDEX, _ORACLE = "index = DuckDB", "DuckDB = in process"
_COMPUTED = "computed features"
_BATCH_ROWS = 50_000
_AT_ONCE = 10_000
_ORACLE_ONE_IN = 250
_ORACLE_ROWS = 100, 2_000
_NULL, _UNSEEN, _ANYWHEN, _BEFORE, _AFTER = 0.04, 0.04, 0.2, 0.03, 0.03
_YEAR_MS = 31_536_000_000


@dataclass(frozen=True)
class Random:
    """How many cells to ask for at least, of which index, and the seed of what is drawn."""

    answer: Answer
    cells: int
    seed: int = 0


@dataclass(frozen=True)
class Edges:
    """Where the tiles of a log are: for each view the keys and ends, and the times there are.

    `decisions` has what computed features read of decisions, besides keys.
    """

    tiles: Mapping[str, pa.Table]
    decisions: pa.Table
    first: int
    last: int


def edges(history: History, declared: Declared) -> Edges:
    """Read keys and ends from the tiles that history made."""
    tiles = {}
    for name, view in declared.views.items():
        columns = ", ".join(map(quote, (*view.key, END)))
        found = history.query(f"SELECT {columns} FROM {quote(f'tiles_{name}')} ORDER BY ALL")
        if found.num_rows:
            tiles[name] = found
    ends = [end for found in tiles.values() for end in _ends(found.column(END))]
    keys = {column for key in declared.keys.values() for column in key}
    own = [name for name in declared.asked if name not in keys]
    decisions = pa.table({})
    if own:
        decisions = history.query(
            f"SELECT {', '.join(map(quote, own))} FROM decisions ORDER BY seq"
        )
    return Edges(tiles, decisions, min(ends, default=0), max(ends, default=0))


def _ends(column: pa.ChunkedArray) -> list[int]:
    values = column.to_numpy()
    return [int(values.min()), int(values.max())]


@dataclass(frozen=True)
class Asks:
    """Draws rows to be asked: `seq`, `at`, the views' keys, what computed features read.

    Parameters
    ----------
    declared
        What the pipeline declares.
    edges
        Of its log.
    complete
        How far each shard of each view is complete. Where that is not the end of the log no row is
        after it.

    """

    declared: Declared
    edges: Edges
    complete: Mapping[tuple[str, int], int]

    def draw(self, count: int, chance: np.random.Generator, start: int = 0) -> pa.Table:
        """Draw `count` rows, numbered from `start`; each view is the aim of as many."""
        names = list(self.edges.tiles)
        aims = chance.integers(0, len(names), count)
        columns = {name: np.full(count, None, np.object_) for name in self.declared.asked}
        at = np.zeros(count, np.int64)
        for place, name in enumerate(names):
            aimed = np.flatnonzero(aims == place)
            at[aimed] = self._take(name, aimed, columns, chance)
            self._take(name, np.flatnonzero(aims != place), columns, chance, fill=True)
        own = self.edges.decisions
        for name in own.column_names if own.num_rows else ():
            picked = own[name].take(pa.array(chance.integers(0, own.num_rows, count)))
            columns[name][:] = picked.to_pylist()
        self._spoil(columns, chance, count)
        self._anywhen(at, chance)
        if self._latest < self.edges.last:
            at = np.minimum(at, self._latest)
        types = self.declared.source.types
        return pa.table(
            {
                "seq": pa.array(np.arange(start, start + count)),
                AT: pa.array(np.maximum(at, 0)),
                **{name: pa.array(v, types[name].arrow) for name, v in columns.items()},
            }
        )

    @property
    def _latest(self) -> int:
        views = self.declared.views.items()
        shards = ((name, shard) for name, view in views for shard in range(view.shards))
        return min(self.complete.get(place, 0) for place in shards)

    def _take(
        self,
        name: str,
        rows: npt.NDArray[np.int64],
        columns: Mapping[str, npt.NDArray[np.object_]],
        chance: np.random.Generator,
        *,
        fill: bool = False,
    ) -> npt.NDArray[np.int64]:
        """Give rows the keys of random tiles of a view, and times at the edges of its windows."""
        view, tiles = self.declared.views[name], self.edges.tiles[name]
        picked = tiles.take(pa.array(chance.integers(0, tiles.num_rows, len(rows))))
        for part, column in zip(view.key, self.declared.keys[name], strict=True):
            values = np.array(picked[part].to_pylist(), np.object_)
            free = np.array([columns[column][row] is None for row in rows], bool)
            kept = free if fill else np.ones(len(rows), bool)
            columns[column][rows[kept]] = values[kept]
        at: npt.NDArray[np.int64] = picked[END].to_numpy() + self._shifts(view, len(rows), chance)
        return at

    def _shifts(self, view: View, count: int, chance: np.random.Generator) -> npt.NDArray[np.int64]:
        every = view.every_ms
        reaches = {feature.reach_ms for feature in view.features} - {None}
        windows = np.array(sorted({0, every, *(reach or 0 for reach in reaches)}))
        within = chance.integers(0, every, count)
        shifts = np.stack([np.full(count, shift) for shift in (-1, 0, 1)] + [within])
        shift = shifts[chance.integers(0, len(shifts), count), np.arange(count)]
        found: npt.NDArray[np.int64] = windows[chance.integers(0, len(windows), count)] + shift
        return found

    def _spoil(
        self,
        columns: Mapping[str, npt.NDArray[np.object_]],
        chance: np.random.Generator,
        count: int,
    ) -> None:
        """Make some values null, and some that nobody has seen."""
        for name, values in columns.items():
            kind = self.declared.source.types[name]
            drawn = chance.random(count)
            values[drawn < _NULL] = None
            for row in np.flatnonzero((drawn >= _NULL) & (drawn < _NULL + _UNSEEN)):
                values[row] = _unseen(kind, int(row), values[row])

    def _anywhen(self, at: npt.NDArray[np.int64], chance: np.random.Generator) -> None:
        first, last = self.edges.first, self.edges.last
        drawn = chance.random(len(at))
        spans = (
            (_ANYWHEN, first, last + 1),
            (_BEFORE, 0, max(first, 1)),
            (_AFTER, last, last + 2 * _YEAR_MS),
        )
        upto = 0.0
        for share, low, high in spans:
            here = (drawn >= upto) & (drawn < upto + share)
            at[here] = chance.integers(low, high, int(here.sum()))
            upto += share


def _unseen(kind: Type, number: int, otherwise: Value) -> Value:
    if kind is Type.STRING:
        return f"nobody-{number}"
    return -(10**15) - number if kind.held is Type.INT64 else otherwise


def compare_cells(
    verdict: Verdict,
    history: History,
    declared: Declared,
    random: Random,
    *,
    logs: Mapping[str, pa.Table],
    complete: Mapping[tuple[str, int], int],
    files: Mapping[str, Sequence[Path]] | None = None,
) -> None:
    """Ask the index and DuckDB for the same features at random (key, t), and the oracle for some.

    Parameters
    ----------
    verdict
        Takes the numbers of cells, and what differs.
    history
        Has read the log.
    declared
        What the pipeline declares.
    random
        What is asked, and whom.
    logs
        The raw messages of each source, for the oracle.
    complete
        How far each shard of each view is complete: nothing later is asked of a log that goes on.
    files
        The files of each source that has some.

    """
    asks = Asks(declared, edges(history, declared), complete)
    features = len(declared.feature_schema)
    rows = -(-random.cells // features) if asks.edges.tiles else 0
    chance = np.random.default_rng(random.seed)
    least, most = _ORACLE_ROWS
    count = min(rows, max(least, min(rows // _ORACLE_ONE_IN, most)))
    chosen = np.sort(chance.choice(rows, count, replace=False)) if rows else np.empty(0, np.int64)
    asked: list[pa.Table] = []
    said: dict[str, list[pa.Table]] = {name: [] for name in (*declared.views, _COMPUTED)}
    for start in range(0, rows, _BATCH_ROWS):
        drawn = asks.draw(min(_BATCH_ROWS, rows - start), chance, start)
        here = pa.array(chosen[(chosen >= start) & (chosen < start + _BATCH_ROWS)] - start)
        asked.append(drawn.take(here))
        for name, found in _index_and_duckdb(verdict, history, declared, drawn, random.answer):
            said[name].append(found.take(here))
    if asked:
        events = _events(declared, logs, files or {})
        _oracle(verdict, history, declared, events, pa.concat_tables(asked), said)


def _index_and_duckdb(
    verdict: Verdict, history: History, declared: Declared, drawn: pa.Table, answer: Answer
) -> Iterator[tuple[str, pa.Table]]:
    """Compare what both say of each view; give what DuckDB says."""
    served = _served(drawn, answer)
    history.ask(drawn)
    made = {name: history.features(name, of="asks") for name in declared.views}
    if declared.computed:
        made[_COMPUTED] = history.computed(list(made.values()), of="asks")
    for name, found in made.items():
        names = found.column_names[1:]
        where = f"{name} at random (key, t): {_INDEX}"
        ours = served.select(["seq", *names])
        compare(verdict, history, where, ["seq"], names, stream=ours, truth=found, pair=_INDEX)
        yield name, found


def _served(drawn: pa.Table, answer: Answer) -> pa.Table:
    parts = [
        answer(drawn.slice(start, _AT_ONCE).drop_columns(["seq"]))
        for start in range(0, drawn.num_rows, _AT_ONCE)
    ]
    return pa.concat_tables(parts).append_column("seq", drawn["seq"])


def _oracle(
    verdict: Verdict,
    history: History,
    declared: Declared,
    read: Iterable[tuple[View, Sequence[Event]]],
    asked: pa.Table,
    said: Mapping[str, Sequence[pa.Table]],
) -> None:
    """Compare what DuckDB said with what the oracle says, view by view, then what is computed."""
    made: dict[str, pa.Table] = {}
    for view, events in read:
        made[view.name] = by_oracle(view, events, asked, declared.keys[view.name])
    if declared.computed:
        whole = asked
        for found in made.values():
            for name in found.column_names[1:]:
                whole = whole.append_column(name, found[name])
        whole = with_computed(whole, declared.computed)
        made[_COMPUTED] = whole.select(["seq", *declared.computed])
    for name, truth in made.items():
        where, columns = f"{name} at random (key, t): {_ORACLE}", truth.column_names[1:]
        found = pa.concat_tables(said[name])
        compare(verdict, history, where, ["seq"], columns, stream=found, truth=truth, pair=_ORACLE)


def _events(
    declared: Declared, logs: Mapping[str, pa.Table], files: Mapping[str, Sequence[Path]]
) -> Iterator[tuple[View, Sequence[Event]]]:
    """Give each view with its events as the oracle reads them from raw messages and files."""
    read: dict[str, list[Event]] = {}
    for view in declared.views.values():
        for source in roots(view.source):
            if source.name not in read:
                rows = map(records, files.get(source.name, ()))
                read[source.name] = [
                    *in_process.events(source, _messages(logs[source.name])).events,
                    *in_process.file_events(source, rows).events,
                ]
        if isinstance(view.source, Source):
            yield view, read[view.source.name]
        else:
            yield view, in_process.derived(view.source, read).events


def _messages(log: pa.Table) -> Iterator[in_process.Message]:
    for batch in log.to_batches(max_chunksize=_BATCH_ROWS):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def by_oracle(
    view: View, events: Sequence[Event], asked: pa.Table, keys: Sequence[str]
) -> pa.Table:
    """Give `seq` and a view's features for rows with `at` and `keys`, as the oracle has them."""
    groups: dict[tuple[Value, ...], list[Event]] = {}
    for event in events:
        groups.setdefault(tuple(event.values[part] for part in view.key), []).append(event)
    times = {}
    for key, group in groups.items():
        group.sort(key=lambda event: event.order)
        times[key] = [event.at for event in group]
    rows = asked.select(["seq", AT, *dict.fromkeys(keys)]).to_pylist()
    columns: dict[str, list[object]] = {feature.name: [] for feature in view.features}
    for row in rows:
        key, at = tuple(row[name] for name in keys), row[AT]
        group, there = groups.get(key, []), times.get(key, [])
        stop = bisect_left(there, at + view.every_ms)
        for feature in view.features:
            reach = math.inf if feature.reach_ms is None else feature.reach_ms
            near = group[bisect_left(there, at - reach - 2 * view.every_ms) : stop]
            columns[feature.name].append(in_process.feature(view, feature, near, key, at))
    arrays = {
        feature.name: pa.array(columns[feature.name], feature.aggregate.type.arrow)
        for feature in view.features
    }
    return pa.table({"seq": asked["seq"], **arrays})
