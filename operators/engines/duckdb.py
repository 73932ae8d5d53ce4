"""The DuckDB engine: the same sources, views and features over history, as DuckDB SQL.

The raw log is a table ``(partition INTEGER, offset BIGINT, timestamp BIGINT, payload BLOB)``; every
function here prints a query over it that gives what the stream gives, row for row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headrace.operators.aggregates import Merge
from headrace.operators.source import Source, checks_sql
from headrace.operators.view import END, NEWEST_AT, NEWEST_PLACE, Feature, View

__all__ = ["events_sql", "features_sql", "quote", "refused_sql", "tiles_sql"]

_TEXT = "VARCHAR(2147483647)"


def quote(name: str) -> str:
    """Quote an identifier.

    >>> quote("at")
    '"at"'
    """
    return '"' + name.replace('"', '""') + '"'


def _checked_sql(source: Source, log: str) -> str:
    """Print the log with a value for every column, `high`, and the reason where a row is refused."""
    texts = ", ".join(
        # A nested value is no scalar: Flink's JSON_VALUE gives NULL for it.
        f"CASE WHEN json_type(doc, '$.{name}') NOT IN ('OBJECT', 'ARRAY') "
        f"THEN json_extract_string(doc, '$.{name}') END AS {quote(name)}"
        for name in ("at", *(column.name for column in source.columns))
    )
    values, reasons = checks_sql(source, quote)
    at = "TRY_CAST(regexp_extract(\"at\", '^[0-9]{1,14}$') AS BIGINT)"
    return f"""
WITH decoded AS (
  SELECT partition, "offset", "timestamp", payload, TRY(decode(payload)) AS body FROM {log}
), parsed AS (
  SELECT *, CASE WHEN json_valid(body) AND json_type(body) = 'OBJECT' THEN body::JSON END AS doc
  FROM decoded
), texts AS (
  SELECT partition, "offset", "timestamp", payload, body, doc, {texts} FROM parsed
), timed AS (
  SELECT * REPLACE (CASE WHEN {at} <= "timestamp" + {source.ahead_ms} THEN {at} END AS "at")
  FROM texts
), high AS (
  SELECT *, MAX("at") OVER (PARTITION BY partition ORDER BY "offset") AS high FROM timed
)
SELECT partition, "offset", payload, "at", high,
  CASE WHEN body IS NULL THEN 'not UTF-8'
       WHEN doc IS NULL THEN 'not a JSON object'
       WHEN "at" IS NULL THEN 'at: missing, no whole number of milliseconds, or far ahead'
       {reasons} END AS reason, {', '.join(values)}
FROM high"""


def events_sql(source: Source, log: str) -> str:
    """Print the query for a source's events: checked, punctual, derived."""
    names = ["partition", "offset", "at", *(column.name for column in source.columns)]
    derived = [
        f"{expression.sql('duckdb')} AS {quote(name)}"
        for name, expression in source.derived.items()
    ]
    return (
        f"SELECT {', '.join([*map(quote, names), *derived])} FROM ({_checked_sql(source, log)}) "
        f'WHERE reason IS NULL AND "at" >= high - {source.lateness_ms}'
    )


def refused_sql(source: Source, log: str) -> str:
    """Print the query for what is no event: place, reason (``late`` for the late ones), bytes."""
    return (
        "SELECT partition, \"offset\", COALESCE(reason, 'late') AS reason, payload "
        f"FROM ({_checked_sql(source, log)}) "
        f'WHERE reason IS NOT NULL OR "at" < high - {source.lateness_ms}'
    )


