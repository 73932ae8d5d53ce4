"""headrace drift: how far features, as they were served, have moved from a baseline.

::

    predictions of the baseline's time ─► counts ─┐
                                                  ├─► PSI of each feature, and its bins
    predictions of the period ──────────► counts ─┘

A period is in event time: the decisions with start ≤ at < end. So the same log has the same drift,
whenever and however often it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from headrace.feature_store.store import Declared
from headrace.operators.drift import Binned, Counts, psi, said
from headrace.operators.engines.duckdb import quote
from headrace.operators.errors import StoreError, UnknownName
from headrace.operators.view import Feature

__all__ = ["Drift", "Period", "counted", "drift", "moved"]

Ask = Callable[[str], pa.Table]
_PART_ROWS = 50_000


@dataclass(frozen=True)
class Period:
    """The decisions with `start` ≤ at < `end`, ms, UTC."""

    start: int
    end: int


@dataclass(frozen=True)
class Drift:
    """How far one feature has moved, and how its rows lie in the baseline's bins.

    `psi` is None where the baseline or the period has no row.
    """

    feature: str
    view: str
    psi: float | None
    said: str
    baseline_rows: int
    rows: int
    bins: Binned


def drift(
    declared: Declared,
    ask: Ask,
    *,
    baseline: Period,
    period: Period,
    features: Sequence[str] | None = None,
) -> list[Drift]:
    """Compare the features of predictions of a period with those of a baseline.

    Parameters
    ----------
    declared
        What the pipeline declares.
    ask
        Asks the store a query.
    baseline, period
        Of which decisions.
    features
        Their names; all of them unless given.

    Raises
    ------
    UnknownName
        Where a feature is not declared.
    StoreError
        Where a period has no prediction.

    """
    known = {f.name: (view.name, f) for view in declared.views.values() for f in view.features}
    names = list(known) if features is None else list(features)
    for name in names:
        if name not in known:
            raise UnknownName(kind="feature", name=name, known=list(known))
    chosen = [known[name][1] for name in names]
    before, now = (counted(chosen, _rows(ask, names, each)) for each in (baseline, period))
    for counts, each in ((before, baseline), (now, period)):
        if not any(one.rows for one in counts.values()):
            asked = f"asked for the drift of decisions from {each.start} to {each.end}"
            do = 'see what there is: SELECT MIN("at"), MAX("at") FROM predictions'
            raise StoreError(asked, "none of them has a prediction", do)
    return [moved(name, known[name][0], before[name], now[name]) for name in names]


def _rows(ask: Ask, names: Sequence[str], period: Period) -> list[pa.Table]:
    """Read the predictions of a period in parts."""
    inside = f'"at" >= {period.start} AND "at" < {period.end}'
    ends = ask(f"SELECT MIN(seq) AS first, MAX(seq) AS last FROM predictions WHERE {inside}")
    first, last = (ends[name][0].as_py() for name in ("first", "last"))
    columns = ", ".join(map(quote, names))
    return [
        ask(
            f"SELECT {columns} FROM predictions WHERE {inside} AND seq >= {start} "
            f"AND seq < {start + _PART_ROWS}"
        )
        for start in range(first or 0, 0 if last is None else last + 1, _PART_ROWS)
    ]


def counted(features: Sequence[Feature], parts: Sequence[pa.Table]) -> dict[str, Counts]:
    """Count the values of features over tables that have them."""
    counts = {feature.name: Counts.of(feature.aggregate.type) for feature in features}
    for part in parts:
        for name, each in counts.items():
            each.add(part[name])
    return counts


def moved(feature: str, view: str, before: Counts, now: Counts) -> Drift:
    """Compare two counts of one feature."""
    bins = before.beside(now)
    index = psi(bins)
    word = "unknown" if index is None else said(index)
    return Drift(feature, view, index, word, before.rows, now.rows, bins)
