"""Random cells: every aggregate by three engines, and an error of each of them is found."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from headrace.feature_store.index import Index
from headrace.jobs.checks.cells import Asks, Random, compare_cells, edges
from headrace.jobs.checks.verdict import Verdict
from headrace.operators.aggregates import AGGREGATES
from headrace.operators.aggregates.mean import Mean
from headrace.operators.aggregates.quantile import Quantile
from headrace.operators.engines.in_process import Message
from headrace.operators.view import Feature, View
from tests import logs
from tests.engines import declared, rows_of_tiles, table_of, tiles_of, told
from tests.logs import EVERY, SOURCE, VIEWS

SMALL = {
    "small": View(
        "small",
        SOURCE,
        ("k",),
        EVERY,
        (Feature("m", Mean("i"), 3 * EVERY), Feature("q", Quantile("i", SOURCE.types["i"], 0.5))),
    )
}
EVER = 10**15


def log_of(count: int) -> list[Message]:
    """Give a log of good rows."""
    chance = random.Random(5)  # noqa: S311 - a seeded log, no secret
    cells = [{name: chance.choice(some) for name, some in logs.CELLS.items()} for _ in range(count)]
    times = sorted(chance.randrange(3_000, 14_000) for _ in range(count))
    return logs.placed(
        [(0, logs.payload(str(at), row)) for at, row in zip(times, cells, strict=True)]
    )


def compared(
    views: Mapping[str, View], log: Sequence[Message], cells: int, *, complete: int = EVER
) -> Verdict:
    """Compare random cells of views over a log; the index is fed with history's tiles."""
    verdict, said = Verdict(), declared(views, SOURCE)
    with told(SOURCE, list(views.values()), log) as history:
        indexes = {}
        for name, view in views.items():
            indexes[name] = Index(view)
            rows = {each: t.sort_by("end") for each, t in rows_of_tiles(history, view).items()}
            indexes[name].append(tiles_of(history, view), rows)

        def answer(asked: pa.Table) -> pa.Table:
            at = asked["at"].to_numpy()
            found: dict[str, pa.Array] = {}
            for name, index in indexes.items():
                keys = [asked[part].combine_chunks() for part in views[name].key]
                found |= index.read(keys, at)
            return pa.table(found)

        shards = {(name, shard): complete for name in views for shard in range(9)}
        whole = {SOURCE.name: table_of(log)}
        compare_cells(verdict, history, said, Random(answer, cells), logs=whole, complete=shards)
    return verdict


def test_every_aggregate_is_the_same_everywhere() -> None:
    used = {f.aggregate.name for view in VIEWS.values() for f in view.features}
    assert used == set(AGGREGATES)
    found = compared(VIEWS, log_of(150), 20_000)
    assert (found.mismatches, found.differences) == (0, [])
    features = {name: len(view.features) for name, view in VIEWS.items()}
    rows = -(-20_000 // sum(features.values()))
    assert found.tables == {
        f"{name} at random (key, t): {pair}": n * count
        for pair, n in (("index = DuckDB", rows), ("DuckDB = in process", 100))
        for name, count in features.items()
    }


def _wrong(which: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the mean of one engine one more than it is."""
    right = {name: getattr(Mean, name) for name in ("result", "result_sql", "of")}
    if which == "result":
        monkeypatch.setattr(Mean, which, lambda *a: (right[which](*a)[0] + 1, right[which](*a)[1]))
    if which == "result_sql":
        monkeypatch.setattr(Mean, which, lambda *a: f"1 + {right[which](*a)}")
    if which == "of":
        monkeypatch.setattr(Mean, which, lambda *a: _more(right[which](*a)))


def _more(value: float | None) -> float | None:
    return None if value is None else value + 1


PLANTED = {
    "result": ["index = DuckDB"],
    "result_sql": ["index = DuckDB", "DuckDB = in process"],
    "of": ["DuckDB = in process"],
}


@pytest.mark.parametrize("engine", PLANTED)
def test_an_engine_that_is_wrong_is_found(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    log = log_of(60)
    assert compared(SMALL, log, 400).mismatches == 0
    _wrong(engine, monkeypatch)
    found = compared(SMALL, log, 400)
    assert found.mismatches > 10
    pairs = {difference.where.partition(": ")[2] for difference in found.differences}
    assert pairs <= set(PLANTED[engine])
    assert {difference.column for difference in found.differences} == {"m"}


def test_a_bound_that_is_a_millisecond_off_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked stands at the edges, where alone such an index is wrong."""
    read = Index.read

    def early(self: Index, keys: Sequence[pa.Array], at: npt.NDArray[np.int64]) -> object:
        return read(self, keys, at - 1)

    monkeypatch.setattr(Index, "read", early)
    assert compared(SMALL, log_of(60), 400).mismatches > 0


def test_the_edges_of_time_are_asked() -> None:
    said = declared(SMALL, SOURCE)
    log = [(0, 0, logs.STAMP, logs.payload("5500", {"name": '"n"', "k": '"a"'}))]
    with told(SOURCE, list(SMALL.values()), log) as history:
        asks = Asks(said, edges(history, said), {("small", 0): EVER})
        drawn = asks.draw(2_000, np.random.default_rng(1))
        late = Asks(said, asks.edges, {("small", 0): 5_000}).draw(500, np.random.default_rng(1))
    assert (asks.edges.first, asks.edges.last) == (6_000, 6_000)
    at = set(drawn["at"].to_pylist())
    assert {6_000 + window + ms for window in (0, 1_000, 3_000) for ms in (-1, 0, 1)} <= at
    assert min(at) < 5_000
    assert max(at) > 10**9
    keys = drawn["k"].to_pylist()
    assert {None, "a"} < set(keys)
    assert sum(str(key).startswith("nobody") for key in keys) > 20
    assert drawn.equals(asks.draw(2_000, np.random.default_rng(1)))
    assert max(late["at"].to_pylist()) == 5_000  # no more than what the views are complete to


def test_a_log_without_tiles_has_no_cells() -> None:
    found = compared(SMALL, [], 400)
    assert (found.cells, found.mismatches) == (0, 0)
