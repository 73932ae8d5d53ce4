"""Several rows a tile, as DuckDB SQL: the companion tables of a view, and what a window gathers.

::

    decisions ─┐ join by key and stretch of time     merged by bin        one row for each decision
    rows ──────┴─► (decision, row of its window) … ─► (decision, bin, n) ─► (decision, y)

A window of W is found by hashing: time is cut into stretches of W, and a window lies in two of
them at most.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from headrace.operators.aggregates import Bins, Ends, Merge
from headrace.operators.aggregates.bins import BIN, NUMBER
from headrace.operators.aggregates.ends import AT, PLACE, VALUE
from headrace.operators.aggregates.of_rows import OfRows
from headrace.operators.engines.quoting import quote
from headrace.operators.view import END, View

__all__ = ["gathered_sql", "rows_sql"]


def rows_sql(view: View, rows: Bins | Ends, events: str) -> str:
    """Print the query for a companion table of a view's tiles."""
    keys = ", ".join(map(quote, view.key))
    end = f'("at" // {view.every_ms} + 1) * {view.every_ms} AS {quote(END)}'
    present = " AND ".join(f"{quote(part)} IS NOT NULL" for part in (*view.key, rows.column))
    if isinstance(rows, Bins):
        found = _here(rows.sql), _here(rows.number_sql)
        return (
            f"SELECT {keys}, {end}, {found[0]} AS {quote(BIN)}, CAST({found[1]} AS BIGINT) "
            f"AS {quote(NUMBER)} FROM {events} WHERE {present} GROUP BY ALL"
        )
    direction = "DESC" if rows.newest else "ASC"
    order = ", ".join(f"{quote(part)} {direction}" for part in ("at", "partition", "offset"))
    places = zip(("at", "partition", "offset"), (AT, *PLACE), strict=True)
    place = ", ".join(f"CAST({quote(part)} AS BIGINT) AS {name}" for part, name in places)
    return (
        f"SELECT {keys}, {end}, {place}, {quote(rows.column)} AS {quote(VALUE)} FROM {events} "
        f"WHERE {present} QUALIFY row_number() OVER (PARTITION BY {keys}, "
        f'"at" // {view.every_ms} ORDER BY {order}) <= {rows.most_rows}'
    )


def _here(sql: str) -> str:
    return sql.replace("`", '"')


def gathered_sql(
    view: View, tables: Mapping[str, str], decisions: str, keys: Sequence[str], identity: str
) -> tuple[list[str], dict[str, str]]:
    """Print what windows gather: common tables, and for each feature the one that has its ``y``."""
    common: dict[tuple[str, int | None], tuple[str, str]] = {}
    found: dict[str, tuple[str, str]] = {}
    for feature in view.features:
        if isinstance(feature.aggregate, OfRows):
            rows, window = feature.aggregate.rows, feature.window_ms
            place = (rows.name, window)
            if place not in common:
                name = f"_rows_{len(common)}"
                inside = _inside(view, rows, tables[rows.name], decisions, keys, identity, window)
                common[place] = name, inside
            query = feature.aggregate.gathered_sql(common[place][0], "_id")
            found[feature.name] = f"_of_{len(found)}", query
    # Kept where several features read it; where one does, its rows need not all be there at once.
    used = Counter(
        (f.aggregate.rows.name, f.window_ms)
        for f in view.features
        if isinstance(f.aggregate, OfRows)
    )
    tables_sql = [
        f"{name} AS {'' if used[place] > 1 else 'NOT '}MATERIALIZED ({query})"
        for place, (name, query) in common.items()
    ]
    tables_sql += [f"{name} AS ({query})" for name, query in found.values()]
    return tables_sql, {feature: name for feature, (name, _) in found.items()}


def _inside(
    view: View,
    rows: Bins | Ends,
    table: str,
    decisions: str,
    keys: Sequence[str],
    identity: str,
    window: int | None,
) -> str:
    """Print the rows of each decision's window, bins merged."""
    bound = f'd."at" // {view.every_ms} * {view.every_ms}'
    same = [
        f"d.{quote(mine)} = r.{quote(theirs)}" for mine, theirs in zip(keys, view.key, strict=True)
    ]
    asked, on = f"{decisions} AS d", [*same, f"r.{quote(END)} <= {bound}"]
    if window is not None:
        asked += " CROSS JOIN (VALUES (0), (1)) AS s(back)"
        on += [
            f"(r.{quote(END)} - 1) // {window} = ({bound} - 1) // {window} - s.back",
            f"r.{quote(END)} > {bound} - {window}",
        ]
    joined = f"FROM {asked} JOIN {table} AS r ON {' AND '.join(on)}"
    if isinstance(rows, Ends):
        names = ", ".join(f"r.{quote(name)}" for name in (AT, *PLACE, VALUE))
        return f'SELECT d.{quote(identity)} AS _id, d."at", {names} {joined}'
    total = "SUM" if rows.merge is Merge.ADD else rows.merge.value
    return (
        f"SELECT d.{quote(identity)} AS _id, r.{quote(BIN)} AS bin, "
        f"CAST({total}(r.{quote(NUMBER)}) AS BIGINT) AS n {joined} GROUP BY ALL"
    )
