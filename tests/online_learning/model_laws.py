"""The laws of every model: neither cuts nor crashes change a bit of what is learned."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.online_learning.learning import Learning
from headrace.online_learning.models.model import Inputs, Kind, State, Steps
from headrace.online_learning.settings import Encoding
from tests.online_learning.made_up import Log
from tests.online_learning.test_learner import feed, learning, versions

__all__ = ["crashes_lose_nothing", "cuts_change_no_bit"]


def cuts_change_no_bit(
    kind: Kind, encoding: Encoding, inputs: Inputs, steps: Steps, *, examples: int = 25
) -> None:
    """Cut the steps anywhere, with a snapshot between: the same predictions, and the same state."""
    model = kind.blank(encoding)
    said, whole = model.advance(inputs, steps), model.state()
    assert len(np.unique(said)) > 2 * len(steps) // 3

    @given(cuts=st.lists(st.integers(0, len(steps)), max_size=6))
    @settings(max_examples=examples, deadline=None)
    def cut(cuts: list[int]) -> None:
        model, parts = kind.blank(encoding), []
        for start, stop in pairwise([0, *sorted(cuts), len(steps)]):
            parts.append(model.advance(inputs, steps.part(start, stop)))
            kept = model.state()
            model = kind.blank(encoding)
            model.restore(State({n: a.copy() for n, a in kept.arrays.items()}, kept.facts))
        assert np.array_equal(np.concatenate(parts), said)
        found = model.state()
        assert found.arrays.keys() == whole.arrays.keys()
        for name, array in whole.arrays.items():
            assert np.array_equal(found.arrays[name], array), name
        assert found.facts == whole.facts

    cut()


def crashes_lose_nothing(folder: Path, told: Learning, source: Log, steps: Sequence[int]) -> None:
    """Let a learner die after so many steps, and another go on: the same digest and versions."""
    with learning(folder / "whole", told) as learner:
        feed(learner, [(10_000, 10_000)], source)
        digest, files = learner.digest(), versions(folder / "whole")
    assert len(files) > 5
    for some in steps:
        with learning(folder / str(some), told) as learner:
            feed(learner, [(30, 5), (7, 2)], source, steps=some)
        with learning(folder / str(some), told) as learner:
            feed(learner, [(11, 3), (50, 9)], source)
            assert (learner.digest(), versions(folder / str(some))) == (digest, files)
