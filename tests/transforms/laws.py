"""The laws of transforms: what must hold whatever the rows are, and however they are cut.

Each takes a `Log` and raises AssertionError where its law is broken. That what it gives is right is
for `tests.transforms.naive` to say, which is one of them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pyarrow as pa

from headrace.online_learning.snapshot import Snapshot, Snapshots
from headrace.operators.transforms import State, Transform, declared_as, from_state
from tests.transforms.naive import value
from tests.transforms.tables import table

__all__ = ["LAWS", "Log", "advanced", "learned", "same"]


@dataclass(frozen=True)
class Log:
    """Rows for one declaration, where to cut them, and a seed of what else is left to chance."""

    declared: dict[str, Any]
    rows: list[dict[str, Any]]
    cuts: list[int]
    seed: int
    snapshots: Snapshots

    @property
    def transform(self) -> Transform:
        """Make a transform that has learned nothing."""
        return declared_as(self.declared)

    def table(self, rows: Sequence[dict[str, Any]] | None = None) -> pa.Table:
        """Give rows, of the log if no others, as Arrow's."""
        return table(self.transform, list(self.rows if rows is None else rows))

    def batches(self) -> list[pa.Table]:
        """Cut the log."""
        whole = self.table()
        edges = {0, len(self.rows), *(place % (len(self.rows) + 1) for place in self.cuts)}
        return [whole.slice(a, b - a) for a, b in pairwise(sorted(edges))] or [whole]


def same(state: State, other: State) -> None:
    """Assert that two states are equal to the bit."""
    assert state.facts == other.facts
    assert set(state.arrays) == set(other.arrays)
    for name, array in state.arrays.items():
        assert array.dtype == other.arrays[name].dtype
        assert array.tolist() == other.arrays[name].tolist(), name


def advanced(transform: Transform, batches: Sequence[pa.Table]) -> list[dict[str, Any]]:
    """Advance through batches, and list the outputs."""
    schema = pa.schema([(name, kind.arrow) for name, kind in transform.outputs.items()])
    gave = [transform.advance(batch) for batch in batches]
    assert all(batch.schema == schema for batch in gave)
    return [row for batch in gave for row in batch.to_pylist()]


def learned(log: Log, batches: Sequence[pa.Table]) -> Transform:
    """Make a transform that has learned from batches."""
    transform = log.transform
    for batch in batches:
        transform.update(batch)
    return transform


def advance_is_the_slow_version(log: Log) -> None:
    """Row by row, all at once, and cut."""
    places = range(len(log.rows))
    expected = repr([value(log.declared, log.rows, place) for place in places])
    states = []
    for batches in (log.batches(), [log.table()], [log.table([row]) for row in log.rows]):
        transform = log.transform
        assert repr(advanced(transform, batches)) == expected
        states.append(transform.state())
    same(states[0], states[1])
    same(states[0], states[2])


def advance_learns_what_update_does(log: Log) -> None:
    mine, other = log.transform, learned(log, [log.table()])
    advanced(mine, log.batches())
    assert mine.transform(log.table()).equals(other.transform(log.table()))


def a_cut_changes_nothing(log: Log) -> None:
    same(learned(log, log.batches()).state(), learned(log, [log.table()]).state())


def merge_of_halves_is_whole(log: Log) -> None:
    batches = log.batches()
    whole = learned(log, batches)
    merged, later = learned(log, batches[:1]), learned(log, batches[1:])
    before = later.state()
    merged.merge(later)
    same(later.state(), before)
    if whole.ordered:
        _same_but_for_ids(merged.state(), whole.state())
    else:
        same(merged.state(), whole.state())
        assert merged.transform(log.table()).equals(whole.transform(log.table()))


def _same_but_for_ids(merged: State, whole: State) -> None:
    """Assert that vocabularies know the same values, admitted alike, under ids of their own."""
    for name in set(whole.arrays) - {"seen"}:
        assert merged.arrays[name].tolist() == whole.arrays[name].tolist()
    mine, theirs = merged.arrays["seen"], whole.arrays["seen"]
    assert mine[:, :3].tolist() == theirs[:, :3].tolist()  # count, first and last time
    assert (mine[:, 3] > 0).tolist() == (theirs[:, 3] > 0).tolist()
    ids = mine[mine[:, 3] > 0, 3].tolist()
    assert len(set(ids)) == len(ids)
    assert max(ids, default=0) <= merged.facts["ids"]
    assert {**merged.facts, "ids": 0} == {**whole.facts, "ids": 0}


def merge_with_nothing_is_neutral(log: Log) -> None:
    whole = learned(log, [log.table()])
    for first, second in ((log.transform, whole), (learned(log, [log.table()]), log.transform)):
        first.merge(second)
        if whole.ordered:
            _same_but_for_ids(first.state(), whole.state())
        else:
            same(first.state(), whole.state())


def any_order_teaches_the_same(log: Log) -> None:
    """Unless it is said that the order is part of what is learned."""
    shuffled = list(log.rows)
    if not log.transform.ordered:
        random.Random(log.seed).shuffle(shuffled)  # noqa: S311 - a shuffle, no secret
    other = learned(log, [log.table(shuffled)])
    same(other.state(), learned(log, [log.table()]).state())


def the_future_does_not_change_the_past(log: Log) -> None:
    """What comes after a row is shuffled, under the old times, and its own label is hidden."""
    place = log.seed % max(len(log.rows), 1)
    mine, rest = log.rows[place : place + 1], log.rows[place + 1 :]
    hidden = {log.declared["label"]: None} if "label" in log.declared else {}
    shuffled = list(rest)
    random.Random(log.seed).shuffle(shuffled)  # noqa: S311 - a shuffle, no secret
    future = [{**new, "at": old["at"]} for new, old in zip(shuffled, rest, strict=True)]
    changed = [*log.rows[:place], *({**row, **hidden} for row in mine), *future]
    expected = advanced(log.transform, [log.table()])[: place + 1]
    assert repr(advanced(log.transform, [log.table(changed)])[: place + 1]) == repr(expected)


def transform_changes_nothing(log: Log) -> None:
    """Neither what was learned nor the rows; nor does learning change the rows."""
    rows = log.table()
    transform = log.transform
    transform.advance(rows)
    state = transform.state()
    once = transform.transform(rows)
    assert once.equals(transform.transform(rows))
    assert once.schema.names == list(transform.outputs)
    transform.update(rows.slice(0, 0))
    same(transform.state(), state)
    assert rows.equals(log.table())


def state_survives_a_snapshot(log: Log) -> None:
    """Through safetensors and JSON; and what goes on from it goes on the same."""
    place = log.seed % (len(log.rows) + 1)
    first, rest = log.table(log.rows[:place]), log.table(log.rows[place:])
    transform = log.transform
    transform.advance(first)
    state = transform.state()
    log.snapshots.save(Snapshot(state.arrays, dict(state.facts)))
    restored = log.snapshots.restore()
    assert restored is not None
    again = from_state(State(restored.arrays, restored.facts))
    same(again.state(), state)
    assert repr(advanced(again, [rest])) == repr(advanced(transform, [rest]))
    same(again.state(), transform.state())


LAWS: tuple[Callable[[Log], None], ...] = (
    advance_is_the_slow_version,
    advance_learns_what_update_does,
    a_cut_changes_nothing,
    merge_of_halves_is_whole,
    merge_with_nothing_is_neutral,
    any_order_teaches_the_same,
    the_future_does_not_change_the_past,
    transform_changes_nothing,
    state_survives_a_snapshot,
)
