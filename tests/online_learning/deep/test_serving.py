"""What only predicts, beside the part that it was made of, and rows in fewer bytes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from numpy.typing import NDArray

from headrace.online_learning.deep.packing import FORMS, bound, pack, unpack
from headrace.online_learning.deep.part import DeepPart
from headrace.online_learning.deep.serving import Serving
from headrace.online_learning.deep.settings import NETS
from headrace.online_learning.settings import LearningError
from headrace.operators.errors import UnknownName
from tests.online_learning.deep.test_part import Log, settings

floats = arrays_of.arrays(
    np.float32,
    st.tuples(st.integers(0, 5), st.integers(1, 9)),
    elements=st.floats(-60_000, 60_000, width=32),
)


@pytest.mark.parametrize("net", NETS)
def test_full_versions_and_deltas_serve_the_bits_of_the_trainer(net: str) -> None:
    part, log = DeepPart(settings(net)), Log(20, 33)
    serving: Serving | None = None
    for i, cut in enumerate(log.cuts):
        log.learn(part, cut)
        if i % 3 == 0:
            changed = part.delta()
            serving = serving.after(changed) if serving else Serving(part.settings, changed)
            wanted = part.score(log.ids, log.numerics).tolist()
            assert serving.score(log.ids, log.numerics).tolist() == wanted
            whole = Serving(part.settings, part.weights())
            assert whole.score(log.ids, log.numerics).tolist() == wanted


def test_a_delta_has_only_what_changed() -> None:
    part = DeepPart(settings("dcn_v2"))
    ids, at = np.arange(300).reshape(-1, 3), np.zeros(100, np.int64)
    for _ in range(2):
        part.logits(ids, np.zeros((100, 2)), at=at)
        part.learn(np.full(100, 0.5))
    assert part.delta()["rows.rows"].shape == (300, 4)
    part.logits(ids[:1], np.zeros((1, 2)), at=at[:1])
    part.learn(np.full(1, 0.5))
    assert part.delta()["rows.ids"].tolist() == [0, 1, 2]


def test_a_version_in_use_does_not_change() -> None:
    part, log = DeepPart(settings("dlrm")), Log(4, 33)
    log.learn(part, log.cuts[0])
    serving = Serving(part.settings, part.delta())
    before = serving.score(log.ids, log.numerics).tolist()
    for cut in log.cuts[1:]:
        log.learn(part, cut)
    serving.after(part.delta())
    assert serving.score(log.ids, log.numerics).tolist() == before


def test_weights_of_another_net_are_refused() -> None:
    part = DeepPart(settings("dlrm"))
    with pytest.raises(LearningError, match="use the settings it was made under"):
        Serving(settings("mmoe"), part.weights())


@given(floats, st.sampled_from(FORMS))
def test_packed_rows_are_within_their_bound(rows: NDArray[np.float32], form: str) -> None:
    off = np.abs(unpack(pack(rows, form)).astype(np.float64) - rows).max(1, initial=0.0)
    assert (off <= bound(rows, form)).all()


def test_what_does_not_fit_a_form_is_refused() -> None:
    with pytest.raises(LearningError, match="a weight is not within ±65504; keep them as fp32"):
        pack(np.array([[7e4]], np.float32), "fp16")
    for form in FORMS:
        with pytest.raises(LearningError, match="a weight is not within"):
            pack(np.array([[np.nan]], np.float32), form)
    with pytest.raises(UnknownName, match="the form of rows 'int4'"):
        pack(np.zeros((1, 1), np.float32), "int4")


@pytest.mark.parametrize(("form", "most"), [("fp16", 1e-3), ("int8", 2e-2)])
def test_smaller_rows_serve_nearly_the_same_and_take_less(form: str, most: float) -> None:
    torch.set_num_threads(1)
    part, log = DeepPart(settings("deep_fm")), Log(60, 64)
    for cut in log.cuts:
        log.learn(part, cut)
    whole = Serving(part.settings, part.weights())
    small = Serving(part.settings, part.weights(), form=form)
    off = np.abs(small.score(log.ids, log.numerics) - whole.score(log.ids, log.numerics)).max()
    assert 0 < off < most
    assert small.size_bytes < whole.size_bytes
