"""Why a decision was scored as it was: its features, the tiles below them, what each token added.

Everything is read from the store as it is kept: the features as served, the version that served
them, the label if it has come. The contributions are exact: a linear model's log-odds are their
sum.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from headrace.feature_store.store import Store
from headrace.jobs.store import StoreProcess
from headrace.operators.engines.duckdb import quote
from headrace.operators.errors import CorruptError, StoreError
from headrace.operators.view import END, NEWEST_PLACE, Feature, View, bound

__all__ = ["why"]


def why(process: StoreProcess, identity: str) -> dict[str, Any]:
    """Explain the newest prediction for the decision `identity`.

    Returns
    -------
    dict
        ``decision``, its columns and place; ``p``, ``version``; ``of``, the names of the numbers in
        ``p`` where it has several; ``label``, null until it has come;
        ``features``, each with its value, its key, its window and the tiles in it; ``computed``,
        the values of those that are computed of them; and
        ``contributions`` to the sum, of a bool the log-odds, of classes that of the most likely, by
        token, null with a reason in ``without`` where the version is no longer kept.

    Raises
    ------
    StoreError
        Where there is no prediction for such a decision.

    """
    store = process.store
    row = _predicted(store, identity)
    found = row.to_pylist()[0]
    names = store.declared.decision_schema.names
    try:
        scorer = process.scorer_of(found["version"])
        told: dict[str, Any] = {"contributions": scorer.contributions(row), "without": None}
    except CorruptError as error:
        told = {"contributions": None, "without": str(error)}
    return {
        "decision": {name: found[name] for name in names},
        "p": found["p"],
        **({"of": list(store.declared.parts)} if store.declared.parts else {}),
        "version": found["version"],
        "label": _label(store, found["seq"]),
        "features": {
            feature.name: {"value": found[feature.name], **_tiles(store, view, feature, found)}
            for view in store.declared.views.values()
            for feature in view.features
        },
        "computed": {name: found[name] for name in store.declared.computed},
        **told,
    }


def _label(store: Store, seq: int) -> Any:
    """Give the label of a decision, None before it came; of tasks those that came, by name."""
    query = 'SELECT * FROM examples WHERE seq = ? ORDER BY "at" DESC'  # the first one counts
    rows = store.catalogue.read(query, [seq]).to_pylist()
    if store.declared.tasks:
        came = {row["task"]: row["label"] for row in rows}
        return {task: came.get(task) for task in store.declared.parts} if came else None
    return rows[-1]["label"] if rows else None


def _predicted(store: Store, identity: str) -> pa.Table:
    """Give the newest prediction of a decision, with the decision's own columns."""
    columns = ", ".join(f"d.{quote(name)}" for name in store.declared.decision_schema.names)
    features = ", ".join(f"p.{quote(name)}" for name in store.declared.feature_schema.names)
    found = store.catalogue.read(
        f"SELECT {columns}, p.version, p.p, {features} FROM predictions AS p "
        "JOIN decisions AS d USING (seq) WHERE d.id = ? ORDER BY seq DESC LIMIT 1",
        [identity],
    )
    if not found.num_rows:
        asked = f"asked why the decision {identity!r} was scored as it was"
        do = "give the id of one that was: SELECT id FROM predictions"
        raise StoreError(asked, "there is no prediction for it", do)
    return found


def _tiles(store: Store, view: View, feature: Feature, row: dict[str, Any]) -> dict[str, Any]:
    """Say of a feature which tiles it was read from: their number, the first end and the last.

    A feature of the newest row has that row's place in the log, too.
    """
    key = [row[name] for name in store.declared.keys[view.name]]
    high = bound(row["at"], view.every_ms)
    low = 0 if feature.reach_ms is None else high - feature.reach_ms
    pairs = zip(view.key, key, strict=True)
    same = " AND ".join(f"{quote(name)} = {_printed(part)}" for name, part in pairs)
    newest = ""
    if not feature.aggregate.windowed:
        newest = "".join(f", arg_max({name}, {quote(END)}) AS {name}" for name in NEWEST_PLACE)
    found = store.ask_of_key(
        view.name,
        key,
        f"SELECT COUNT(*) AS tiles, MIN({quote(END)}) AS first, MAX({quote(END)}) AS last{newest} "
        f"FROM views.{quote(view.name)} "
        f"WHERE {same} AND {quote(END)} > {low} AND {quote(END)} <= {high}",
    )
    told: dict[str, Any] = found.to_pylist()[0]
    return {"view": view.name, "key": key, "after": low, "to": high, **told}


def _printed(part: object) -> str:
    """Print a part of a key; a text by its bytes, for it may hold anything.

    >>> _printed(7), _printed(True), _printed("é"), _printed(None)
    ('7', 'true', "decode(unhex('c3a9'))", 'NULL')
    """
    if isinstance(part, str):
        return f"decode(unhex('{part.encode().hex()}'))"
    return "NULL" if part is None else str(part).lower()
