"""Declarations of every transform, and random rows for them that are hard to take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

__all__ = ["DECLARED", "logs"]

_NUMBER = ("clip", "min_max", "rank", "robust", "standard")

DECLARED: Mapping[str, dict[str, Any]] = {
    **{
        f"{name}-{kind}": {"transform": name, "column": "x", "kind": kind, "every_ms": 10}
        for name in _NUMBER
        for kind in ("int64", "float64")
    },
    "quantile_bin-int64": {
        **{"transform": "quantile_bin", "column": "x", "kind": "int64"},
        **{"bins": 4, "every_ms": 10},
    },
    "quantile_bin-float64": {
        **{"transform": "quantile_bin", "column": "x", "kind": "float64"},
        **{"bins": 3, "every_ms": 7},
    },
    **{
        f"impute-{by}-{kind}": {
            **{"transform": "impute", "column": "x", "kind": kind},
            **{"by": by, "value": value, "every_ms": 10},
        }
        for by, kind, value in (
            *(("mean", "int64", None), ("mean", "float64", None), ("median", "int64", None)),
            *(("median", "float64", None), ("most_frequent", "string", None)),
            *(("most_frequent", "int64", None), ("most_frequent", "bool", None)),
            *(("constant", "string", "it's"), ("constant", "float64", -0.5)),
        )
    },
    **{
        f"vocabulary-{kind}-{admit}-{expire_ms}": {
            **{"transform": "vocabulary", "column": "x", "kind": kind},
            **{"admit": admit, "expire_ms": expire_ms},
        }
        for kind, admit, expire_ms in (
            *(("string", 1, None), ("string", 2, 12), ("int64", 3, 25), ("bool", 2, None)),
        )
    },
    "one_hot": {"transform": "one_hot", "column": "x", "kind": "string", "size": 2, "admit": 2},
    "hashing-string": {"transform": "hashing", "column": "x", "kind": "string", "slots": 2**31 - 1},
    "hashing-int64": {"transform": "hashing", "column": "x", "kind": "int64", "slots": 1000},
    "cross": {
        **{"transform": "cross", "columns": ["x", "y", "b"], "slots": 2**20},
        "kinds": ["string", "string", "bool"],
    },
    "frequency-string": {"transform": "frequency", "column": "x", "kind": "string"},
    "frequency-int64": {"transform": "frequency", "column": "x", "kind": "int64"},
    **{
        f"target-{kind}": {
            **{"transform": "target", "column": "x", "kind": "string"},
            **{"label": "b", "label_kind": kind, "prior_weight": weight},
        }
        for kind, weight in (("bool", 2.0), ("int64", 0.0), ("float64", 10.0))
    },
    **{
        f"ngrams-{of}": {
            **{"transform": "ngrams", "column": "x", "kind": "string", "of": of},
            **{"least": least, "most": 3, "slots": 2**20},
        }
        for of, least in (("words", 1), ("characters", 2))
    },
    "idf": {"transform": "idf", "column": "x", "kind": "list<int64>", "slots": 5},
}

_STRINGS = ("a", "b", "", "ab", "é", "😀 x", "A-b c", "a\0b", "null", "Über die 7 Berge", None)
_CELLS: Mapping[str, st.SearchStrategy[Any]] = {
    "string": st.sampled_from(_STRINGS)
    | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6),
    "int64": st.sampled_from((0, 1, -1, 2, 7, 130, -(2**63), 2**63 - 1, 10**12, None))
    | st.integers(-300, 300),
    "float64": st.sampled_from((0.0, -0.0, 0.5, 5e-7, -5e-7, 1e-300, 9e12, -9e12, 0.1, None))
    | st.floats(-1e6, 1e6),
    "bool": st.sampled_from((True, False, None)),
    "list<int64>": st.none() | st.lists(st.integers(0, 4), max_size=6),
}
# So that the labels of 40 rows never add up beyond int64; that they may is a test of its own.
_LABELS = {**_CELLS, "int64": st.integers(-(2**55), 2**55) | st.none()}


def logs(declared: Mapping[str, Any], most: int = 25) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Give rows in the order of their times, with ties."""
    columns = declared.get("columns", [declared.get("column")])
    kinds = dict(zip(columns, declared.get("kinds", [declared.get("kind")]), strict=True))
    cells = {name: _CELLS[kind] for name, kind in kinds.items()}
    if "label" in declared:
        # Fixed point of 9e12 is 2^63, of which two would do; see above.
        small = st.floats(-1e6, 1e6) | st.none()
        given = {**_LABELS, "float64": small}[declared["label_kind"]]
        cells[declared["label"]] = given
    rows = st.fixed_dictionaries({"pause": st.sampled_from((0, 0, 1, 4, 13, 30)), **cells})
    return st.lists(rows, max_size=most).map(_timed)


def _timed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    at, timed = -20, []
    for row in rows:
        at += row["pause"]
        timed.append({"at": at, **{name: cell for name, cell in row.items() if name != "pause"}})
    return timed
