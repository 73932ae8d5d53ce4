"""Several rows a tile, as Flink SQL: windows of bins, and the ends of a tile in one text.

::

    <source> ─┬─► window by key ──────► <view>__tiles, ends among them ─┐
              ├─► window by key, bin ─► <view>__<bins> ─────────────────┼─► one message a pane
              └─► …                                                     │
                                                 progress ──────────────┘
"""

from __future__ import annotations

from collections.abc import Sequence

from headrace.operators.aggregates import Bins, Ends
from headrace.operators.view import PLACE_DIGITS, View

__all__ = ["bins_sql", "columns", "ends_sql", "place_sql"]

_NONE = "CAST(NULL AS STRING)"


def place_sql() -> str:
    """Print at, partition and offset with leading zeros: as texts they sort as the rows do."""
    parts = ("`at`", "`partition`", "`offset`")
    return ", ".join(
        f"LPAD(CAST({part} AS STRING), {digits}, '0')"
        for part, digits in zip(parts, PLACE_DIGITS, strict=True)
    )


def ends_sql(ends: Ends) -> str:
    """Print a tile's ends: ``{"o": place, "v": value}``, oldest first and a comma between two."""
    value = f"SUBSTRING(JSON_OBJECT('v' VALUE `{ends.column}` NULL ON NULL), 2)"
    entry = f"CONCAT('{{\"o\":\"', {place_sql()}, '\",', {value})"
    known = f"FILTER (WHERE `{ends.column}` IS NOT NULL)"
    if ends.most_rows == 1:
        return f"{'MAX' if ends.newest else 'MIN'}({entry}) {known}"
    # All of the tile's rows are in Flink's state until the tile is complete, at most one step.
    rows = f"ARRAY_AGG({entry}) {known}"
    newest = f"ARRAY_SLICE(ARRAY_SORT({rows}), -{ends.most_rows})"
    oldest = f"ARRAY_SLICE(ARRAY_SORT({rows}), 1, {ends.most_rows})"
    return f"ARRAY_JOIN({newest if ends.newest else oldest}, ',')"


def bins_sql(view: View, *, step: str, pane: str, shard: str) -> tuple[list[str], list[str]]:
    """Print the windows of a view's bins, and what a pane gathers of them.

    A row is ``{"k0": …, "b": bin, "n": number}``; the bins of place i stand in the message's list
    ``b<i>``, and in the column of that name, which is NULL in all other rows.
    """
    made, gathered = [], []
    for i, bins in enumerate(view.bins):
        table = f"`{view.companion(bins)}`"
        made.append(_window(view, bins, table, step, pane))
        fields = [f"'k{j}' VALUE `{part}`" for j, part in enumerate(view.key)]
        row = f"JSON_OBJECT({', '.join(fields)}, 'b' VALUE `_bin`, 'n' VALUE `_n`)"
        others = columns(view.bins, {i: row})
        gathered.append(
            f"SELECT {shard} AS shard, pane_time, pane, {_NONE} AS item, CAST(0 AS BIGINT) AS n, "
            f"CAST(0 AS BIGINT) AS unkeyed{others} FROM {table}"
        )
    return made, gathered


def _window(view: View, bins: Bins, table: str, step: str, pane: str) -> str:
    keys = ", ".join(f"`{part}`" for part in view.key)
    names = ", ".join(f"`{name}`" for name in dict.fromkeys([*view.key, bins.column, "at"]))
    present = " AND ".join(
        f"`{name}` IS NOT NULL" for name in dict.fromkeys([*view.key, bins.column])
    )
    return f"""CREATE TEMPORARY VIEW {table} AS
SELECT {keys}, TUMBLE_ROWTIME(rowtime, {step}) AS pane_time, {pane} AS pane, `_bin`,
  {bins.number_sql} AS `_n`
FROM (SELECT {names}, rowtime, {bins.sql} AS `_bin` FROM `{view.source.name}` WHERE {present})
GROUP BY {keys}, `_bin`, TUMBLE(rowtime, {step})"""


def columns(bins: Sequence[Bins], known: dict[int, str]) -> str:
    """Print the columns of bins in a row of a pane: those that it does not have are NULL."""
    return "".join(f", {known.get(i, _NONE)} AS b{i}" for i in range(len(bins)))
