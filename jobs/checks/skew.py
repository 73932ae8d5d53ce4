"""headrace skew: features as they were served against the same recomputed, feature by feature.

::

    predictions of the store, or ─► served ─────┐    per feature: how many are the same, differ,
    a log of another server                     ├──► are missing or extra, how far apart they are,
    the index now, or DuckDB ─────► recomputed ─┘    the worst of them with their tiles
    from the raw log

Both are read in parts; of a log of any length one part is in memory.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

from headrace.feature_store.history import History
from headrace.feature_store.store import Declared
from headrace.jobs.checks.served import Ask, served
from headrace.operators.computed import columns_of
from headrace.operators.engines.duckdb import quote
from headrace.operators.errors import StoreError, UnknownName
from headrace.operators.source import AT
from headrace.operators.view import END, Feature, View, bound

__all__ = ["Case", "Recompute", "Skew", "predicted", "recomputed", "served_log", "skew"]

Recompute = Callable[[pa.Table], pa.Table]
"""Gives every feature for rows with `at` and the views' keys, in their order."""

_PART_ROWS = 50_000
_FARTHEST = 2.0
_ID = "id"


@dataclass(frozen=True)
class Case:
    """One value that is not what it should be.

    `tiles` says how many tiles its window has now, `first` and `last` when they end.
    """

    id: str
    at: int
    served: object
    recomputed: object
    tiles: int = 0
    first: int | None = None
    last: int | None = None


@dataclass
class Skew:
    """What became of one feature.

    Parameters
    ----------
    compared
        Rows, nulls among them.
    mismatch
        Both have a value, and not the same.
    missing
        Served as null, and recomputed there is a value.
    extra
        Served with a value, and recomputed there is none.
    smape
        The mean of |served − recomputed| over the mean of their sizes, of the rows where both have
        a number; 0 is the same, 2 the farthest. None where there is no such row.

    """

    feature: str
    view: str
    compared: int = 0
    mismatch: int = 0
    missing: int = 0
    extra: int = 0
    smape: float | None = None
    worst: list[Case] = field(default_factory=list)

    @property
    def wrong(self) -> int:
        """Count the rows that are not as they should be."""
        return self.mismatch + self.missing + self.extra


@dataclass
class _Running:
    """A feature's counts while rows come, and its worst cases so far."""

    skew: Skew
    most: int
    tolerance: float
    distances: list[float] = field(default_factory=list)
    both: int = 0
    _worst: list[tuple[float, int, dict[str, object]]] = field(default_factory=list)

    def add(self, asked: pa.Table, served: pa.ChunkedArray, recomputed: pa.ChunkedArray) -> None:
        """Compare a part."""
        here, there = (np.asarray(each.is_valid()) for each in (served, recomputed))
        both = here & there
        apart = _apart(served, recomputed, both)
        differs = both & (apart > self.tolerance)
        wrong = differs | (here ^ there)
        start = self.skew.compared
        self.skew.compared += len(here)
        self.skew.mismatch += int(differs.sum())
        self.skew.missing += int((~here & there).sum())
        self.skew.extra += int((here & ~there).sum())
        if pa.types.is_integer(served.type) or pa.types.is_floating(served.type):
            self.both += int(both.sum())
            self.distances.append(math.fsum(apart[both]))
        places = np.flatnonzero(wrong)
        distance = np.where(both, apart, _FARTHEST)[places]
        for place in places[np.argsort(-distance, kind="stable")[: self.most]].tolist():
            case = {
                **asked.slice(place, 1).to_pylist()[0],
                "served": served[place].as_py(),
                "recomputed": recomputed[place].as_py(),
            }
            far = _FARTHEST if not both[place] else float(apart[place])
            heapq.heappush(self._worst, (far, -(start + place), case))
            if len(self._worst) > self.most:
                heapq.heappop(self._worst)

    def result(self) -> tuple[Skew, list[dict[str, object]]]:
        """Give what was counted, and the worst rows, the worst first."""
        if self.both:
            self.skew.smape = math.fsum(self.distances) / self.both
        return self.skew, [case for _, _, case in sorted(self._worst, reverse=True)]


