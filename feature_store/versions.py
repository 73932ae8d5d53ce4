"""Which versions of views, features and the decision a store's file holds, and since when.

::

    declared ─► version of each view ─┬─ held already: its tiles stay, whatever windows read them
                                      ├─ a fresh file: it begins with the stream
                                      ├─ backfilled: it begins at the backfill's end
                                      └─ neither ─► StoreError: its history would be missing

The table ``versions`` has a row for each view (its identity), for the decision, and for each
feature: `since`, the number of the first prediction that has it so. A row of a feature that is
declared no more has the identity ''. A ``column`` is one that decisions have got since they began:
those numbered below `since` have null.
Where the file is a part of a store, a row says which.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from contextlib import closing
from pathlib import Path

import pyarrow as pa

from headrace.feature_store.catalogue import TABLES, Catalogue
from headrace.feature_store.shards import WHOLE, Part
from headrace.operators.errors import StoreError, UnknownName
from headrace.operators.identity import origin_identity
from headrace.operators.source import Source

__all__ = [
    "admit",
    "drop",
    "events_table",
    "events_version",
    "features_since",
    "held",
    "note",
    "note_events",
    "rows_version",
    "table_of",
    "widen",
    "widened",
]

_DECISION = ("decision", "")
_LASTING = ("decision", "lasting")
_PART = "part"


def table_of(version: str, companion: str = "") -> str:
    """Name the table of the tiles of a version of a view, or of their companion rows."""
    return f"tiles.{version}{f'__{companion}' if companion else ''}"


def rows_version(source: Source) -> str:
    """Name what is refused of a source's files as it is declared now."""
    return events_table(events_version(source))


def events_version(source: Source) -> str:
    """Name a source's events as it is declared now."""
    return f"{source.name}-{origin_identity(source)}"


def events_table(version: str) -> str:
    """Name the table of the events of a version of a source."""
    return f"rows.{version}"


def held(catalogue: Catalogue, kind: str = "view") -> set[str]:
    """Name the versions of views that the file holds, or those of sources' ``events``."""
    rows = catalogue.read("SELECT name FROM versions WHERE kind = ?", [kind])
    return set(rows["name"].to_pylist())


def admit(
    catalogue: Catalogue,
    versions: Collection[str],
    decision: str,
    *,
    lasting: str,
    backfilled: Collection[str],
    of_files: Collection[str],
    part: Part,
) -> list[str]:
    """Give the versions that are new to the file, if it may go on with all that is declared.

    Parameters
    ----------
    catalogue
        The open file; nothing is written to it.
    versions
        Those of the views that are declared.
    decision
        The identity of the decision.
    lasting
        The same, but for the columns that decisions may get later.
    backfilled
        Versions whose history is at hand.
    of_files
        Those, of views and of refused rows, that have history in files.
    part
        Which part of a store it is to be.

    Raises
    ------
    StoreError
        Where the file is another part of a store, its decisions are others, a view is new to a file
        that has begun, or its history is in files and was not computed.

    """
    known = _latest(catalogue)
    _check_part(catalogue, known, part)
    asked = "asked to open the store for the pipeline as it is declared now"
    if known.get(_DECISION, decision) != decision and known.get(_LASTING) != lasting:
        found = "it holds the decisions of another declaration"
        raise StoreError(asked, found, "start in a fresh state folder")
    every = dict.fromkeys((*versions, *of_files))
    new = [version for version in every if ("view", version) not in known]
    lacking = [version for version in new if version not in backfilled]
    for version in lacking:
        if version in of_files:
            name = version.rpartition("-")[0].removeprefix("rows.")
            found = f"{name!r} has history in files, and none of it was computed"
            raise StoreError(asked, found, "run `headrace backfill`, or `apply` if it is new")
    if known and lacking:
        found = f"its view {lacking[0].partition('-')[0]!r} is new, and the stream has begun"
        raise StoreError(asked, found, "run `headrace apply`, which computes its history")
    return new


