"""The DuckDB engine: the same views and features over history, as DuckDB SQL.

Every function here prints a query that gives what the stream gives, row for row. The events that
they begin with come from the raw log, by `headrace.operators.engines.duckdb_log`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headrace.operators.aggregates import Bins, Ends, Merge, Newest, Partial
from headrace.operators.decay import Decay
from headrace.operators.engines.duckdb_rows import gathered_sql, rows_sql
from headrace.operators.engines.quoting import quote
from headrace.operators.status import STATUS_SUFFIX, status_sql
from headrace.operators.types import Type
from headrace.operators.view import END, NEWEST_AT, NEWEST_PLACE, Feature, View

__all__ = [
    "as_of_sql",
    "features_sql",
    "newest_sql",
    "quote",
    "rows_sql",
    "running_sql",
    "tiles_sql",
]


def tiles_sql(view: View, events: str) -> str:
    """Print the query for a view's tiles over a relation of its source's events."""
    keys = ", ".join(map(quote, view.key))
    end = f'("at" // {view.every_ms} + 1) * {view.every_ms}'
    columns = [f"{p.sql.replace('`', chr(34))} AS {quote(p.name)}" for p in view.partials]
    if view.keeps_newest:
        # One comparison of one struct: the place orders rows of equal time, as in the stream.
        place = 'MAX({"at": "at", "p": partition, "o": "offset"})'
        columns += [f"{place}.at AS {NEWEST_AT}"]
        columns += [
            f"{place}.{part} AS {name}" for part, name in zip("po", NEWEST_PLACE, strict=True)
        ]
        order = '{"at": "at", "p": partition, "o": "offset"}'
        columns += [
            # A struct around the value: a bare arg_max passes over rows whose value is NULL.
            f'arg_max({{"v": {quote(newest.column)}}}, {order}).v AS {quote(newest.name)}'
            for newest in view.newest
        ]
    present = " AND ".join(f"{quote(part)} IS NOT NULL" for part in view.key)
    return (
        f"SELECT {', '.join([keys, f'{end} AS {quote(END)}', *columns])} FROM {events} "
        f"WHERE {present} GROUP BY ALL"
    )


def features_sql(
    view: View,
    tiles: str,
    decisions: str,
    *,
    keys: Sequence[str],
    identity: str,
    rows: Mapping[str, str] | None = None,
    running: str = "",
    statuses: bool = False,
) -> str:
    """Print the query for a view's features at every decision: one row each, by `identity`.

    `decisions` is a relation with `identity`, ``at`` and the columns `keys`, in the order of the
    view's key; `rows` names the companion tables by what they have rows of; `running` is a table
    made by `running_sql`, where there is one. Sums run over each key's tiles once; a window is the
    difference of two ASOF reads, one at b and one at b − W.
    """
    known = running or "running"
    windows = sorted(
        {
            feature.window_ms
            for feature in view.features
            if feature.window_ms is not None and feature.aggregate.half_life_ms is None
        }
    )
    joins = " ".join(
        f"ASOF LEFT JOIN {known} AS {_read(window)} ON {_same_key(view, keys, _read(window))} "
        f"AND {_bound(view)} - {window} >= {_read(window)}.{quote(END)}"
        for window in (0, *windows)
    )
    common, gathered = gathered_sql(view, rows or {}, decisions, keys, identity)
    joins += "".join(
        f" LEFT JOIN {each} ON d.{quote(identity)} = {each}._id" for each in gathered.values()
    )
    features = [
        f"{_feature_sql(view, feature, tiles, keys, gathered.get(feature.name, ''))} "
        f"AS {quote(feature.name)}"
        for feature in view.features
    ]
    features += _newest_and_bound(view) if statuses else []
    common = common if running else [f"running AS ({running_sql(view, tiles)})", *common]
    query = (
        f"{'WITH ' if common else ''}{', '.join(common)} "
        f"SELECT {', '.join([f'd.{quote(identity)}', *features])} FROM {decisions} AS d {joins}"
    )
    return _with_statuses(view, query) if statuses else query


def running_sql(view: View, tiles: str) -> str:
    """Print the query for the running sums of each key's tiles, and what their newest rows say."""
    partition = ", ".join(map(quote, view.key))
    sums = [p.name for p in view.partials if p.merge is Merge.ADD]
    columns = [f"SUM({quote(name)}) OVER w AS {quote(name)}" for name in sums]
    if view.keeps_newest:
        columns += [quote(name) for name in (NEWEST_AT, *(n.name for n in view.newest))]
    window = f" WINDOW w AS (PARTITION BY {partition} ORDER BY {quote(END)})" if sums else ""
    return f"SELECT {', '.join([partition, quote(END), *columns])} FROM {tiles}{window}"


