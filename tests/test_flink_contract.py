"""Every case of every aggregate, through a real Flink of one, two and four: the oracle's tiles."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.operators.aggregates import AGGREGATES
from headrace.operators.engines import in_process
from tests.engines import companion_rows, rows_in_process, tile_rows
from tests.flink_tiles import Cased, cased, tiles_by_flink
from tests.tables import CASES, read
from tests.test_new_operator import New, new

pytestmark = pytest.mark.flink
__all__ = ["new"]


def _compare(views: list[Cased], folder: Path, parallelism: int) -> int:
    made = tiles_by_flink(views, folder, parallelism=parallelism)
    compared = 0
    for each in views:
        panes, view = made[each.view.name], each.view
        truth = in_process.tiles(view, each.events)
        assert panes is not None
        assert tile_rows(view, panes.items) == tile_rows(view, truth), view.features
        rows = companion_rows(rows_in_process(view, each.events))
        assert companion_rows(panes.more) == rows, view.features
        compared += len(truth)
    return compared


@pytest.mark.parametrize("parallelism", [1, 2, 4])
def test_a_tile_is_the_same_in_flink(tmp_path: Path, parallelism: int, new: New) -> None:
    cases = [case for path in sorted(CASES.glob("*.txt")) for case in read(path)]
    views = cased([*cases, *new.cases])
    used = {feature.aggregate.name for each in views for feature in each.view.features}
    assert used == set(AGGREGATES)
    assert "range" in used
    assert _compare(views, tmp_path, parallelism) > 300
