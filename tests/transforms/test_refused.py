"""What the transforms refuse, in one sentence; and that nothing is learned from it."""

from __future__ import annotations

import os
from typing import Any

import pyarrow as pa
import pytest

from headrace.operators.errors import HeadraceError
from headrace.operators.transforms import (
    declared_as,
)
from tests.transforms.laws import same

EXAMPLES = int(os.environ.get("HYPOTHESIS_EXAMPLES", "10"))
TARGET = {"transform": "target", "column": "x", "kind": "bool", "label": "y"}
CONSTANT = {"transform": "impute", "column": "x", "by": "constant"}
REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "a column that is not there": (
        {"transform": "standard", "column": "price", "kind": "int64"},
        {"at": [0], "prize": [1]},
        "asked for the column 'price'; known: 'at', 'prize'; did you mean 'prize'?",
    ),
    "another type": (
        {"transform": "standard", "column": "x", "kind": "int64"},
        {"at": [0], "x": [1.0]},
        "asked for the int64 'x'; the rows have it as double; cast it",
    ),
    "no number": (
        {"transform": "rank", "column": "x", "kind": "float64"},
        {"at": [0, 1], "x": [1.0, float("nan")]},
        "asked for numbers of 'x'; row 1 is nan, which fixed point cannot hold; "
        "write null for it, or derive a number of at most 9.2e12",
    ),
    "an infinity": (
        {"transform": "impute", "column": "x", "kind": "float64"},
        {"at": [0, 1], "x": [-float("inf"), 1.0]},
        "asked for numbers of 'x'; row 0 is -inf, which fixed point cannot hold; "
        "write null for it, or derive a number of at most 9.2e12",
    ),
    "a number beyond fixed point": (
        {
            "transform": "target",
            "column": "x",
            "kind": "bool",
            "label": "y",
            "label_kind": "float64",
        },
        {"at": [0], "x": [True], "y": [1e13]},
        "asked for numbers of 'y'; row 0 is 10000000000000.0, which fixed point cannot hold; "
        "write null for it, or derive a number of at most 9.2e12",
    ),
    "labels beyond int64": (
        {**TARGET, "label_kind": "int64"},
        {"at": [0, 0], "x": [True, False], "y": [2**62, -(2**62)]},
        "asked for target of 'x'; the labels so far add up beyond int64; divide 'y' by a constant",
    ),
    "a time that goes back": (
        {"transform": "clip", "column": "x", "kind": "int64"},
        {"at": [10, 10, 9], "x": [1, 2, 3]},
        "asked to learn in the order of 'at'; row 2 is of 9 ms, after one of 10 ms; "
        "sort the rows by time, then partition and offset",
    ),
    "no time": (
        {"transform": "vocabulary", "column": "x", "kind": "bool", "expire_ms": 1},
        {"at": [10, None], "x": [True, True]},
        "asked for the times 'at'; row 1 has none; give each row one",
    ),
    "a slot that is none": (
        {"transform": "idf", "column": "x", "kind": "list<int64>", "slots": 2},
        {"at": [0], "x": [[1, 2]]},
        "asked for idf of 'x'; one of its slots is 2; give slots from 0 to 1",
    ),
    "a slot that is null": (
        {"transform": "idf", "column": "x", "kind": "list<int64>", "slots": 2},
        {"at": [0], "x": [[None, 1]]},
        "asked for idf of 'x'; one of its slots is None; give slots from 0 to 1",
    ),
}


@pytest.mark.parametrize(("declared", "columns", "says"), REFUSED.values(), ids=REFUSED)
def test_rows_are_refused_and_nothing_is_learned(
    declared: dict[str, Any], columns: dict[str, Any], says: str
) -> None:
    transform = declared_as(declared)
    before = transform.state()
    with pytest.raises(HeadraceError) as refused:
        transform.advance(pa.table(columns))
    assert str(refused.value) == says
    same(transform.state(), before)


def test_a_time_before_the_last_batch_is_refused() -> None:
    for settings_ in ({"transform": "standard"}, {"transform": "vocabulary", "expire_ms": 5}):
        transform = declared_as({"column": "x", "kind": "int64", **settings_})
        transform.advance(pa.table({"at": [5], "x": [1]}))
        with pytest.raises(HeadraceError, match="row 0 is of 4 ms, after one of 5 ms"):
            transform.advance(pa.table({"at": [4], "x": [1]}))
        transform.advance(pa.table({"at": [5], "x": [1]}))


def test_vocabularies_merge_in_the_order_of_time() -> None:
    declared = {"transform": "vocabulary", "column": "x", "kind": "int64", "expire_ms": 5}
    one, other = declared_as(declared), declared_as(declared)
    one.update(pa.table({"at": [5], "x": [1]}))
    other.update(pa.table({"at": [4], "x": [1]}))
    with pytest.raises(HeadraceError, match=r"rows before the newest.*in the order of time"):
        one.merge(other)


