"""The table against a dictionary: admission, expiry, memory, deltas and snapshots, all at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.online_learning.deep import entries as known
from headrace.online_learning.deep import table as table_module
from headrace.online_learning.deep.delta import Delta
from headrace.online_learning.deep.replica import Replica
from headrace.online_learning.deep.settings import Field, RowOptimizer
from headrace.online_learning.deep.table import Table
from headrace.online_learning.models.model import Arrays, State
from headrace.online_learning.settings import LearningError
from headrace.online_learning.snapshot import Snapshot, Snapshots
from tests.online_learning.deep.naive import Naive, Row

FIELDS = (Field("a"), Field("b", admit=2, expire_ms=50), Field("c", admit=3))
WIDTH = 3
IDS = (0, 1, 2, 3, -1, 2**63 - 1, -(2**63))
EVERY = np.array([[key] * len(FIELDS) for key in IDS])

batches = st.tuples(
    st.lists(st.lists(st.sampled_from(IDS), min_size=3, max_size=3), min_size=1, max_size=4),
    st.sampled_from([0, 1, 20, 51, 200, -200]),
)


@pytest.fixture(autouse=True)
def swept_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_module, "_SWEPT", 4)


steps = st.one_of(*[batches] * 4, st.sampled_from(["delta", "whole", "restart"]))


def blank(memory_bytes: int | None) -> Table:
    return Table(FIELDS, WIDTH, RowOptimizer(rate=0.5), seed=9, memory_bytes=memory_bytes)


def written(state: State, folder: Path) -> State:
    """What a file gives back of it."""
    snapshots = Snapshots(folder, digest="of the settings", keep=1)
    snapshots.save(Snapshot(state.arrays, state.facts))
    read = snapshots.restore()
    assert read is not None
    return State(read.arrays, read.facts)


def in_a_file(arrays: Arrays, folder: Path) -> Arrays:
    return written(State(arrays, {}), folder).arrays


@dataclass
class Run:
    """The table, the dictionary, and a copy of the rows that deltas keep up."""

    table: Table
    naive: Naive
    rng: np.random.Generator
    replica: Replica | None = None
    at: int = 0
    offset: int = 0

    def batch(self, ids: list[list[int]], gap: int) -> None:
        """One batch for both; they look up the same weights."""
        self.at += gap
        at = [self.at + 3 * i for i in range(len(ids))]
        offsets = list(range(self.offset, self.offset + len(ids)))
        self.at, self.offset = at[-1], self.offset + len(ids)
        rows = self.table.sight(np.array(ids), at=np.array(at), offsets=np.array(offsets))
        wanted = self.naive.sight(ids, at, offsets)
        assert self.table.gather(rows).numpy().reshape(-1, WIDTH).tolist() == weights(wanted)
        gradient = self.rng.normal(size=(rows.numel(), WIDTH)).astype(np.float32)
        self.table.learn(rows, torch.from_numpy(gradient))
        self.naive.learn(wanted, gradient)

    def check(self) -> None:
        """Both say the same of every id."""
        naive, table = self.naive, self.table
        wanted = weights([naive.read(f, key) for key in IDS for f in range(len(FIELDS))])
        assert table.gather(table.find(EVERY)).numpy().reshape(-1, WIDTH).tolist() == wanted
        lines = {
            (line[known.FIELD], line[known.ID]): (
                line[known.COUNT],
                line[known.AT],
                line[known.OFFSET],
            )
            for line in table.entries.tolist()
        }
        for (f, key), one in naive.seen.items():
            assert lines[f, key] == (one.count, one.at, one.offset)
        assert (table.level, table.now) == (naive.level, naive.now)
        assert table.lookups.sum(1).tolist() == [naive.lookups, naive.default_lookups]

    def check_replica(self) -> None:
        """The copy reads as the table does."""
        assert self.replica is not None
        mine = self.table.gather(self.table.find(EVERY)).numpy()
        assert np.array_equal(self.replica.gather(EVERY), mine)


def weights(rows: list[Row]) -> list[list[float]]:
    return [[float(w) for w in row.weights] for row in rows]


@settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(steps, max_size=14), st.sampled_from([None, 4_000, 2_400]))
def test_it_is_the_dictionary_through_deltas_and_restarts(
    todo: list[tuple[list[list[int]], int] | str], memory_bytes: int | None
) -> None:
    run = Run(
        blank(memory_bytes), Naive(FIELDS, WIDTH, 0.5, 9, memory_bytes), np.random.default_rng(1)
    )
    for step in todo:
        if step == "restart":
            again = blank(memory_bytes)
            again.restore(run.table.state())
            run.table = again
        elif step == "whole" or (step == "delta" and run.replica is None):
            run.replica = Replica(FIELDS, run.table.delta(whole=True))
            run.check_replica()
        elif step == "delta" and run.replica is not None:
            run.replica = run.replica.after(run.table.delta())
            run.check_replica()
        elif not isinstance(step, str):
            run.batch(*step)
        run.check()


def test_a_snapshot_in_a_file_and_a_delta_in_a_file_go_on_alike(tmp_path: Path) -> None:
    run = Run(blank(None), Naive(FIELDS, WIDTH, 0.5, 9), np.random.default_rng(1))
    run.batch([[1, 1, 1], [2, 2, 2]], 10)
    run.batch([[1, 1, 1], [3, 2, 1]], 10)
    first = Delta.of(in_a_file(run.table.delta().arrays(), tmp_path / "first"))
    run.batch([[1, 0, 1]], 100)  # the 1 and the 2 of field b are idle, not yet swept
    state = written(run.table.state(), tmp_path / "state")
    run.table = blank(None)
    run.table.restore(state)
    run.batch([[1, 1, 1]], 1)  # the 1 of b begins anew: its old row must not be served
    second = Delta.of(in_a_file(run.table.delta().arrays(), tmp_path / "second"))
    assert second.gone.tolist() == [[1, 1]]
    run.replica = Replica(FIELDS, first).after(second)
    run.check()
    run.check_replica()


def test_the_same_batches_make_the_same_slots() -> None:
    rng = np.random.default_rng(3)
    log = []
    for i in range(30):
        size = 6 if i % 2 else 30
        log.append((rng.integers(0, 20, (size, 3)), np.sort(rng.integers(0, 20, size)) + 60 * i))
    states = []
    for cut in (None, 18):
        table = blank(60_000)
        for i, (ids, times) in enumerate(log):
            if i == cut:
                state = table.state()
                assert len(state.arrays["free"]) > 5  # rows taken back, to be given again
                table = blank(60_000)
                table.restore(state)
            rows = table.sight(ids, at=times)
            table.learn(rows, torch.ones(len(ids), 9))
        states.append(table.state())
    one, two = states
    assert one.facts == two.facts
    assert {k: v.tobytes() for k, v in one.arrays.items()} == {
        k: v.tobytes() for k, v in two.arrays.items()
    }


def test_memory_keeps_who_is_seen_often_and_says_what_it_costs() -> None:
    rng = np.random.default_rng(2)
    ids = np.minimum(rng.zipf(1.3, (400, 64, 1)), 10**6)
    tables = [
        Table((Field("x"),), 8, RowOptimizer(), seed=1, memory_bytes=size)
        for size in (None, 200_000, 50_000)
    ]
    for batch in ids:
        for table in tables:
            table.sight(batch)
    free, some, few = tables
    assert free.size_bytes > 200_000 >= some.size_bytes > 50_000 >= few.size_bytes
    assert free.price["x"] == 0 < some.price["x"] < few.price["x"] < 0.5
    assert free.level == 1 < some.level < few.level
    assert few.find(np.array([[1], [2], [3]])).numpy().min() > 0


def test_many_more_lookups_than_the_first_arrays_hold() -> None:
    table = Table((Field("x"), Field("y")), 4, RowOptimizer(), seed=1)
    ids = np.arange(100_000).reshape(-1, 2) // 3
    for part in np.array_split(ids, 9):
        rows = table.sight(part)
        table.learn(rows, torch.ones(len(part), 8))
    found = table.find(ids).numpy()
    for field in (0, 1):
        assert len(np.unique(found[:, field])) == len(np.unique(ids[:, field]))
    assert not set(found[:, 0].tolist()) & set(found[:, 1].tolist())


def test_what_cannot_be_is_refused() -> None:
    table = blank(None)
    with pytest.raises(LearningError, match="ids expire by them; give `at`"):
        table.sight(EVERY)
    with pytest.raises(LearningError, match="the table has 3 fields of int64"):
        table.find(EVERY[:, :2])
    with pytest.raises(LearningError, match="the table has 3 fields of int64"):
        table.find(EVERY.astype(np.float64))
    with pytest.raises(LearningError, match=r"at int64\[2\]; there are 7 rows"):
        table.sight(EVERY, at=np.array([1, 2]))
    with pytest.raises(LearningError, match="a batch of 21 ids may need 1896"):
        blank(1000).sight(EVERY, at=np.zeros(7, np.int64))


def test_who_made_room_is_gone_from_the_copy_even_after_a_restart() -> None:
    def table() -> Table:
        return Table((Field("x"),), 8, RowOptimizer(), seed=1, memory_bytes=20_000)

    one, often, once = table(), np.array([[1], [1], [2], [2]]), np.arange(10, 110)[:, None]
    one.sight(often)
    one.sight(once)
    replica = Replica(one.fields, one.delta())
    assert replica.gather(once).any(axis=1).all()
    one.sight(once + 100)  # no room for them all: those seen once go
    assert one.level == 2
    state, one = one.state(), table()
    one.restore(state)
    delta = one.delta()
    assert sorted(delta.gone[:, 0].tolist()) == once[:, 0].tolist()
    after = replica.after(delta)
    assert not after.gather(once).any()
    assert after.gather(often).any(axis=1).all()
    assert after.size_bytes < replica.size_bytes


def test_a_delta_out_of_its_turn_is_refused() -> None:
    table = blank(None)
    at = np.zeros(7, np.int64)
    table.sight(EVERY, at=at)
    replica = Replica(FIELDS, table.delta(whole=True))
    table.sight(EVERY, at=at)
    lost = table.delta()
    table.sight(EVERY, at=at)
    later = table.delta()
    with pytest.raises(LearningError, match="changes since batch 2; the rows here are of batch 1"):
        replica.after(later)
    with pytest.raises(LearningError, match="only what changed"):
        Replica(FIELDS, lost)
    assert replica.after(lost).after(later).number == 3
