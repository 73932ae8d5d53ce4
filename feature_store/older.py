"""Features before a view's horizon: what the hot index has dropped, from the file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headrace.feature_store.catalogue import Catalogue
from headrace.feature_store.index import Found
from headrace.feature_store.kernel import EXPIRED, NEVER_SEEN
from headrace.operators.engines.duckdb import features_sql, quote
from headrace.operators.view import END, Feature, View

__all__ = ["committed", "older"]


def committed(catalogue: Catalogue, version: str, shards: int) -> int:
    """Give the time to which a view is complete in the file; 0 where a shard has nothing yet."""
    query = "SELECT CASE WHEN COUNT(*) = ? THEN MIN(complete) ELSE 0 END FROM panes WHERE name = ?"
    found = catalogue.read(query, [shards, version])
    return int(found.column(0)[0].as_py())


def older(
    catalogue: Catalogue,
    view: View,
    features: Sequence[Feature],
    keys: Sequence[pa.Array],
    at: npt.NDArray[np.int64],
) -> Found:
    """Answer from committed tiles: a read scans the view for those of its keys, milliseconds."""
    if not len(at):
        nothing = {f.name: pa.array([], f.aggregate.type.arrow) for f in features}
        return nothing, {f.name: np.zeros(0, np.uint8) for f in features}
    query = _query(replace(view, features=tuple(features)))
    asked = [[*range(len(at))], at.tolist(), *(key.to_pylist() for key in keys)]
    found = catalogue.read(query, list[object](asked))
    ends = found[_NEWEST].fill_null(-1).to_numpy()
    bounds = at // view.every_ms * view.every_ms
    values, states = {}, {}
    for feature in features:
        column = pa.concat_arrays(found[feature.name].cast(feature.aggregate.type.arrow).chunks)
        state = np.where(ends < 0, NEVER_SEEN, 0).astype(np.uint8)
        if feature.reach_ms is not None:
            null = column.is_null().to_numpy(zero_copy_only=False)
            state[null & (ends >= 0) & (ends <= bounds - feature.reach_ms)] = EXPIRED
        values[feature.name], states[feature.name] = column, state
    return values, states


_NEWEST = "newest end"
"""The end of the key's newest tile by b; no feature has a space in its name."""


def _query(view: View) -> str:
    """Print the query for features and the newest end, in the order of ``seq``."""
    names = [f"k{place}" for place in range(len(view.key))]
    columns = ['unnest(?::BIGINT[]) AS seq, unnest(?::BIGINT[]) AS "at"']
    for name, kind in zip(names, view.key_types, strict=True):
        columns.append(f"unnest(?::{kind.duckdb}[]) AS {name}")
    pairs = zip(names, view.key, strict=True)
    same = " AND ".join(f"a.{name} = t.{quote(part)}" for name, part in pairs)
    rows = {each.name: f"known_{place}" for place, each in enumerate(view.rows)}
    tables = {"known": view.name} | {rows[each.name]: view.companion(each) for each in view.rows}
    parts = [f"asked AS MATERIALIZED (SELECT {', '.join(columns)})"]
    parts += [
        f"{name} AS MATERIALIZED (SELECT * FROM views.{quote(table)} AS t WHERE t.{quote(END)} <= "
        f'(SELECT MAX("at") FROM asked) AND EXISTS (SELECT 1 FROM asked AS a WHERE {same}))'
        for name, table in tables.items()
    ]
    features = features_sql(view, "known", "asked", keys=names, identity="seq", rows=rows)
    newest = (
        f"SELECT a.seq, MAX(t.{quote(END)}) AS {quote(_NEWEST)} FROM asked AS a LEFT JOIN known "
        f'AS t ON {same} AND t.{quote(END)} <= a."at" // {view.every_ms} * {view.every_ms} '
        "GROUP BY a.seq"
    )
    return (
        f"WITH {', '.join(parts)} SELECT f.*, n.{quote(_NEWEST)} FROM ({features}) AS f "
        f"JOIN ({newest}) AS n USING (seq) ORDER BY seq"
    )
