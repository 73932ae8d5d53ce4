"""The page about versions: what it shows runs, and it names every cause, verdict and metric."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

from headrace.online_learning.gate import COMPARED, PREDICTORS, Gate
from headrace.online_learning.verdict import VERDICTS

PAGE = Path(__file__).parent.parent.parent / "docs" / "models.md"


def test_the_examples_run() -> None:
    result = doctest.testfile(str(PAGE), module_relative=False, encoding="utf-8")
    assert result.failed == 0
    assert result.attempted >= 14


def test_it_names_what_there_is() -> None:
    page = PAGE.read_text("utf-8")
    evidence = {"champion_worse_than_previous", "previous_worse_than_base_rate"}
    causes = set(COMPARED) - evidence - {"better_than_base_rate"}
    for name in (*causes, *VERDICTS, *PREDICTORS, "still_worse", "too_few_labels"):
        assert f"`{name}`" in page, name
    told = re.findall(r"`gate\.([a-z_]+)[.`]", page)
    assert set(told) >= {"champion", *VERDICTS, "verdict", "cause", "evidence", "log_loss"}
    assert {name.split(".")[0] for name in Gate(None).status()} <= set(told)
