"""The features that a store has served, in parts: each from the first prediction that has it so.

A pipeline may change while it runs: a feature counts from the prediction on that has it as it is
declared now, as the table `versions` says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import pyarrow as pa

from headrace.operators.engines.duckdb import quote

__all__ = ["Ask", "served"]

Ask = Callable[[str], pa.Table]
"""Asks a store a query."""
_PART_ROWS = 50_000


def served(
    ask: Ask, features: Sequence[str], columns: Sequence[str] = (), *, inside: str = "TRUE"
) -> Iterator[pa.Table]:
    """Read predictions in the order of their numbers: columns of the decision, then features.

    Parameters
    ----------
    ask
        Asks the store.
    features
        Which; a part has those that were served in all of its rows as they are declared now.
    columns
        Of the decision, before them.
    inside
        A condition over the prediction `p`.

    """
    since = dict.fromkeys(features, 0)
    rows = ask("SELECT name, MAX(since) AS since FROM versions WHERE kind = 'feature' GROUP BY ALL")
    since |= {row["name"]: row["since"] for row in rows.to_pylist() if row["name"] in since}
    ends = ask(
        f"SELECT MIN(seq) AS first, MAX(seq) + 1 AS next FROM predictions AS p WHERE {inside}"
    )
    first, following = (ends[name][0].as_py() for name in ("first", "next"))
    if first is None:
        return
    cuts = [cut for cut in sorted(set(since.values())) if first < cut < following]
    for low, high in pairwise([first, *cuts, following]):
        here = [name for name in features if since[name] <= low]
        named = [*(f"d.{quote(c)}" for c in columns), *(f"p.{quote(name)}" for name in here)]
        for start in range(low, high if here else low, _PART_ROWS):
            stop = min(start + _PART_ROWS, high)
            yield ask(
                f"SELECT {', '.join(named)} FROM predictions AS p JOIN decisions AS d USING (seq) "
                f"WHERE {inside} AND seq >= {start} AND seq < {stop} ORDER BY seq"
            )
