"""Every way there is to a metric's value, to be compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import duckdb
import numpy as np
import orjson
import pyarrow as pa

from headrace.operators.evaluation import METRICS, Metric, Score, State

Columns = Mapping[str, Sequence[object]]


def made(name: str, told: Mapping[str, object]) -> Metric:
    kind: Any = METRICS[name]
    metric: Metric = kind(**told)
    return metric


def fed(score: Score, columns: Columns) -> None:
    """Give a score rows in columns; those it is not told of by name go with them."""
    others = {name: pa.array(column) for name, column in columns.items() if name not in _KNOWN}
    number = {name: pa.array(columns[name], pa.float64()) for name in ("p", "y")}
    weight = pa.array(columns["weight"], pa.float64()) if "weight" in columns else None
    at = np.array(columns["at"], np.int64) if "at" in columns else None
    score.update(number["p"], number["y"], weight=weight, at=at, columns=others)


_KNOWN = ("p", "y", "weight", "at")


def cut(columns: Columns, begin: int, end: int) -> dict[str, Sequence[object]]:
    return {name: column[begin:end] for name, column in columns.items()}


def through_json(score: Score) -> Score:
    """Send a score's state through what a snapshot does to it."""
    state = score.state()
    arrays = {name: np.frombuffer(a.tobytes(), a.dtype) for name, a in state.arrays.items()}
    shaped = {name: arrays[name].reshape(a.shape) for name, a in state.arrays.items()}
    return score.from_state(State(shaped, orjson.loads(orjson.dumps(state.facts))))


def at_once(metric: Metric, columns: Columns) -> float | None:
    fed(metric, columns)
    return metric.value()


def merged(metric: Metric, columns: Columns) -> float | None:
    """Row by row, each by itself, the last one first; each through its state."""
    for row in reversed(range(len(columns["p"]))):
        one = metric.blank()
        fed(one, cut(columns, row, row + 1))
        metric.merge(one)
        restored = through_json(metric)
        assert isinstance(restored, Metric)
        metric = restored
    return metric.value()


def by_duckdb(metric: Metric, columns: Columns) -> float | None:
    types = {"p": pa.float64(), "y": pa.float64(), "weight": pa.float64()}
    table = pa.table({n: pa.array(c, types.get(n)) for n, c in columns.items()})
    with duckdb.connect() as connection:
        connection.register("scores", table)
        query = metric.sql("duckdb", "scores", weighted="weight" in columns)
        [(value,)] = connection.execute(query).fetchall()
    assert value is None or isinstance(value, float)
    return value


WAYS: dict[str, Callable[[Metric, Columns], float | None]] = {
    "at once": at_once,
    "merged": merged,
    "duckdb": by_duckdb,
}
