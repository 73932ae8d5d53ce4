"""The page about transforms: its example runs, and it lists them all."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

from headrace.operators.transforms import TRANSFORMS

PAGE = Path(__file__).parent.parent.parent / "docs" / "transforms.md"


def test_the_example_runs() -> None:
    flags = doctest.NORMALIZE_WHITESPACE
    result = doctest.testfile(str(PAGE), module_relative=False, encoding="utf-8", optionflags=flags)
    assert result.failed == 0
    assert result.attempted >= 8


def test_it_lists_every_transform() -> None:
    listed = re.findall(r"^\| `(\w+)` \|", PAGE.read_text("utf-8"), re.MULTILINE)
    assert sorted(set(listed) & set(TRANSFORMS)) == sorted(TRANSFORMS)