def newest_sql(
    view: View,
    events: str,
    decisions: str,
    *,
    keys: Sequence[str],
    identity: str,
    statuses: bool = False,
) -> str:
    """Print the same for a view that keeps the newest row and nothing else, without tiles.

    One ASOF read of the events' times alone, then of their rows those that were found: an ASOF
    join sorts all that it reads. Rows of one time are told apart by (partition, offset).
    """
    now, parts = _read(0), [quote(part) for part in view.key]
    near = (
        f"SELECT d.*, {now}.{NEWEST_AT} AS _near FROM {decisions} AS d ASOF LEFT JOIN "
        f'(SELECT {", ".join(parts)}, "at" AS {NEWEST_AT} FROM {events}) AS {now} '
        f"ON {_same_key(view, keys, now)} AND {_bound(view)} > {now}.{NEWEST_AT}"
    )
    end = f'("at" // {view.every_ms} + 1) * {view.every_ms}'
    row = ", ".join(f"{quote(each.name)}: {quote(each.column)}" for each in view.newest)
    said = f', arg_max({{{row}}}, {{"p": partition, "o": "offset"}}) AS _row' if row else ""
    found = (
        f'SELECT {", ".join(parts)}, "at" AS {NEWEST_AT}, {end} AS {quote(END)}{said} '
        f"FROM (SELECT e.* FROM {events} AS e SEMI JOIN near AS d "
        f'ON {_same_key(view, keys, "e")} AND d._near = e."at") GROUP BY ALL'
    )
    columns = [*parts, NEWEST_AT, quote(END)]
    columns += [f"_row.{quote(each.name)} AS {quote(each.name)}" for each in view.newest]
    features = [
        f"{_feature_sql(view, feature, '', keys, '')} AS {quote(feature.name)}"
        for feature in view.features
    ]
    features += _newest_and_bound(view) if statuses else []
    query = (
        f"WITH near AS MATERIALIZED ({near}) "
        f"SELECT {', '.join([f'd.{quote(identity)}', *features])} FROM near AS d LEFT JOIN "
        f"(SELECT {', '.join(columns)} FROM ({found})) AS {now} "
        f"ON {_same_key(view, keys, now)} AND d._near = {now}.{NEWEST_AT}"
    )
    return _with_statuses(view, query) if statuses else query


def _newest_and_bound(view: View) -> list[str]:
    return [f"{_read(0)}.{quote(END)} AS _newest", f"{_bound(view)} AS _bound"]


def _with_statuses(view: View, query: str) -> str:
    """Print a query for the same features, and each one's status beside them."""
    found = (
        status_sql(quote(each.name), newest="_newest", bound="_bound", reach_ms=each.reach_ms)
        + f" AS {quote(each.name + STATUS_SUFFIX)}"
        for each in view.features
    )
    return f"SELECT * EXCLUDE (_newest, _bound), {', '.join(found)} FROM ({query})"


