"""headrace drift: how far features, as they were served, have moved from a baseline.

::

    predictions of the baseline's time ─► counts ─┐
                                                  ├─► PSI of each feature, and its bins
    predictions of the period ──────────► counts ─┘

A period is in event time: the decisions with start ≤ at < end. So the same log has the same drift,
whenever and however often it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from headrace.feature_store.catalogue import TABLES
from headrace.feature_store.store import Declared
from headrace.jobs.checks.served import Ask, served
from headrace.operators.drift import PSI, Binned, Counts, psi, said
from headrace.operators.errors import StoreError, UnknownName
from headrace.operators.types import Type

__all__ = ["Drift", "Period", "Watch", "drift", "feature_types", "moved"]


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
    types = feature_types(declared)
    names = list(types) if features is None else list(features)
    for name in names:
        if name not in types:
            raise UnknownName(kind="feature", name=name, known=list(types))
    before, now = (
        _counted(ask, {name: types[name] for name in names}, p) for p in (baseline, period)
    )
    for counts, each in ((before, baseline), (now, period)):
        if not any(one.rows for one in counts.values()):
            asked = f"asked for the drift of decisions from {each.start} to {each.end}"
            do = 'see what there is: SELECT MIN("at"), MAX("at") FROM predictions'
            raise StoreError(asked, "none of them has a prediction", do)
    return [moved(name, before[name], now[name]) for name in names]


def feature_types(declared: Declared) -> dict[str, Type]:
    """Give every feature's type, by its name."""
    features = (feature for view in declared.views.values() for feature in view.features)
    computed = {name: tree.type for name, tree in declared.computed.items()}
    return {feature.name: feature.aggregate.type for feature in features} | computed


def _counted(ask: Ask, types: Mapping[str, Type], period: Period) -> dict[str, Counts]:
    """Count the values of features in the predictions of a period."""
    counts = {name: Counts.of(kind) for name, kind in types.items()}
    inside = f'p."at" >= {period.start} AND p."at" < {period.end}'
    for part in served(ask, list(types), inside=inside):
        for name in part.column_names:
            counts[name].add(part[name])
    return counts


class Watch:
    """Measures the drift of each period once, when every decision in it has its prediction.

    A period is from one multiple of `every_ms` to before the next, after the baseline. What is told
    follows from the predictions alone, so after a kill it is the same, and told once.

    Parameters
    ----------
    declared
        What the pipeline declares.
    ask
        Asks the store's own file.
    baseline
        Of which decisions.
    every_ms
        The length of a period.
    told
        The end of the last period that was told; None where there is none.

    """

    def __init__(
        self, declared: Declared, ask: Ask, *, baseline: Period, every_ms: int, told: int | None
    ) -> None:
        self._types = feature_types(declared)
        self._ask, self._baseline, self._every = ask, baseline, every_ms
        self._next = -(-baseline.end // every_ms) * every_ms if told is None else told
        self._before: dict[str, Counts] = {}

    def due(self, through: int) -> pa.Table:
        """Give the metrics ``psi.<feature>`` of the periods that end at or before `through`.

        A period without predictions, and a feature that its baseline has no row of, have none.
        """
        rows: list[dict[str, object]] = []
        end = through // self._every * self._every
        if end > self._next:
            self._before = self._before or _counted(self._ask, self._types, self._baseline)
            for start in self._periods(end):
                now = _counted(self._ask, self._types, Period(start, start + self._every))
                found = [moved(name, self._before[name], now[name]) for name in self._types]
                rows += [
                    {"at": start + self._every, "name": f"{PSI}{each.feature}", "value": each.psi}
                    for each in found
                    if each.psi is not None
                ]
            self._next = end
        return pa.Table.from_pylist(rows, TABLES["metrics"])

    def _periods(self, end: int) -> list[int]:
        """List where the periods begin that have predictions."""
        found = self._ask(
            f'SELECT DISTINCT "at" // {self._every} * {self._every} AS start FROM predictions '
            f'WHERE "at" >= {self._next} AND "at" < {end} ORDER BY start'
        )
        starts: list[int] = found["start"].to_pylist()
        return starts


def moved(feature: str, before: Counts, now: Counts) -> Drift:
    """Compare two counts of one feature."""
    bins = before.beside(now)
    index = psi(bins)
    word = "unknown" if index is None else said(index)
    return Drift(feature, index, word, before.rows, now.rows, bins)
