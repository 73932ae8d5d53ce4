"""The page about deep models: its examples run, and it lists every net and optimizer."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

from headrace.online_learning.deep.settings import NETS, ROW_OPTIMIZERS

PAGE = Path(__file__).parent.parent.parent.parent / "docs" / "deep.md"


def test_the_examples_run() -> None:
    result = doctest.testfile(str(PAGE), module_relative=False, encoding="utf-8")
    assert result.failed == 0
    assert result.attempted >= 25


def test_it_lists_every_net_and_optimizer() -> None:
    listed = re.findall(r"^\| `(\w+)` \|", PAGE.read_text("utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(["net", *NETS, "RowOptimizer", *ROW_OPTIMIZERS])
