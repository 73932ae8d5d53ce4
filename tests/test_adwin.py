"""ADWIN: River's alarms on the same values; what it finds in how many; cuts change nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from headrace.operators.adwin import Adwin

river = pytest.importorskip("river.drift.adwin_c", reason="no package river found")

Floats = NDArray[np.float64]


def rivers(values: Floats, delta: float) -> tuple[list[int], float, float]:
    windowing = river.AdaptiveWindowing(delta=delta)
    places = [i for i, value in enumerate(values.tolist()) if windowing.update(value)]
    width = windowing.get_width()
    return places, width, windowing.get_total() / width


def stream(seed: int, kind: str, count: int = 6_000) -> Floats:
    rng = np.random.default_rng(seed)
    if kind == "steps":
        level = np.repeat(rng.random(6), count // 6)
        return (rng.random(len(level)) < level).astype(np.float64)
    if kind == "drifts":
        return np.clip(np.linspace(0.2, 0.8, count) + rng.normal(0, 0.1, count), 0, 1)
    return rng.random(count)


@pytest.mark.parametrize("kind", ["steps", "drifts", "still"])
@pytest.mark.parametrize("delta", [0.002, 0.2])
@pytest.mark.parametrize("seed", range(3))
def test_it_has_rivers_alarms(kind: str, delta: float, seed: int) -> None:
    values = stream(seed, kind)
    adwin = Adwin(delta)
    alarms = adwin.follow(values[:, None])
    places, width, mean = rivers(values, delta)
    assert [alarm.place for alarm in alarms] == places
    assert adwin.state()["sums"][0, 0] == width
    assert adwin.state()["sums"][0, 1] / width == mean
    assert (len(places) > 4) == (kind != "still")


@given(cuts=st.lists(st.integers(0, 1_500), max_size=8), seed=st.integers(0, 5))
@settings(max_examples=20, deadline=None)
def test_how_values_are_cut_changes_nothing(cuts: list[int], seed: int) -> None:
    values = np.stack([stream(seed, "steps", 1_500), stream(seed + 9, "drifts", 1_500)], axis=1)
    whole = Adwin(0.01, 2)
    expected = [(a.place, a.detector, a.before, a.after) for a in whole.follow(values)]
    parts = Adwin(0.01, 2)
    found = []
    for start, stop in zip([0, *sorted(cuts)], [*sorted(cuts), len(values)], strict=True):
        after = Adwin(0.01, 2)
        after.restore({name: array.copy() for name, array in parts.state().items()})
        parts = after
        made = parts.follow(values[start:stop])
        found += [(start + a.place, a.detector, a.before, a.after) for a in made]
    assert found == expected
    assert all(np.array_equal(parts.state()[n], array) for n, array in whole.state().items())


def test_two_detectors_are_two_with_half_the_delta() -> None:
    columns = np.stack([stream(1, "steps"), stream(2, "steps")], axis=1)
    both = {(a.place, a.detector) for a in Adwin(0.01, 2).follow(columns)}
    alone = [{a.place for a in Adwin(0.005).follow(columns[:, [k]])} for k in range(2)]
    expected = {(place, 0) for place in alone[0]} | {(place, 1) for place in alone[1] - alone[0]}
    assert both == expected
    assert len(both) > 8


def test_a_shift_is_found_in_so_many_and_a_still_stream_rings_seldom() -> None:
    """Of error rates .17 then .25, over ten seeds; without a shift in a million values."""
    delays = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        errors = rng.random(30_000) < np.repeat([0.17, 0.25], [20_000, 10_000])
        found = [a.place for a in Adwin(0.002).follow(errors[:, None].astype(np.float64))]
        assert all(place >= 20_000 for place in found)
        delays.append(found[0] - 20_000)
    assert max(delays) < 1_500
    still = np.random.default_rng(3).random(1_000_000) < 0.17
    assert len(Adwin(0.002).follow(still[:, None].astype(np.float64))) <= 2
