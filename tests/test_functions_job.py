"""Every expression of the tables on every row, through a real Flink: one job for all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.operators.expression import parse
from tests.flink import by_flink
from tests.formulas import COLUMNS, EXPRESSIONS, ROWS, python

pytestmark = pytest.mark.flink


def test_flink_gives_the_same_on_every_row(tmp_path: Path) -> None:
    trees = [parse(text, COLUMNS) for text in EXPRESSIONS]
    made = by_flink(trees, COLUMNS, list(ROWS.values()), tmp_path)
    wrong = [
        (text, name, value, python(tree, ROWS[name]))
        for name, values in zip(ROWS, made, strict=True)
        for text, tree, value in zip(EXPRESSIONS, trees, values, strict=True)
        if repr(value) != repr(python(tree, ROWS[name]))
    ]
    assert wrong == []
    assert sum(value is not None for values in made for value in values) > len(EXPRESSIONS)
