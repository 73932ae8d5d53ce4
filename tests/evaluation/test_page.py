"""The page about scores: what it shows runs, and it names what there is."""

from __future__ import annotations

import doctest
from pathlib import Path

from headrace.operators.evaluation import METRICS
from headrace.operators.evaluation.baselines import BASELINES
from headrace.operators.outliers import OUTLIERS

PAGE = Path(__file__).parents[2] / "docs" / "evaluation.md"


def test_the_examples_run() -> None:
    result = doctest.testfile(str(PAGE), module_relative=False, encoding="utf-8")
    assert result.attempted >= 25
    assert result.failed == 0


def test_it_names_all() -> None:
    text = PAGE.read_text("utf-8")
    kinds = [*METRICS, *BASELINES, *(kind.__name__ for kind in OUTLIERS.values())]
    assert [name for name in kinds if f"`{name}`" not in text] == []
