"""What a comparison of two tables finds: how many cells, and those that differ.

Numbers are equal when their bits are; there is no tolerance.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa

from headrace.feature_store.history import History
from headrace.operators.engines.duckdb import quote

__all__ = ["Difference", "Verdict", "compare"]

_SHOWN = 20


@dataclass(frozen=True)
class Difference:
    """One cell that differs."""

    where: str
    key: str
    column: str
    stream: object
    history: object


@dataclass
class Verdict:
    """How many cells were compared, and those that differ (the first ones of each kind)."""

    cells: int = 0
    mismatches: int = 0
    tables: dict[str, int] = field(default_factory=dict)
    pairs: dict[str, int] = field(default_factory=dict)
    """How many of the cells were compared between which two."""
    differences: list[Difference] = field(default_factory=list)

    def note(self, difference: Difference) -> None:
        """Count a difference, and keep it if it is one of the first."""
        self.mismatches += 1
        if len(self.differences) < _SHOWN:
            self.differences.append(difference)


def compare(
    verdict: Verdict,
    history: History,
    where: str,
    key: list[str],
    columns: list[str],
    *,
    stream: pa.Table,
    truth: pa.Table,
    pair: str = "stream = DuckDB",
) -> None:
    """Join two tables by key and count the cells that differ; a missing row is all its cells."""
    on = " AND ".join(f"s.{quote(k)} IS NOT DISTINCT FROM h.{quote(k)}" for k in key)
    pairs = "".join(
        f", s.{quote(c)} AS {quote('s_' + c)}, h.{quote(c)} AS {quote('h_' + c)}" for c in columns
    )
    text = ", ".join(f"COALESCE(s.{quote(k)}, h.{quote(k)})" for k in key)
    # Doubles are compared as they are: NaN is refused at the door and −0.0 is made 0.0.
    cells_differ = (f"s.{quote(c)} IS DISTINCT FROM h.{quote(c)}" for c in columns)
    differs = " OR ".join(["FALSE", *cells_differ])
    alone = f"s.{quote(key[0])} IS NULL OR h.{quote(key[0])} IS NULL"
    rows = history.query(
        f"SELECT concat_ws(' ', {text}) AS key, {alone} AS alone, "
        f"s.{quote(key[0])} IS NULL AS missing{pairs} FROM stream AS s "
        f"FULL JOIN truth AS h ON {on} WHERE {alone} OR {differs}",
        stream=stream,
        truth=truth,
    )
    names = ", ".join(map(quote, key))
    twice = f"SELECT {names}, COUNT(*) AS n FROM stream GROUP BY ALL HAVING COUNT(*) > 1"
    for row in history.query(twice, stream=stream).to_pylist():
        where_twice = " ".join(str(row[name]) for name in key)
        verdict.note(Difference(where, where_twice, "*", f"{row['n']} rows", "1 row"))
    cells = truth.num_rows * len(columns)
    verdict.cells += cells
    verdict.pairs[pair] = verdict.pairs.get(pair, 0) + cells
    verdict.tables[where] = verdict.tables.get(where, 0) + cells
    for row in rows.to_pylist():
        if not columns:
            there = (None, "1 row") if row["missing"] else ("1 row", None)
            verdict.note(Difference(where, row["key"], "*", *there))
        for column in columns:
            ours, theirs = row[f"s_{column}"], row[f"h_{column}"]
            if row["alone"] or ours != theirs:
                verdict.note(Difference(where, row["key"], column, ours, theirs))
