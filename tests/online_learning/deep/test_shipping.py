"""Smaller forms of a version and their price; exports give what the native scorer gives."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors import numpy as safetensors

from headrace.online_learning import onnx_file
from headrace.online_learning.deep import export
from headrace.online_learning.deep.distillation import distilled
from headrace.online_learning.deep.part import DeepPart
from headrace.online_learning.deep.price import HeldBack, Price, within
from headrace.online_learning.deep.pruning import packed, pruned, unpacked
from headrace.online_learning.deep.serving import Serving
from headrace.online_learning.deep.settings import NETS, RowOptimizer
from headrace.online_learning.models import ftrl
from headrace.online_learning.settings import Ftrl, LearningError
from headrace.operators.errors import EnvironmentProblem
from tests.online_learning.deep.test_part import Log, settings

LOG = Log(150, 64)
TOLERANCE = 1e-4  # of a logit: float32 sums in another order


@cache
def trained(net: str) -> DeepPart:
    quick = replace(settings(net), dense_rate=0.01, rows=RowOptimizer(rate=0.2))
    part = DeepPart(quick)
    for cut in LOG.cuts[:-20]:
        LOG.learn(part, cut)
    return part


LAST = slice(130 * 64, 150 * 64)
HELD_BACK = HeldBack(LOG.ids[LAST], LOG.numerics[LAST], LOG.labels[LAST])


def strange() -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Ids that nobody knows, and numbers without measure."""
    return np.array([[10**12, -5, 1]]), np.array([[np.nan, 1e30]])


@pytest.mark.parametrize("net", NETS)
def test_exports_give_the_native_logits_whatever_the_batch(net: str, tmp_path: Path) -> None:
    serving = Serving((part := trained(net)).settings, part.weights())
    made = [export.export_onnx(serving, tmp_path), export.export_program(serving, tmp_path)]
    read = torch.export.load(tmp_path / export.PROGRAM).module()  # what was just written here
    cases = [(LOG.ids[:n], LOG.numerics[:n]) for n in (1, 2, 77)] + [strange()]
    for one in made:
        for ids, numerics in cases:
            wanted = serving.score(ids, numerics)
            assert np.allclose(one.score(ids, numerics), wanted, rtol=0, atol=TOLERANCE)
    rows, numbers = serving.rows.find(LOG.ids), LOG.numerics.astype(np.float32)
    again = read(torch.from_numpy(rows), torch.from_numpy(numbers)).detach().numpy()
    assert np.array_equal(again, made[1].run(rows, numbers))
    files = [tmp_path / name for name in (onnx_file.ONNX, export.PROGRAM)]
    ids_bytes = (tmp_path / export.IDS).stat().st_size
    assert [one.size_bytes - ids_bytes for one in made] == [f.stat().st_size for f in files]


def test_exports_hold_nothing_that_can_run_code(tmp_path: Path) -> None:
    part = trained("dcn_v2")
    export.export_program(Serving(part.settings, part.weights()), tmp_path)
    with zipfile.ZipFile(tmp_path / export.PROGRAM) as archive:
        names = archive.namelist()
        assert any(name.endswith("model.json") for name in names)
        pickles = [name for name in names if name.endswith((".pt", ".pkl"))]
        assert [archive.read(name) for name in pickles] == [b""] * len(pickles)
        assert [name for name in names if archive.read(name).startswith(b"\x80\x02")] == []


def test_the_rows_of_ids_beside_an_export_are_the_servings(tmp_path: Path) -> None:
    part = trained("dcn_v2")
    serving = Serving(part.settings, part.weights())
    export.export_program(serving, tmp_path)
    places = safetensors.load((tmp_path / export.IDS).read_bytes())
    row = {
        (field, key): row
        for field, key, row in zip(
            places["fields"].tolist(), places["ids"].tolist(), places["rows"].tolist(), strict=True
        )
    }
    wanted = [[row.get((f, key), f) for f, key in enumerate(ids)] for ids in LOG.ids.tolist()]
    assert serving.rows.find(LOG.ids).tolist() == wanted


def test_every_form_has_its_price() -> None:
    part = trained("dcn_v2")
    arrays = part.weights()
    whole = Serving(part.settings, arrays)
    logits = whole.score(HELD_BACK.ids, HELD_BACK.numerics)

    def price(name: str, serving: Serving, size_bytes: int) -> Price:
        return Price.of(
            name,
            serving.score,
            size_bytes=size_bytes,
            held_back=HELD_BACK,
            whole=logits,
            requests=30,
        )

    native = price("fp32", whole, whole.size_bytes)
    assert (native.auc_lost, native.off) == (0.0, 0.0)
    assert native.auc > 0.8
    assert 0 < native.p50_us <= native.p99_us
    for form, most in (("fp16", 0.001), ("int8", 0.002)):
        small = Serving(part.settings, arrays, form=form)
        told = price(form, small, small.size_bytes)
        assert told.size_bytes < native.size_bytes
        assert abs(told.auc_lost) < most
        assert told.off > 0
    lost = []
    for share in (0.3, 0.95):
        dense = pruned(part.settings, arrays["dense"], share)
        assert np.array_equal(unpacked(packed(dense)), dense)
        assert sum(one.nbytes for one in packed(dense).values()) < dense.nbytes
        lost.append(price("pruned", Serving(part.settings, {**arrays, "dense": dense}), 1).auc_lost)
    assert lost[0] < 0.02 < lost[1]
    assert within(native, p99_us=native.p99_us) is native
    with pytest.raises(LearningError, match="choose a smaller form, or raise the budget"):
        within(native, p99_us=native.p99_us - 0.1)


def test_a_linear_model_learns_what_the_deep_one_says_without_labels() -> None:
    part = trained("dcn_v2")
    cross = LOG.ids[:, 0] * 12 + LOG.ids[:, 1]  # the two fields that matter together
    slots = np.stack([LOG.ids[:, 2], 12 + cross], axis=1).astype(np.int32)
    first = slice(0, LAST.start)
    teacher = part.score(LOG.ids, LOG.numerics)
    quick = Ftrl(alpha=0.5, l2=0.0)
    weights = distilled(teacher[first], slots[first], LOG.numerics[first], size=160, settings=quick)
    p = ftrl.score(weights, slots[LAST], LOG.numerics[LAST])
    student = np.log(p / (1 - p))
    assert weights.nbytes < 2000
    assert HELD_BACK.auc(teacher[LAST]) - HELD_BACK.auc(student) < 0.01


def test_what_cannot_be_shipped_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    part = DeepPart(settings("dcn_v2"))
    serving = Serving(part.settings, part.weights())
    with pytest.raises(LearningError, match="it is no share"):
        pruned(part.settings, part.weights()["dense"], 1.0)
    with pytest.raises(LearningError, match="they do not fit, or a logit is not finite"):
        distilled(np.zeros(1), np.array([[9]], np.int32), np.empty((1, 0)), size=9, settings=Ftrl())
    with pytest.raises(LearningError, match="their labels are all alike"):
        HeldBack(LOG.ids, LOG.numerics, np.ones(len(LOG.ids))).auc(np.zeros(len(LOG.ids)))
    monkeypatch.setattr(onnx_file, "find_spec", lambda _: None)
    with pytest.raises(EnvironmentProblem, match="onnxscript not installed; install"):
        export.export_onnx(serving, tmp_path)
