"""The AUC within groups."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from headrace.operators.evaluation.auc import AUC, BINS, area, bins
from headrace.operators.evaluation.rows import Name, Rows, grouped
from headrace.operators.evaluation.score import State
from headrace.operators.evaluation.sums import Tally, double

__all__ = ["GAUC"]

_AREA = 1 << 40


class GAUC(AUC):
    """The mean of the AUC of each group, weighted by its rows [^1].

    It says how well rows of one user, say, are ranked among themselves. A group of one class has
    no AUC and is left out, and so are rows whose group is null: `left_out` counts them. None where
    no group has both classes. An AUC enters the mean in fixed point, to 2^−40.

    It keeps two sums for each group and bin of log-odds that has rows.

    Parameters
    ----------
    by
        The column that names the group: strings or whole numbers.

    Examples
    --------
    >>> gauc = GAUC("user")
    >>> users = ["ann", "ann", "bob", "bob", "bob", "cy"]
    >>> gauc.update([0.9, 0.1, 0.7, 0.2, 0.2, 0.5], [1, 0, 0, 1, 1, 1], columns={"user": users})
    >>> gauc.value(), gauc.left_out
    (0.4, (1, 1))

    [^1]: Zhu et al., Optimized Cost per Click in Taobao Display Advertising, KDD 2017.
    """

    name = "gauc"

    def __init__(self, by: str = "group") -> None:
        super().__init__()
        self.by = by
        self._places: dict[Name, int] = {}
        self._ungrouped = 0

    @property
    def parameters(self) -> dict[str, Any]:
        """Give the column."""
        return {"by": self.by}

    @property
    def left_out(self) -> tuple[int, int]:
        """Count the groups of one class, and the rows of them and of no group."""
        groups, rows = 0, self._ungrouped
        for negatives, positives, count in self._groups(self._tally):
            if not negatives.any() or not positives.any():
                groups, rows = groups + 1, rows + count
        return groups, rows

    @property
    def n(self) -> int:
        """Count the rows, those of no group too."""
        return super().n + self._ungrouped

    def add(self, rows: Rows) -> None:
        """Add up the rows that have a group."""
        known = rows.column(self.by).is_valid().to_numpy(zero_copy_only=False)
        super().add(rows.take(np.flatnonzero(known)))
        self._ungrouped += len(rows) - int(known.sum())

    def key(self, rows: Rows) -> NDArray[np.int64]:
        """Give group and bin."""
        names, codes = grouped(rows.column(self.by))
        places = [self._places.setdefault(name, len(self._places)) for name in names]
        return np.array(places, np.int64)[codes] * BINS + bins(rows)

    def of(self, tally: Tally) -> float | None:
        """Weigh the areas, in whole numbers."""
        wins = units = 0
        for negatives, positives, _ in self._groups(tally):
            value = area(zip(negatives, positives, strict=True))
            if value is not None:
                size = int(negatives.sum()) + int(positives.sum())
                wins += size * int(np.floor(value * float(_AREA) + 0.5))
                units += size
        return double(wins) / double(units) / float(_AREA) if units else None

    def state(self) -> State:
        """Give the sums with the groups in their order, not in that of their first rows."""
        order = sorted(self._places, key=lambda name: (isinstance(name, str), name))
        place = np.empty(len(order), np.int64)
        for rank, name in enumerate(order):
            place[self._places[name]] = rank
        keys = self._tally.keys
        moved = place[keys // BINS] * BINS + keys % BINS if len(keys) else keys
        sort = np.argsort(moved)
        arrays = {"keys": moved[sort], "sums": self._tally.sums[sort]}
        facts = {"told": self.told, "groups": order, "ungrouped": self._ungrouped}
        return State(arrays, facts)

    def _restore(self, state: State) -> None:
        self._places = {name: place for place, name in enumerate(state.facts["groups"])}
        self._ungrouped = state.facts["ungrouped"]
        super()._restore(state)

    def _merge(self, other: Self) -> None:
        names = list(other._places)
        places = [self._places.setdefault(name, len(self._places)) for name in names]
        keys = other._tally.keys
        if len(keys):
            moved = np.array(places, np.int64)[keys // BINS] * BINS + keys % BINS
            self._take(moved, other._tally.sums)
        self._ungrouped += other._ungrouped

    @staticmethod
    def _groups(tally: Tally) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], int]]:
        """Give each group's negatives and positives per bin, and its count of rows."""
        starts = np.flatnonzero(np.diff(tally.keys // BINS)) + 1
        columns = (tally.column(name) for name in ("negatives", "positives", "rows"))
        for group in zip(*(np.split(column, starts) for column in columns), strict=True):
            yield group[0], group[1], int(group[2].sum())

    @property
    def part_sql(self) -> str:  # type: ignore[override]  # it depends on the column
        """Divide rows by group."""
        quoted = self.by.replace('"', '""')
        return f'"{quoted}"'

    def value_sql(self) -> str:
        """Weigh the areas, in whole numbers."""
        grouped_ = "WHERE area IS NOT NULL AND part IS NOT NULL"
        area_ = f"CAST(FLOOR(area * {_AREA}e0 + 0.5e0) AS HUGEINT)"
        wins = f"CAST(SUM((n + positives) * {area_}) FILTER ({grouped_}) AS DOUBLE)"
        return f"{wins} / CAST(SUM(n + positives) FILTER ({grouped_}) AS DOUBLE) / {_AREA}e0"
