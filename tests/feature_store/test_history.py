"""History asks a window's rows once for each key and step, in parts: the oracle's answers still."""

from __future__ import annotations

import random

import pytest

from headrace.feature_store import past
from tests import logs
from tests.engines import by_in_process, rows_of, told
from tests.logs import SOURCE, VIEWS


def _log(count: int) -> list[bytes]:
    chance = random.Random(11)  # noqa: S311 - a seeded log, no secret
    cells = [{name: chance.choice(some) for name, some in logs.CELLS.items()} for _ in range(count)]
    times = sorted(chance.randrange(14_000) for _ in range(count))
    return [logs.payload(str(at), each) for at, each in zip(times, cells, strict=True)]


@pytest.mark.parametrize("at_once", [50, 20_000])
def test_features_at_decisions_are_the_oracles(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(past, "_GATHERED", at_once)
    log = logs.placed([(0, said) for said in _log(120)])
    compared = 0
    with told(SOURCE, list(VIEWS.values()), log) as said:
        said.decisions()
        decisions = said.query("SELECT * FROM decisions ORDER BY seq")
        for name, view in VIEWS.items():
            keys = zip(*(decisions[part].to_pylist() for part in view.key), strict=True)
            asks = list(zip(keys, decisions["at"].to_pylist(), strict=True))
            found = said.features(name)
            assert found["seq"].to_pylist() == decisions["seq"].to_pylist()
            assert repr(rows_of(found.drop_columns(["seq"]))) == repr(
                by_in_process(view, log, asks)
            )
            compared += len(asks)
    assert compared > 200


def test_without_decisions_there_are_no_features() -> None:
    with told(SOURCE, list(VIEWS.values()), []) as said:
        said.decisions()
        for name, view in VIEWS.items():
            names = [feature.name for feature in view.features]
            assert said.features(name).to_pydict() == {"seq": [], **{each: [] for each in names}}