def as_of_sql(view: View, tiles: str, at: str, *, rows: Mapping[str, str] | None = None) -> str:
    """Print the query for a view's features as of one time: a row for each key known by then.

    `at` is an SQL expression, int64 ms; a key is known when it has a tile that ends by b. `rows`
    names the companion tables, as for `features_sql`.
    """
    keys = ", ".join(map(quote, view.key))
    features = ", ".join(quote(feature.name) for feature in view.features)
    asked = (
        f'SELECT *, row_number() OVER (ORDER BY {keys}) AS seq, CAST({at} AS BIGINT) AS "at" '
        f"FROM (SELECT DISTINCT {keys} FROM {tiles} WHERE {quote(END)} <= "
        f"CAST({at} AS BIGINT) // {view.every_ms} * {view.every_ms})"
    )
    found = features_sql(view, tiles, "asked", keys=view.key, identity="seq", rows=rows)
    return (
        f"WITH asked AS MATERIALIZED ({asked}), found AS ({found}) "
        f'SELECT {keys}, "at", {features} FROM asked JOIN found USING (seq) ORDER BY seq'
    )


def _read(window_ms: int) -> str:
    """Name the newest tile at or before b − window."""
    return f"before_{window_ms}"


def _bound(view: View) -> str:
    return f'd."at" // {view.every_ms} * {view.every_ms}'


def _same_key(view: View, keys: Sequence[str], alias: str) -> str:
    pairs = zip(keys, view.key, strict=True)
    return " AND ".join(f"d.{quote(mine)} = {alias}.{quote(theirs)}" for mine, theirs in pairs)


def _feature_sql(
    view: View, feature: Feature, tiles: str, keys: Sequence[str], gathered: str
) -> str:
    window, now = feature.window_ms, _read(0)
    alive = "TRUE" if window is None else f"{now}.{NEWEST_AT} >= {_bound(view)} - {window}"
    merged: dict[str, str] = {}
    for partial in feature.aggregate.partials:
        name = quote(partial.name)
        if isinstance(partial, Bins | Ends):
            merged[partial.name] = f"{gathered}.y"
        elif isinstance(partial, Partial) and feature.aggregate.half_life_ms is not None:
            merged[partial.name] = _decayed_sql(view, feature, partial, tiles, keys)
        elif isinstance(partial, Newest):
            merged[partial.name] = f"CASE WHEN {alive} THEN {now}.{name} END"
        elif partial.merge is Merge.ADD:
            low = "0" if window is None else f"COALESCE({_read(window)}.{name}, 0)"
            difference = f"COALESCE({now}.{name}, 0) - {low}"
            if partial.type is Type.INT128:
                difference = f"CAST({difference} AS DECIMAL(38, 0))"
            merged[partial.name] = f"CAST({difference} AS {partial.type.duckdb})"
        else:
            since = "" if window is None else f" AND c.{quote(END)} > {_bound(view)} - {window}"
            merged[partial.name] = (
                f"(SELECT {partial.merge.value}(c.{name}) FROM {tiles} AS c "
                f"WHERE {_same_key(view, keys, 'c')} AND c.{quote(END)} <= {_bound(view)}{since})"
            )
    age = f'CASE WHEN {alive} THEN d."at" - {now}.{NEWEST_AT} END'
    return feature.aggregate.result_sql(merged, age)


def _decayed_sql(
    view: View, feature: Feature, partial: Partial, tiles: str, keys: Sequence[str]
) -> str:
    """Print a sum of weighed tiles: list_reduce adds them up one by one, in the list's order."""
    end, half_life = f"c.{quote(END)}", feature.aggregate.half_life_ms or 0
    weight = Decay(half_life // view.every_ms).weight_sql(
        f"({_bound(view)} - {end}) // {view.every_ms}"
    )
    value = f"CAST(COALESCE(c.{quote(partial.name)}, 0) AS DOUBLE) * ({weight})"
    return (
        f"COALESCE((SELECT list_reduce(list({value} ORDER BY {end} DESC), lambda a, b: a + b) "
        f"FROM {tiles} AS c WHERE {_same_key(view, keys, 'c')} AND {end} <= {_bound(view)} "
        f"AND {end} > {_bound(view)} - {feature.reach_ms}), CAST(0 AS DOUBLE))"
    )
