"""A new operator is one file and one table: the two of CONTRIBUTING, in a package of their own.

Every check of the suite is run on them as it would be if they stood in the tree.
"""

from __future__ import annotations

import doctest
import importlib
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from headrace.operators.aggregates import AGGREGATES, Aggregate
from headrace.operators.discovery import found_in
from headrace.operators.engines.flink import Kafka, view_sql
from headrace.operators.types import Type
from headrace.operators.view import Feature
from tests.engines import ENGINES
from tests.laws import LAWS
from tests.tables import Case, read
from tests.test_operators import EVERY_TABLE_HAS

PAGE = Path(__file__).parent.parent / "CONTRIBUTING.md"
FILE = re.compile(r"^`([^`]+)`:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class New:
    """The operator of the page, found and registered, with its cases."""

    kind: type[Aggregate]
    module: str
    cases: list[Case]


@pytest.fixture
def new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[New]:
    files = dict(FILE.findall(PAGE.read_text("utf-8")))
    assert list(files) == ["operators/aggregates/range.py", "tests/cases/range.txt"]
    (code, table) = files.values()
    package = tmp_path / "of_the_page"
    package.mkdir()
    (package / "__init__.py").write_text("", "utf-8")
    (package / "range.py").write_text(code, "utf-8")
    (tmp_path / "range.txt").write_text(table, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("of_the_page")
    found = found_in("of_the_page", Aggregate)
    assert list(found) == ["range"]
    monkeypatch.setitem(AGGREGATES, "range", found["range"])
    yield New(found["range"], "of_the_page.range", read(tmp_path / "range.txt"))
    for name in ("of_the_page", "of_the_page.range"):
        del sys.modules[name]


def test_it_is_not_in_the_tree_already() -> None:
    assert "range" not in AGGREGATES


def test_its_cases_pass_in_every_engine(new: New) -> None:
    names = " ".join(case.name for case in new.cases)
    for must in EVERY_TABLE_HAS:
        assert any(word in names for word in must.split("|")), must
    for case in new.cases:
        for engine, answer in ENGINES.items():
            answers = [row[0] for row in answer(case.view, case.log, case.asks)]
            assert repr(answers) == repr(list(case.answers)), (engine, case.name)


def test_the_laws_hold(new: New) -> None:
    for values in ([], [None], [3, None, 1], [2**63 - 1, -(2**63), 0]):
        for law in LAWS:
            law(new.kind("x", Type.INT64), values)


def test_its_example_runs(new: New) -> None:
    result = doctest.testmod(importlib.import_module(new.module))
    assert (result.attempted, result.failed) == (1, 0)


def test_flink_makes_the_tiles_that_it_needs(new: New) -> None:
    """Its tiles are those of max and min, which the job of `test_views_job` makes in Flink."""
    view = new.cases[0].view
    known = [Feature(name, AGGREGATES[name]("x", Type.INT64)) for name in ("max", "min")]
    printed = [
        view_sql(each, Kafka("here:1", "g"), topic="t", shard_keys=["0"])
        for each in (view, replace(view, features=tuple(known)))
    ]
    assert printed[0] == printed[1]
    assert "MAX(`x`) AS p0, MIN(`x`) AS p1" in " ".join(printed[0][0])