def tiles_sql(view: View, events: str) -> str:
    """Print the query for a view's tiles over a relation of its source's events."""
    keys = ", ".join(map(quote, view.key))
    end = f'("at" // {view.every_ms} + 1) * {view.every_ms}'
    columns = [f"{p.sql.replace('`', chr(34))} AS {quote(p.name)}" for p in view.partials]
    if view.keeps_newest:
        # One comparison of one struct: the place orders rows of equal time, as in the stream.
        place = 'MAX({"at": "at", "p": partition, "o": "offset"})'
        columns += [f"{place}.at AS {NEWEST_AT}"]
        columns += [f"{place}.{part} AS {name}" for part, name in zip("po", NEWEST_PLACE, strict=True)]
        order = '{"at": "at", "p": partition, "o": "offset"}'
        columns += [
            # A struct around the value: a bare arg_max passes over rows whose value is NULL.
            f'arg_max({{"v": {quote(newest.column)}}}, {order}).v AS {quote(newest.name)}'
            for newest in view.newest
        ]
    present = " AND ".join(f"{quote(part)} IS NOT NULL" for part in view.key)
    return (
        f"SELECT {keys}, {end} AS {quote(END)}, {', '.join(columns)} FROM {events} "
        f"WHERE {present} GROUP BY ALL"
    )


def features_sql(
    view: View, tiles: str, decisions: str, *, keys: Sequence[str], identity: str
) -> str:
    """Print the query for a view's features at every decision: one row each, by `identity`.

    `decisions` is a relation with `identity`, ``at`` and the columns `keys`, in the order of the
    view's key. Sums run over each key's tiles once; a window is the difference of two ASOF reads.
    """
    every = view.every_ms
    on = " AND ".join(
        f"d.{quote(mine)} = c.{quote(theirs)}" for mine, theirs in zip(keys, view.key, strict=True)
    )
    partition = ", ".join(map(quote, view.key))
    running = "".join(
        f", SUM({quote(p.name)}) OVER w AS {quote(p.name)}"
        for p in view.partials
        if p.merge is Merge.ADD
    )
    newest = ""
    if view.keeps_newest:
        names = [NEWEST_AT, *(item.name for item in view.newest)]
        newest = "".join(f", {quote(name)}" for name in names)
    cumulative = (
        f"SELECT {partition}, {quote(END)}{running}{newest} FROM {tiles} "
        f"WINDOW w AS (PARTITION BY {partition} ORDER BY {quote(END)})"
    )
    joins, columns = [], []
    windows = sorted({f.window_ms for f in view.features}, key=lambda w: -1 if w is None else w)
    for index, window in enumerate([0, *(w for w in windows if w is not None)]):
        edge = f'd."at" // {every} * {every} - {window}'
        joins.append(f"ASOF LEFT JOIN c AS c{index} ON {on.replace('c.', f'c{index}.')} "
                     f"AND {edge} >= c{index}.{quote(END)}")
    alias = {window: index for index, window in enumerate([0, *(w for w in windows if w is not None)])}
    for feature in view.features:
        columns.append(f"{_feature_sql(view, feature, alias, tiles, on)} AS {quote(feature.name)}")
    return (
        f"WITH c AS ({cumulative}) SELECT d.{quote(identity)}, {', '.join(columns)} "
        f"FROM {decisions} AS d {' '.join(joins)}"
    )


def _feature_sql(
    view: View, feature: Feature, alias: Mapping[int, int], tiles: str, on: str
) -> str:
    window = feature.window_ms
    merged: dict[str, str] = {}
    bound = f'd."at" // {view.every_ms} * {view.every_ms}'
    for partial in feature.aggregate.partials:
        name = quote(partial.name)
        if not hasattr(partial, "merge"):
            alive = "TRUE" if window is None else f"c0.{NEWEST_AT} >= {bound} - {window}"
            merged[partial.name] = f"CASE WHEN {alive} THEN c0.{name} END"
        elif partial.merge is Merge.ADD:
            low = "0" if window is None else f"COALESCE(c{alias[window]}.{name}, 0)"
            merged[partial.name] = f"CAST(COALESCE(c0.{name}, 0) - {low} AS BIGINT)"
        else:
            since = "" if window is None else f" AND c.{quote(END)} > {bound} - {window}"
            merged[partial.name] = (
                f"(SELECT {partial.merge.value}(c.{name}) FROM {tiles} AS c "
                f"WHERE {on} AND c.{quote(END)} <= {bound}{since})"
            )
    age = f'd."at" - c0.{NEWEST_AT}'
    if window is not None and not feature.aggregate.windowed:
        age = f"CASE WHEN c0.{NEWEST_AT} >= {bound} - {window} THEN {age} END"
    return feature.aggregate.result_sql(merged, age)
