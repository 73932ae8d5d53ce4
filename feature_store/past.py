"""Features of many (key, t) at once, by DuckDB: ASOF joins on running sums, or on events.

::

    events ─┬─ views of newest rows only ─────────────────────────┐ ASOF join, by key and time
            └─ tiles_sql ─► tiles ─► running_sql ─► running sums ─┴─► features, in order

Made for large sets, offline: DuckDB keeps within its memory and spills the rest. What the hot index
answers at the same (key, t) is the same, bit for bit.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import duckdb
import numpy as np
import pyarrow as pa

from headrace.feature_store.registered import registered
from headrace.feature_store.training import Asking, Read
from headrace.operators.engines.duckdb import (
    features_sql,
    newest_sql,
    quote,
    rows_sql,
    running_sql,
    tiles_sql,
)
from headrace.operators.view import View

__all__ = ["Events", "Past", "Tiles"]

_GATHERED = 20_000
"""So many keys and steps have their windows' rows gathered at once."""


@dataclass(frozen=True)
class Events:
    """A relation of a view's events: at, partition, offset, the columns of its source."""

    relation: str


@dataclass(frozen=True)
class Tiles:
    """A relation of a view's tiles, and one of each of its companion tables, by their names."""

    relation: str
    rows: Mapping[str, str] = field(default_factory=dict)


class Past:
    """Reads features from the relations of a DuckDB database; close it to drop what it made.

    Parameters
    ----------
    connection
        To the database that has the relations; they are read through a cursor, which does not see
        what is temporary or registered.
    views
        By name.
    keys
        Per view the columns of the decisions that stand for its key.
    where
        Per view its events or its tiles.

    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        views: Mapping[str, View],
        keys: Mapping[str, Sequence[str]],
        where: Mapping[str, Events | Tiles],
    ) -> None:
        self._connection = connection.cursor()
        self._views, self._keys, self._where = views, keys, where
        self._prepared: dict[tuple[str, ...], tuple[Tiles, str]] = {}
        self._number = itertools.count()

    def asking(
        self, features: Sequence[str], *, at: str | None = None, statuses: bool = False
    ) -> tuple[Asking, Read]:
        """Say what is asked of decisions for some features, and give what reads them.

        With `statuses` each feature has a column beside it, ``<feature>__status``, of what its
        value stands for (`headrace.operators.status`).
        """
        asking = Asking.about(self._views, self._keys, features, at=at, statuses=statuses)
        chosen = [
            replace(view, features=wanted)
            for view in self._views.values()
            if (wanted := tuple(f for f in view.features if f.name in features))
        ]

        def read(asked: pa.Table) -> pa.Table:
            return self._read(asked, chosen, asking.features, statuses=statuses)

        return asking, read

    def close(self) -> None:
        """Drop what was made on the way."""
        self._connection.close()

    def _read(
        self, asked: pa.Table, views: Sequence[View], features: pa.Schema, *, statuses: bool
    ) -> pa.Table:
        numbered = asked.append_column("_seq", pa.array(np.arange(asked.num_rows)))
        columns: dict[str, pa.ChunkedArray] = {}
        with registered(self._connection, "_asked", numbered):
            for view in views:
                found = self._found(view, statuses=statuses)
                columns |= dict(zip(found.column_names, found.columns, strict=True))
        return pa.table({name: columns[name] for name in features.names}).cast(features)

    def _found(self, view: View, *, statuses: bool) -> pa.Table:
        """Read one view's features, in order."""
        if view.rows or any(f.aggregate.half_life_ms is not None for f in view.features):
            return self._gathered(view, statuses=statuses)
        query = self._query(view, "_asked", statuses=statuses)
        return self._connection.sql(f"{query} ORDER BY _seq").to_arrow_table()

    def _gathered(self, view: View, *, statuses: bool) -> pa.Table:
        """Read features for which a window's rows are gathered: once for each key and step.

        All decisions of a step ask the same, unless for an age. They are asked in parts, for what
        is gathered for many decisions at once is more than memory holds.
        """
        sql = self._connection.sql
        ages = any(feature.aggregate.of_ages for feature in view.features)
        keys = [quote(key) for key in dict.fromkeys(self._keys[view.name])]
        moment = '"at"' if ages else f'"at" // {view.every_ms} * {view.every_ms}'
        asks = sql(
            f"SELECT row_number() OVER () AS _seq, * FROM "
            f'(SELECT DISTINCT {", ".join(keys)}, {moment} AS "at" FROM _asked)'
        ).to_arrow_table()
        query = self._query(view, "_part", statuses=statuses)
        parts = []
        for start in range(0, max(asks.num_rows, 1), _GATHERED):
            with registered(self._connection, "_part", asks.slice(start, _GATHERED)):
                parts.append(sql(query).to_arrow_table())
        same = " AND ".join(f"d.{key} IS NOT DISTINCT FROM a.{key}" for key in keys)
        with (
            registered(self._connection, "_asks", asks),
            registered(self._connection, "_of_asks", pa.concat_tables(parts)),
        ):
            return sql(
                f"SELECT f.* EXCLUDE (_seq) FROM (SELECT *, {moment} AS _moment FROM _asked) AS d "
                f'JOIN _asks AS a ON {same} AND d._moment = a."at" '
                "JOIN _of_asks AS f ON a._seq = f._seq ORDER BY d._seq"
            ).to_arrow_table()

    def _query(self, view: View, asked: str, *, statuses: bool) -> str:
        where, keys = self._where[view.name], self._keys[view.name]
        if isinstance(where, Events) and not view.partials and not view.rows:
            events = where.relation
            return newest_sql(view, events, asked, keys=keys, identity="_seq", statuses=statuses)
        kept = view.name, *(feature.name for feature in view.features)
        if kept not in self._prepared:
            tiles = where if isinstance(where, Tiles) else self._tiles(view, where.relation)
            self._prepared[kept] = tiles, self._made(running_sql(view, tiles.relation))
        tiles, running = self._prepared[kept]
        return features_sql(
            view,
            tiles.relation,
            asked,
            keys=keys,
            identity="_seq",
            rows=tiles.rows,
            running=running,
            statuses=statuses,
        )

    def _tiles(self, view: View, events: str) -> Tiles:
        rows = {each.name: self._made(rows_sql(view, each, events)) for each in view.rows}
        return Tiles(self._made(tiles_sql(view, events)), rows)

    def _made(self, query: str) -> str:
        """Keep a query's rows for all parts; DuckDB spills what does not fit."""
        name = f"_made_{next(self._number)}"
        self._connection.execute(f"CREATE TEMP TABLE {name} AS {query}")
        return name
