"""What other systems answer, and what is answered here: cases from their documents and trackers.

Each case of the table says whose answer it is and where the rule here differs, and why.
"""

from __future__ import annotations

import pytest

from headrace.operators.aggregates import AGGREGATES
from headrace.operators.source import Column, Source
from headrace.operators.types import Type
from headrace.operators.view import Feature, View
from tests.engines import ENGINES
from tests.tables import CASES, Case, read

KNOWN = read(CASES / "known" / "answers.txt")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", [pytest.param(case, id=case.name[:60]) for case in KNOWN])
def test_a_known_case_has_its_answer(engine: str, case: Case) -> None:
    answers = [row[0] for row in ENGINES[engine](case.view, case.log, case.asks)]
    assert repr(answers) == repr(list(case.answers))


@pytest.mark.parametrize("engine", ENGINES)
def test_keys_of_several_parts_do_not_run_into_each_other(engine: str) -> None:
    """Feast 0.66 took ("1", "12") and ("11", "2") for one key, and gave the value of the other."""
    source = Source("s", "s", tuple(Column(name, Type.STRING) for name in ("a", "b")))
    view = View("v", source, ("a", "b"), 10, (Feature("n", AGGREGATES["count"]()),))
    keys = [("1", "12"), ("11", "2"), ("11", "2"), ("1|1", "2"), ("1", "1|2")]
    log = [
        (0, offset, 0, f'{{"at": 1, "a": "{a}", "b": "{b}"}}'.encode())
        for offset, (a, b) in enumerate(keys)
    ]
    answers = ENGINES[engine](view, log, [(key, 10) for key in dict.fromkeys(keys)])
    assert answers == [(1,), (2,), (1,), (1,)]
