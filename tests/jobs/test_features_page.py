"""The page about features: what it shows runs, on the store that it says it has."""

from __future__ import annotations

import doctest
from pathlib import Path

from tests.jobs.test_server import processing

PAGE = Path(__file__).parents[2] / "docs" / "features.md"


def test_the_examples_run(tmp_path: Path) -> None:
    with processing(tmp_path):
        pass
    result = doctest.testfile(
        str(PAGE), module_relative=False, encoding="utf-8", globs={"state": tmp_path}
    )
    assert result.attempted >= 15
    assert result.failed == 0
