"""How some features of a view are read from its tiles: what is loaded, and what is made of it.

::

    windows ─► b − W each      loads ─► sums, extremes, the newest row      steps ─► results
                               of a window's tiles, into registers          (formula.py)

The plan is a table of numbers that one kernel follows for each (key, t). What no steps can say, it
hands out as merged partials and places of tiles, for NumPy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from headrace.feature_store.formula import Formula, Register
from headrace.feature_store.kernel import Load, Op
from headrace.feature_store.tiles import Kind
from headrace.operators.aggregates import Merge, Newest, OfRows, Partial
from headrace.operators.types import Type
from headrace.operators.view import NEWEST_AT, Feature, View

__all__ = ["FLAG_BITS", "Layout", "Output", "Plan", "plan"]

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Layout:
    """Which columns a view's tiles have in the index.

    Parameters
    ----------
    kinds
        How each column of `rows` comes from the tile before.
    columns
        The place of each column, by its name: a partial's, or one made of it.
    highs
        The place among `highs` of each partial that is an extreme.

    """

    kinds: Sequence[int]
    columns: Mapping[str, int]
    highs: Mapping[str, int]

    @classmethod
    def of(cls, view: View) -> Layout:
        """Lay out a view's tiles."""
        kinds: list[int] = []
        columns: dict[str, int] = {}
        highs: dict[str, int] = {}

        def put(name: str, *kind: int) -> None:
            columns[name] = len(kinds)
            kinds.extend(kind)

        for partial in view.partials:
            if partial.merge is not Merge.ADD:
                highs[partial.name] = len(highs)
                # How many tiles of the run have a value; and the extreme of all so far.
                put(f"{partial.name} known", Kind.SUM)
                put(f"{partial.name} so far", Kind.MOST)
            elif partial.type is Type.INT128:
                put(partial.name, Kind.WIDE, Kind.WIDE_HIGH)
            else:
                put(partial.name, Kind.SUM)
        if view.keeps_newest:
            put(NEWEST_AT, Kind.OWN)
            for newest in view.newest:
                put(newest.name, Kind.OWN)
            for place in range(0, len(view.newest), FLAG_BITS):
                put(f"flags {place // FLAG_BITS}", Kind.OWN)
        for rows in view.rows:
            put(rows.name, Kind.OWN, Kind.OWN)
        return cls(tuple(kinds), columns, highs)


FLAG_BITS = 62
"""How many flags a column has: whether each newest value is there."""


@dataclass(frozen=True)
class Output:
    """One row of the kernel's output: of its whole numbers, or of its float64s."""

    real: bool
    row: int


@dataclass(frozen=True)
class Plan:
    """What the kernel follows, and where what it gives is to be found.

    `results` has the outputs of features that steps make, with the column whose words their numbers
    stand for, if these are texts; `merged` those of partials of all others, by feature: value (of
    128 bits two) and validity; `places` the tiles of each window, high, low and first.
    """

    features: tuple[Feature, ...]
    table: Ints
    wholes: Ints
    reals: npt.NDArray[np.float64]
    sizes: tuple[int, int]
    longest_ms: int
    results: Mapping[str, tuple[Output, str]]
    merged: Mapping[str, Mapping[str, tuple[Output, ...]]]
    places: Mapping[int | None, tuple[Output, Output, Output]]

    @property
    def follow(self) -> tuple[Ints, Ints, npt.NDArray[np.float64]]:
        """Give what the kernel follows."""
        return self.table, self.wholes, self.reals


