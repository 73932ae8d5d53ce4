"""`headrace operators` says what each operator is, shows it, and names cases that are there."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from headrace.operators.catalogue import ENGINES, Entry, catalogue

ALL = catalogue()
ROOT = Path(__file__).parent.parent
FEWEST = {
    "row function": 60,
    "stream operator": 9,
    "aggregate": 19,
    "transform": 12,
    "metric": 12,
    "baseline": 3,
    "outlier score": 2,
}


def test_there_are_as_many_as_there_should_be() -> None:
    counts = Counter(entry.family for entry in ALL)
    assert set(counts) == set(FEWEST)
    assert {family: count for family, count in counts.items() if count < FEWEST[family]} == {}
    assert max(Counter((entry.family, entry.name) for entry in ALL).values()) == 1


@pytest.mark.parametrize("entry", [pytest.param(e, id=f"{e.family}: {e.name}") for e in ALL])
def test_an_operator_is_whole(entry: Entry) -> None:
    assert entry.about.endswith("."), entry.about
    assert ">>>" in entry.example
    assert list(entry.engines) == list(ENGINES)
    assert entry.engines["in_process"] == "yes"
    said = {text for text in entry.engines.values() if text != "yes"}
    assert all(text.startswith(("not yet: ", "never: ")) for text in said)
    assert len((ROOT / entry.cases).read_text("utf-8").splitlines()) >= 5
