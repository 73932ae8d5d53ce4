"""One log, one view, some questions: the answers of every engine, to be compared.

`in_process` answers from the events, `duckdb` from tiles and ASOF joins, `index` as the store does
online. All are given the same raw messages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from decimal import Decimal

import numpy as np
import pyarrow as pa

from headrace.feature_store.history import History
from headrace.feature_store.index import Index
from headrace.feature_store.messages import LOG
from headrace.feature_store.store import Declared
from headrace.operators.engines import in_process
from headrace.operators.engines.duckdb import features_sql, quote
from headrace.operators.engines.in_process import Event, Message
from headrace.operators.functions import Value
from headrace.operators.source import Source
from headrace.operators.view import END, View

Row = tuple[object, ...]
Rows = Mapping[str, pa.Table]
"""The companion rows of a view, by their name."""
Ask = tuple[tuple[Value, ...], int]
"""A key and a time."""


def table_of(log: Sequence[Message]) -> pa.Table:
    """Give a log as history takes it."""
    columns = list(zip(*log, strict=True)) or [()] * len(LOG)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, LOG, strict=True)]
    return pa.Table.from_arrays(arrays, schema=LOG)


def source_of(view: View) -> Source:
    """Give the source of a view that has no stream between."""
    assert isinstance(view.source, Source)
    return view.source


def declared(views: Mapping[str, View], source: Source) -> Declared:
    """Say of a pipeline what history must know of it."""
    keys = {name: view.key for name, view in views.items()}
    every_ms = min(view.every_ms for view in views.values())
    return Declared(every_ms, views, source, source.columns[0].name, keys)


def told(
    source: Source,
    views: Sequence[View],
    log: Sequence[Message],
    *,
    as_known_at: int | None = None,
) -> History:
    """Give a history that has read the log."""
    with ExitStack() as unless_read:
        said = declared({v.name: v for v in views}, source)
        history = History(said, {source.name: source}, as_known_at=as_known_at)
        unless_read.enter_context(history)
        history.load(source.name, table_of(log))
        unless_read.pop_all()
    return history


def tiles_of(history: History, view: View) -> pa.Table:
    """Give the tiles that DuckDB made of the log."""
    names = ", ".join(map(quote, view.tile_schema.names))
    query = f'SELECT {names} FROM {quote(f"tiles_{view.name}")} ORDER BY "end"'
    return history.query(query).cast(view.tile_schema)


def rows_of_tiles(history: History, view: View) -> Rows:
    """Give the companion rows that DuckDB made of the log."""
    return {
        rows.name: history.query(f"SELECT * FROM {quote(f'tiles_{view.companion(rows)}')}").cast(
            view.rows_schema(rows)
        )
        for rows in view.rows
    }


def rows_in_process(view: View, events: Sequence[Event]) -> Rows:
    """Give the companion rows that the oracle makes."""
    return {
        rows.name: pa.Table.from_pylist(in_process.rows(view, rows, events), view.rows_schema(rows))
        for rows in view.rows
    }


def _keys(view: View, asks: Sequence[Ask]) -> list[pa.Array]:
    return [
        pa.array([key[place] for key, _ in asks], kind.arrow)
        for place, kind in enumerate(view.key_types)
    ]


def by_in_process(
    view: View, log: Sequence[Message], asks: Sequence[Ask], *, as_known_at: int | None = None
) -> list[Row]:
    """Answer from the events."""
    events = in_process.events(source_of(view), log, as_known_at=as_known_at).events
    return [
        tuple(in_process.feature(view, each, events, key, at) for each in view.features)
        for key, at in asks
    ]


def by_duckdb(view: View, log: Sequence[Message], asks: Sequence[Ask]) -> list[Row]:
    """Answer by DuckDB's SQL."""
    with told(source_of(view), [view], log) as history:
        return asked_duckdb(history, view, asks)


def asked_duckdb(history: History, view: View, asks: Sequence[Ask]) -> list[Row]:
    """Ask a history that has read the log."""
    key = [f"k{place}" for place in range(len(view.key))]
    decisions = pa.table(
        {
            "seq": pa.array(range(len(asks)), pa.int64()),
            "at": pa.array([at for _, at in asks], pa.int64()),
            **dict(zip(key, _keys(view, asks), strict=True)),
        }
    )
    tiles = quote(f"tiles_{view.name}")
    rows = {each.name: quote(f"tiles_{view.companion(each)}") for each in view.rows}
    query = features_sql(view, tiles, "decisions", keys=key, identity="seq", rows=rows)
    found = history.query(f"SELECT * FROM ({query}) ORDER BY seq", decisions=decisions)
    assert found["seq"].to_pylist() == list(range(len(asks)))
    return rows_of(found.drop_columns(["seq"]))


def by_index(view: View, log: Sequence[Message], asks: Sequence[Ask]) -> list[Row]:
    """Answer by the hot index, from the oracle's tiles."""
    events = in_process.events(source_of(view), log).events
    tiles = pa.Table.from_pylist(in_process.tiles(view, events), view.tile_schema).sort_by(END)
    return asked_index(view, [tiles], asks, rows_in_process(view, events))


def asked_index(
    view: View, batches: Sequence[pa.Table], asks: Sequence[Ask], rows: Rows
) -> list[Row]:
    """Feed an index its tiles in batches, each with its companion rows, and ask it."""
    index = Index(view)
    key = [*view.key, END]
    for batch in batches:
        here = {
            name: table.join(batch.select(key), key, join_type="left semi")
            for name, table in rows.items()
        }
        index.append(batch, here)
    times = np.array([at for _, at in asks], dtype=np.int64)
    return rows_of(pa.table(index.read(_keys(view, asks), times)))


ENGINES: dict[str, Callable[[View, Sequence[Message], Sequence[Ask]], list[Row]]] = {
    "in_process": by_in_process,
    "duckdb": by_duckdb,
    "index": by_index,
}


def rows_of(table: pa.Table) -> list[Row]:
    """Give a table's rows as tuples."""
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def tile_rows(view: View, tiles: pa.Table | Sequence[Mapping[str, object]]) -> list[str]:
    """Give tiles, in one order, as texts whose equality is that of their bits."""
    rows = tiles.to_pylist() if isinstance(tiles, pa.Table) else tiles
    return texts_of(rows, view.tile_schema.names)


def texts_of(rows: Sequence[Mapping[str, object]], names: Sequence[str]) -> list[str]:
    """Give rows, in one order, as texts."""
    assert END in names
    return sorted(repr([_whole(row[name]) for name in names]) for row in rows)


def companion_rows(rows: Rows) -> dict[str, list[str]]:
    """Give companion rows, in one order, as texts."""
    return {name: texts_of(table.to_pylist(), table.schema.names) for name, table in rows.items()}


def _whole(value: object) -> object:
    """Give a sum of 128 bits, which Arrow has as a decimal, as Python has it."""
    return int(value) if isinstance(value, Decimal) else value
