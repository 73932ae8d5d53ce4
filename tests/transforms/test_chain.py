"""A chain is its stages one after the other, however the rows are cut."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.online_learning.snapshot import Snapshot, Snapshots
from headrace.operators.errors import HeadraceError
from headrace.operators.transforms import Chain, State, declared_as
from headrace.operators.types import Type
from tests.transforms.laws import same
from tests.transforms.test_values import FEW

STAGES: tuple[dict[str, Any], ...] = (
    {"transform": "impute", "column": "x", "kind": "float64", "every_ms": 10},
    {"transform": "standard", "column": "x_impute", "kind": "float64", "every_ms": 10},
    {"transform": "quantile_bin", "column": "x_impute_standard", "kind": "float64", "bins": 3},
    {
        **{"transform": "cross", "columns": ["x_impute_standard_quantile_bin", "s"]},
        **{"kinds": ["int64", "string"], "slots": 7, "out": "pair"},
    },
    {"transform": "target", "column": "pair", "kind": "int64", "label": "y"},
    {"transform": "ngrams", "column": "s", "slots": 50, "of": "characters"},
    {"transform": "idf", "column": "s_ngrams", "slots": 50},
)
SIDE_BY_SIDE = (*STAGES[0:1], *STAGES[5:])
"""Stages of which none takes what another has learned."""
KINDS = {"at": Type.INT64, "x": Type.FLOAT64, "s": Type.STRING, "y": Type.BOOL}


def chain(stages: tuple[dict[str, Any], ...] = STAGES) -> Chain:
    return Chain([declared_as(each) for each in stages])


row = st.fixed_dictionaries(
    {
        "at": st.integers(0, 60),
        "x": st.none() | st.floats(-100, 100),
        "s": st.sampled_from(("ab", "b", "", None)),
        "y": st.sampled_from((True, False, None)),
    }
)


def _in_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda each: each["at"])


logs = st.lists(row, max_size=30).map(_in_order)
cuts = st.lists(st.integers(0, 30), max_size=4)


def batches(log: list[dict[str, Any]], places: list[int]) -> list[pa.Table]:
    whole = pa.Table.from_pylist(log, pa.schema([(n, kind.arrow) for n, kind in KINDS.items()]))
    edges = sorted({0, len(log), *(place % (len(log) + 1) for place in places)})
    return [whole.slice(a, b - a) for a, b in pairwise(edges)] or [whole]


@FEW
@given(logs, cuts)
def test_a_cut_changes_nothing(log: list[dict[str, Any]], places: list[int]) -> None:
    one, other, third, fourth = chain(), chain(), chain(), chain()
    [whole] = batches(log, [])
    expected = one.advance(whole).to_pylist()
    cut = [each for batch in batches(log, places) for each in other.advance(batch).to_pylist()]
    assert repr(cut) == repr(expected)
    same(other.state(), one.state())
    third.update(whole)
    for batch in batches(log, places):
        fourth.update(batch)
    same(third.state(), fourth.state())
    assert third.transform(whole).equals(one.transform(whole))


@FEW
@given(logs)
def test_a_chain_is_its_stages(log: list[dict[str, Any]]) -> None:
    [rows] = batches(log, [])
    gave = chain().advance(rows)
    for stage in chain().stages:
        made = stage.advance(rows)
        for name in made.schema.names:
            assert gave.column(name).equals(made.column(name))
            rows = rows.append_column(name, made.column(name))
    assert gave.schema.names == [name for stage in chain().stages for name in stage.outputs]


def test_a_chain_says_what_it_takes_and_makes() -> None:
    one = chain()
    assert one.inputs == {name: kind for name, kind in KINDS.items() if name != "at"}
    assert one.outputs["pair_target"] is Type.FLOAT64


@FEW
@given(logs, st.integers(0, 30))
def test_merge_of_halves_is_whole(log: list[dict[str, Any]], place: int) -> None:
    one, other, whole = chain(SIDE_BY_SIDE), chain(SIDE_BY_SIDE), chain(SIDE_BY_SIDE)
    [rows] = batches(log, [])
    one.update(rows.slice(0, place))
    other.update(rows.slice(place))
    whole.update(rows)
    one.merge(other)
    same(one.state(), whole.state())


def test_a_chain_goes_through_a_snapshot(tmp_path: Path) -> None:
    log = [{"at": at, "x": at / 4, "s": "ab"[at % 2 :], "y": at % 3 == 0} for at in range(60)]
    first, rest = batches(log, [30])
    one, again = chain(), chain()
    one.advance(first)
    snapshots = Snapshots(tmp_path, digest="settings", keep=1)
    state = one.state()
    snapshots.save(Snapshot(state.arrays, dict(state.facts)))
    restored = snapshots.restore()
    assert restored is not None
    again.restore(State(restored.arrays, restored.facts))
    same(again.state(), state)
    assert again.advance(rest).equals(one.advance(rest))


def test_what_a_chain_cannot_be_is_refused() -> None:
    a_chain = "asked for a chain of transforms"
    with pytest.raises(HeadraceError) as refused:
        chain((STAGES[0], STAGES[0]))
    found = "'x_impute' is there before impute makes it; give it another name with out"
    assert str(refused.value) == f"{a_chain}; {found}"
    with pytest.raises(HeadraceError) as refused:
        chain((STAGES[0], {**STAGES[1], "kind": "int64"}))
    found = "standard takes the int64 'x_impute', which is a float64; declare the type it has"
    assert str(refused.value) == f"{a_chain}; {found}"
    with pytest.raises(HeadraceError) as refused:
        chain().merge(chain())
    found = "a stage takes what impute has learned; feed one chain all rows"
    assert str(refused.value) == f"{a_chain} to merge; {found}"
    with pytest.raises(HeadraceError, match=r"asked a chain to go on as .*; the state is of .*"):
        chain().restore(chain(SIDE_BY_SIDE).state())