def _apart(
    served: pa.ChunkedArray, recomputed: pa.ChunkedArray, both: np.ndarray[Any, np.dtype[np.bool_]]
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Say how far apart two values are: 0 is the same, 2 is the farthest, and the rest between.

    What are no numbers are the same or as far apart as can be; so are NaN and an infinity, which
    another server may have given.
    """
    apart = np.zeros(len(both))
    if pa.types.is_integer(served.type) or pa.types.is_floating(served.type):
        one, other = (np.asarray(pc.fill_null(each, 0)) for each in (served, recomputed))
        # Sizes are halved first: the sum of two float64s may leave the type.
        x, y = (each.astype(np.float64) / 2 for each in (one, other))
        size = (np.abs(x) + np.abs(y)) / 2
        with np.errstate(invalid="ignore", divide="ignore"):
            apart = np.where(one == other, 0.0, np.maximum(np.abs(x - y) / size, 5e-324))
        return np.where(both, np.nan_to_num(apart, nan=_FARTHEST), 0.0)
    pairs = zip(served.to_pylist(), recomputed.to_pylist(), strict=True)
    same = np.fromiter((one == other for one, other in pairs), np.bool_, len(both))
    return np.where(both & ~same, _FARTHEST, 0.0)


def skew(
    declared: Declared,
    given: Iterable[pa.Table],
    recompute: Recompute,
    *,
    ask: Ask,
    examples: int = 3,
    tolerance: float = 0.0,
) -> list[Skew]:
    """Compare features as served with the same recomputed.

    Parameters
    ----------
    declared
        What the pipeline declares.
    given
        What was served: tables with `id`, `at`, what is asked by, and any number of features.
    recompute
        Gives every feature for the rows of `at` and of what is asked by.
    ask
        Asks the store a query: for the tiles below what differs.
    examples
        How many of the worst are kept for each feature.
    tolerance
        How far apart two numbers may be, relative to their size, and still be the same.

    Raises
    ------
    StoreError
        Where nothing was served: that nothing differs would say nothing.

    """
    views = {f.name: (view, f) for view in declared.views.values() for f in view.features}
    running = {
        name: _Running(
            Skew(name, views[name][0].name if name in views else ""), examples, tolerance
        )
        for name in declared.feature_schema.names
    }
    for part in given:
        features = [name for name in part.column_names if name in running]
        asked = part.drop_columns(features)
        found = recompute(asked.drop_columns([_ID]))
        for name in features:
            running[name].add(asked, part[name], found[name])
    results = []
    for name, one in running.items():
        result, worst = one.result()
        result.worst = [_case(declared, views.get(name), row, ask) for row in worst]
        results += [result] if result.compared else []
    if not results:
        asked, found = "asked whether features were served as they are", "none was served"
        raise StoreError(asked, found, "wait for the first prediction, or give --served")
    return results


def _case(
    declared: Declared, of: tuple[View, Feature] | None, row: Mapping[str, Any], ask: Ask
) -> Case:
    """Look up the tiles that the window of a feature has; one that is computed has none."""
    if of is None:
        return Case(str(row[_ID]), row[AT], row["served"], row["recomputed"])
    view, feature = of
    high = bound(row[AT], view.every_ms)
    low = -1 if feature.reach_ms is None else high - feature.reach_ms
    pairs = zip(view.key, declared.keys[view.name], strict=True)
    same = " AND ".join(f"{quote(part)} = {_literal(row[column])}" for part, column in pairs)
    end = quote(END)
    tiles = ask(
        f"SELECT COUNT(*) AS tiles, MIN({end}) AS first, MAX({end}) AS last "
        f"FROM views.{quote(view.name)} WHERE {same} AND {end} > {low} AND {end} <= {high}"
    ).to_pylist()[0]
    return Case(str(row[_ID]), row[AT], row["served"], row["recomputed"], **tiles)


def _literal(value: object) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return "NULL" if value is None else str(value)


def predicted(declared: Declared, ask: Ask) -> Iterator[pa.Table]:
    """Read what a store has served, with what the decisions were asked by, in order."""
    return served(ask, declared.feature_schema.names, [_ID, AT, *declared.asked])


def recomputed(history: History, declared: Declared) -> Recompute:
    """Give what recomputes by a history that has read the log."""

    def recompute(rows: pa.Table) -> pa.Table:
        history.ask(rows.append_column("seq", pa.array(np.arange(rows.num_rows))))
        found = [history.features(name, of="asks") for name in declared.views]
        if declared.computed:
            found.append(history.computed(found, of="asks"))
        columns = {name: each[name] for each in found for name in each.column_names[1:]}
        return pa.table(columns)

    return recompute


def served_log(declared: Declared, path: Path) -> Iterator[pa.Table]:
    """Read what another server gave: a Parquet or an Arrow file.

    It has `at` (int64 ms, or a timestamp; without a zone: UTC), the columns of the keys of the
    views whose features it has, and features under their names, in any order. With `id` its rows
    have a name, and are numbered otherwise; other columns are passed over. NaN is a value, as far
    from any other as can be, and no null.

    Raises
    ------
    StoreError, UnknownName
        Where it is no such file, has no feature, or lacks the key of one.

    """
    number = 0
    for batch in _batches(path):
        part = _served(declared, pa.Table.from_batches([batch]), path)
        if _ID not in part.column_names:
            ids = pa.array(np.arange(number, number + part.num_rows)).cast(pa.string())
            part = part.append_column(_ID, ids)
        number += part.num_rows
        yield part


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    asked, do = f"asked for the features that {path} has", "give a Parquet or an Arrow file"
    try:
        if path.suffix == ".parquet":
            yield from pq.ParquetFile(path).iter_batches(_PART_ROWS)
            return
        with pa.OSFile(str(path)) as file, ipc.open_file(file) as reader:
            for place in range(reader.num_record_batches):
                yield reader.get_batch(place)
    except (pa.ArrowInvalid, OSError) as error:
        raise StoreError(asked, str(error), do) from error


def _served(declared: Declared, given: pa.Table, path: Path) -> pa.Table:
    """Take what is compared, in the types of the pipeline; of other views the keys are null."""
    kinds = declared.feature_schema
    asked = f"asked for the features that {path} has"
    names = [name for name in given.column_names if name in kinds.names]
    if not names:
        found = f"none of its columns ({', '.join(given.column_names)}) is a feature"
        raise StoreError(asked, found, f"name them as the pipeline does: {', '.join(kinds.names)}")
    needed = _needed(declared, names)
    for name in needed:
        if name not in given.column_names:
            raise UnknownName(kind="column", name=name, known=given.column_names)
    columns = {AT: _times(given[AT], asked)}
    for name, kind in declared.asked.items():
        column = given[name] if name in needed else pa.nulls(given.num_rows)
        columns[name] = _cast(column, kind.arrow, asked, name)
    if _ID in given.column_names:
        columns[_ID] = given[_ID].cast(pa.string())
    columns |= {name: _cast(given[name], kinds.field(name).type, asked, name) for name in names}
    return pa.table(columns)


def _needed(declared: Declared, features: Sequence[str]) -> list[str]:
    """Name what must be known of a row to recompute features: its time, keys, what they read."""
    views = {f.name: view for view in declared.views.values() for f in view.features}
    read = [*features]
    for name in features:
        read += columns_of(declared.computed[name]) if name in declared.computed else ()
    keys = (declared.keys[views[name].name] for name in read if name in views)
    own = (name for name in read if name in declared.asked)
    return list(dict.fromkeys([AT, *(column for key in keys for column in key), *own]))


def _cast(column: pa.Array, kind: pa.DataType, asked: str, name: str) -> pa.Array:
    try:
        return column.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        found = f"column {name} is {column.type}, and {kind} is wanted: {error}"
        raise StoreError(asked, found, "cast it") from error


def _times(column: pa.ChunkedArray, asked: str) -> pa.ChunkedArray:
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("ms", column.type.tz), safe=False)
    return _cast(column, pa.int64(), asked, AT)