def _check_part(catalogue: Catalogue, known: Mapping[tuple[str, str], str], part: Part) -> None:
    noted = [name for kind, name in known if kind == _PART] or [str(WHOLE)]
    if known and noted != [str(part)]:
        asked = f"asked to open '{catalogue.path}' as {part}"
        do = "run `headrace store rebuild`, which makes the store's files anew from the log"
        raise StoreError(asked, f"it is {noted[0]}", do)


def note(
    catalogue: Catalogue, versions: Collection[str], decision: str, lasting: str, part: Part
) -> None:
    """Note new versions, the decision and which part of a store it is; inside a transaction."""
    rows = [("view", version, version, 0) for version in versions]
    said, known = {_DECISION: decision, _LASTING: lasting}, _latest(catalogue)
    if part != WHOLE and _DECISION not in known:
        rows.append((_PART, str(part), "", 0))
    rows += [(*of, now, 0) for of, now in said.items() if known.get(of) != now]
    _append(catalogue, rows)


def widen(catalogue: Catalogue, decisions: pa.Schema) -> None:
    """Note the columns that decisions get, before the table gets them.

    Raises
    ------
    StoreError
        Where a column goes that decisions have.

    """
    there = catalogue.read(
        "SELECT column_name AS name FROM information_schema.columns "
        "WHERE table_schema = 'main' AND table_name = 'decisions'"
    )["name"].to_pylist()
    gone = [name for name in there if name not in decisions.names]
    if gone:
        asked = f"asked to open the store for decisions without the column {gone[0]!r}"
        do = "declare it as before, or start in a fresh state folder"
        raise StoreError(asked, "the decisions that it holds have it", do)
    new = [field for field in decisions if field.name not in there] if there else []
    if new:
        count = catalogue.read("SELECT COUNT(*) AS n FROM decisions")["n"][0].as_py()
        with catalogue.transaction():
            _append(catalogue, [("column", each.name, str(each.type), count) for each in new])


def widened(catalogue: Catalogue) -> dict[str, int]:
    """Give the columns that decisions got, each with the number of the first that may have it."""
    query = "SELECT name, MAX(since) AS since FROM versions WHERE kind = 'column' GROUP BY ALL"
    return {row["name"]: row["since"] for row in catalogue.read(query).to_pylist()}


def note_events(catalogue: Catalogue, version: str) -> None:
    """Note a new version of a source's events; inside a transaction."""
    _append(catalogue, [("events", version, version, 0)])


def drop(path: Path, version: str) -> None:
    """Remove a version of a view, or of events, from the file at `path`, and its backfill.

    Nobody may have the file open.

    Raises
    ------
    UnknownName
        Where the file holds no such version.

    """
    with closing(Catalogue(path)) as catalogue:
        known = held(catalogue) | held(catalogue, "events")
        if version not in known:
            raise UnknownName(kind="version", name=version, known=sorted(known))
        rows = catalogue.read(
            "SELECT table_schema || '.' || table_name AS name FROM information_schema.tables "
            "WHERE table_schema IN ('tiles', 'rows') "
            "AND (table_name = ? OR starts_with(table_name, ? || '__'))",
            [version, version],
        )
        catalogue.forget(version, rows["name"].to_pylist())
    shutil.rmtree(path.parent / "backfills" / version, ignore_errors=True)


def features_since(catalogue: Catalogue, features: Mapping[str, str], seq: int) -> None:
    """Note the features with their identities; what changed counts from prediction `seq` on."""
    known = {name: i for (kind, name), i in _latest(catalogue).items() if kind == "feature"}
    now = {**dict.fromkeys(known, ""), **features}
    changed = {name: i for name, i in now.items() if known.get(name) != i}
    with catalogue.transaction():
        _append(catalogue, [("feature", name, i, seq) for name, i in changed.items()])


def _latest(catalogue: Catalogue) -> dict[tuple[str, str], str]:
    rows = catalogue.read("SELECT kind, name, identity FROM versions ORDER BY rowid").to_pylist()
    return {(row["kind"], row["name"]): row["identity"] for row in rows}


def _append(catalogue: Catalogue, rows: Collection[tuple[str, str, str, int]]) -> None:
    if rows:
        schema = TABLES["versions"]
        named = [dict(zip(schema.names, row, strict=True)) for row in rows]
        catalogue.append("versions", pa.Table.from_pylist(named, schema))