class _Builder:
    def __init__(self, view: View, layout: Layout, features: Sequence[Feature]) -> None:
        self.view, self.layout = view, layout
        self.formula = Formula()
        self.loads: list[tuple[int, int, int, int, int]] = []
        self.windows = sorted({f.reach_ms for f in features if f.reach_ms is not None})
        self._known: dict[tuple[int, int, int, int], Register] = {}
        self._outputs: dict[tuple[bool, int], Output] = {}
        self.exports: list[tuple[int, int, int, int, int]] = []
        self.words: dict[int, str] = {}
        self._flags = {each.name: place for place, each in enumerate(view.newest)}

        self._load_extremes(features)

    def _load_extremes(self, features: Sequence[Feature]) -> None:
        """Load each extreme's windows one after another, so that a longer one goes on."""
        for partial in self.view.partials:
            needs = [f for f in features if partial.name in {p.name for p in f.aggregate.partials}]
            windows = sorted({self.window(f.reach_ms) for f in needs} - {len(self.windows)})
            if partial.merge is not Merge.ADD:
                before = -1
                for window in windows:
                    column = self.layout.highs[partial.name]
                    before = self.load(Load.MOST, column, window, before).place

    def window(self, reach_ms: int | None) -> int:
        return len(self.windows) if reach_ms is None else self.windows.index(reach_ms)

    def load(self, kind: Load, column: int, window: int, more: int = 0) -> Register:
        asked = (int(kind), column, window, more if kind is Load.FLAG else 0)
        if asked not in self._known:
            register = self.formula.whole(truth=kind is Load.FLAG)
            if kind is Load.WIDE:
                self.formula.whole()
            self._known[asked] = register
            self.loads.append((int(kind), register.place, column, window, more))
        return self._known[asked]

    def output(self, register: Register) -> Output:
        asked = (register.is_real, register.place)
        if asked not in self._outputs:
            row = sum(real == register.is_real for real, _ in self._outputs)
            self._outputs[asked] = Output(register.is_real, row)
            self.exports.append((int(register.is_real), register.place, row, 0, 0))
        return self._outputs[asked]

    def partial(self, partial: Partial | Newest, window: int) -> tuple[Register, Register]:
        """Load a merged partial and where there is one."""
        column = self.layout.columns.get(partial.name, -1)
        if isinstance(partial, Newest):
            value = self.load(Load.NEWEST, column, window)
            place = self._flags[partial.name]
            flags = self.layout.columns[f"flags {place // FLAG_BITS}"]
            valid = self.load(Load.FLAG, flags, window, place % FLAG_BITS)
            if partial.type is Type.STRING:
                self.words[value.place] = partial.name
            return self._typed(value, partial.type, Op.BITS), valid
        if partial.merge is Merge.ADD:
            kind = Load.WIDE if partial.type is Type.INT128 else Load.SUM
            return self.load(kind, column, window), self.formula.whole(1, truth=True)
        return self._extreme(partial, window)

    def traced(
        self, feature: Feature, window: int, merged: dict[str, Mapping[str, tuple[Output, ...]]]
    ) -> tuple[Register, Register] | None:
        """Give a feature's value and validity; where no steps make it, hand its partials out."""
        aggregate = feature.aggregate
        partials = [p for p in aggregate.partials if isinstance(p, Partial | Newest)]
        found = {each.name: self.partial(each, window) for each in partials}
        age = self.formula.whole(-1)
        if self.view.keeps_newest:
            age = self.load(Load.AGE, self.layout.columns[NEWEST_AT], window)
        wide = [partial.name for partial in partials if partial.type is Type.INT128]
        if not wide:
            told: Any = found
            steps = self.formula.traced(lambda: aggregate.result(told, cast("Any", age)))
            kind = aggregate.type
            if steps is not None and (kind is Type.FLOAT64 or not steps[0].is_real):
                value, valid = steps
                return (value.real() if kind is Type.FLOAT64 else value), valid
        handed = {
            name: (*map(self.output, self._halves(value, name in wide)), self.output(valid))
            for name, (value, valid) in found.items()
        }
        merged[feature.name] = {**handed, "": (self.output(age),)}
        return None

    def _halves(self, value: Register, wide: bool) -> list[Register]:
        whole = np.dtype(np.int64)
        return [value, Register(self.formula, value.place + 1, whole)] if wide else [value]

    def _extreme(self, partial: Partial, window: int) -> tuple[Register, Register]:
        columns = self.layout.columns
        known = self.load(Load.SUM, columns[f"{partial.name} known"], window)
        if window == len(self.windows):
            value = self.load(Load.NEWEST, columns[f"{partial.name} so far"], window)
        else:
            value = self.load(Load.MOST, self.layout.highs[partial.name], window, -1)
        if partial.merge is Merge.MIN:
            value = self.formula.step(Op.INVERT, value)
        zero = self.formula.whole()
        valid = self.formula.step(Op.GREATER, known, zero, truth=True)
        return self._typed(value, partial.type, Op.ORDERED), valid

    def _typed(self, value: Register, kind: Type, to_real: Op) -> Register:
        if kind is Type.FLOAT64:
            return self.formula.step(to_real, value, real=True)
        truth = np.dtype(np.bool_)
        return Register(self.formula, value.place, truth) if kind is Type.BOOL else value


def plan(view: View, layout: Layout, features: Sequence[Feature]) -> Plan:
    """Plan the read of features of a view."""
    build = _Builder(view, layout, features)
    results: dict[str, tuple[Output, str]] = {}
    merged: dict[str, Mapping[str, tuple[Output, ...]]] = {}
    places: dict[int | None, tuple[Output, Output, Output]] = {}
    rows: list[tuple[int, int, int, int, int]] = []
    for feature in features:
        aggregate, window = feature.aggregate, build.window(feature.reach_ms)
        found = None
        if isinstance(aggregate, OfRows) or aggregate.half_life_ms is not None:
            three = [build.load(each, 0, window) for each in (Load.HIGH, Load.LOW, Load.FIRST)]
            high, low, first = map(build.output, three)
            places[feature.reach_ms] = high, low, first
        else:
            found = build.traced(feature, window, merged)
        if found is not None:
            value = found[0]
            words = "" if value.is_real else build.words.get(value.place, "")
            results[feature.name] = build.output(value), words
        rows.append((window, -1 if found is None else found[1].place, 0, 0, 0))
    formula = build.formula
    windows = [(reach_ms, 0, 0, 0, 0) for reach_ms in build.windows]
    parts = (windows, build.loads, formula.steps, build.exports, rows)
    head = (len(windows), len(build.loads), len(formula.steps), len(build.exports), len(rows))
    table = [(view.every_ms, 0, 0, 0, 0), head, *(row for part in parts for row in part)]
    reals = sum(real for real, *_ in build.exports)
    return Plan(
        tuple(features),
        np.array(table, np.int64),
        np.array(formula.wholes, np.int64),
        np.array(formula.reals, np.float64),
        (len(build.exports) - reals, reals),
        build.windows[-1] if build.windows else 0,
        results,
        merged,
        places,
    )