NOT_DECLARED: dict[str, tuple[dict[str, Any], str]] = {
    "a name that is none": (
        {"transform": "vocabulry", "column": "x", "kind": "int64"},
        "asked for the transform 'vocabulry'; known (nearest of 15): 'vocabulary'; "
        "did you mean 'vocabulary'?",
    ),
    "a type that is not taken": (
        {"transform": "standard", "column": "x", "kind": "string"},
        "asked for standard of 'x'; it is a string; give a column of type int64 or float64",
    ),
    "a cross of a float": (
        {"transform": "cross", "columns": ["x"], "kinds": ["float64"], "slots": 8},
        "asked for cross of 'x'; 'x' is a float64, whose values rarely repeat; "
        "bin it before, with quantile_bin",
    ),
    "a cross without types": (
        {"transform": "cross", "columns": ["x", "y"], "kinds": ["bool"], "slots": 8},
        "asked for cross of 'x', 'y'; it has 2 columns and 1 types; give each column its type",
    ),
    "no step": (
        {"transform": "standard", "column": "x", "kind": "int64", "every_ms": 0},
        "asked for standard of 'x'; its step is 0 ms; give one above 0",
    ),
    "shares that are none": (
        {"transform": "clip", "column": "x", "kind": "int64", "low": 0.9, "high": 0.1},
        "asked for clip of 'x'; its shares are 0.9 and 0.1; give two from 0 to 1, the lower first",
    ),
    "too few bins": (
        {"transform": "quantile_bin", "column": "x", "kind": "int64", "bins": 1},
        "asked for quantile_bin of 'x'; it has 1 bins; give 2 to 1000",
    ),
    "an unknown way": (
        {"transform": "impute", "column": "x", "kind": "int64", "by": "mode"},
        "asked for impute of 'x'; it is by 'mode'; use mean, median, most_frequent, constant",
    ),
    "a mean of strings": (
        {"transform": "impute", "column": "x", "kind": "string", "by": "mean"},
        "asked for impute of 'x'; it is of a string; by mean takes int64 or float64",
    ),
    "a constant of another type": (
        {"transform": "impute", "column": "x", "kind": "int64", "by": "constant", "value": True},
        "asked for impute of 'x'; its constant is True; give one of type int64",
    ),
    "a constant that is no number": (
        {**CONSTANT, "kind": "float64", "value": float("nan")},
        "asked for impute of 'x'; its constant is nan; give one of type float64",
    ),
    "a constant beyond its type": (
        {**CONSTANT, "kind": "int64", "value": 2**63},
        "asked for impute of 'x'; its constant is 9223372036854775808; give one of type int64",
    ),
    "a constant that nobody takes": (
        {"transform": "impute", "column": "x", "kind": "int64", "by": "mean", "value": 1},
        "asked for impute of 'x'; its constant is 1; give none",
    ),
    "no admission": (
        {"transform": "vocabulary", "column": "x", "kind": "bool", "admit": 0},
        "asked for vocabulary of 'x'; it admits after 0; give 1 or more",
    ),
    "no life": (
        {"transform": "vocabulary", "column": "x", "kind": "bool", "expire_ms": 0},
        "asked for vocabulary of 'x'; it forgets after 0 ms; give more than 0, or none",
    ),
    "no columns": (
        {"transform": "one_hot", "column": "x", "kind": "bool", "size": 0},
        "asked for one_hot of 'x'; its size is 0; give 1 to 1000 columns",
    ),
    "no slots": (
        {"transform": "hashing", "column": "x", "kind": "bool", "slots": 0},
        "asked for hashing of 'x'; it has 0 slots; give 1 to 2147483647",
    ),
    "labels that are texts": (
        {
            "transform": "target",
            "column": "x",
            "kind": "bool",
            "label": "y",
            "label_kind": "string",
        },
        "asked for target of 'x'; its label is a string; give a label of a number or a bool",
    ),
    "a prior that is no number": (
        {**TARGET, "prior_weight": float("nan")},
        "asked for target of 'x'; its prior weighs nan; give a finite one of at least 0",
    ),
    "grams of nothing": (
        {"transform": "ngrams", "column": "x", "slots": 8, "of": "letters"},
        "asked for ngrams of 'x'; they are of 'letters'; use words or characters",
    ),
    "sizes that are none": (
        {"transform": "ngrams", "column": "x", "slots": 8, "least": 2},
        "asked for ngrams of 'x'; their sizes are 2 to 1; give sizes from 1 to 16",
    ),
}


@pytest.mark.parametrize(("declared", "says"), NOT_DECLARED.values(), ids=NOT_DECLARED)
def test_a_declaration_is_refused(declared: dict[str, Any], says: str) -> None:
    with pytest.raises(HeadraceError) as refused:
        declared_as(declared)
    assert str(refused.value) == says


def test_a_state_of_another_declaration_is_refused() -> None:
    clip = {"transform": "clip", "column": "x", "kind": "int64"}
    other = declared_as({**clip, "high": 0.9})
    with pytest.raises(HeadraceError, match=r"the state is of .*'high': 0.9.*learn anew"):
        declared_as(clip).restore(other.state())
