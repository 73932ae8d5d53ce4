"""A version in other forms: what each scores, what it costs, and what is refused."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pyarrow.compute as pc
import pytest
from safetensors import numpy as safetensors

from headrace.jobs import assembly
from headrace.jobs.examples import Examples, of_file
from headrace.jobs.ship import export
from headrace.online_learning import durable
from headrace.online_learning.encoding import Encoder
from headrace.online_learning.models.linear import Squared
from headrace.online_learning.moments import Moments
from headrace.online_learning.registry import Registry
from headrace.online_learning.scorer import MOMENTS, Scorer
from headrace.online_learning.settings import LearningError
from headrace.online_learning.shipping import FORMS, Asked, keys, ship
from headrace.online_learning.stepping import columns, step
from headrace.online_learning.version import Version
from headrace.operators.errors import EnvironmentProblem, HeadraceError, UnknownName
from headrace.operators.evaluation import METRICS
from headrace.pipelines.pipeline import Pipeline
from tests.jobs.conftest import Say
from tests.jobs.made_up_examples import small, written

DEEP = "  batch: 64\n  width: 16\n  hidden: [16, 8]\n  device: cpu\n  rate: 0.1\n"
KINDS = {"ftrl": "", "hybrid": DEEP, "dcn_v2": DEEP, "fm": "  width: 4\n"}
THROUGH = 7_000_000
FITS = [
    *(("ftrl", form) for form in ("onnx", "int8", "fp16", "pruned")),
    *(("hybrid", form) for form in FORMS),
    *(("dcn_v2", form) for form in ("onnx", "int8", "fp16", "pruned", "distilled")),
    ("fm", "distilled"),
]
OFF = {"onnx": 1e-4, "torch": 1e-4, "int8": 0.2, "fp16": 0.02, "pruned": 3.0, "distilled": 5.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ship")


@pytest.fixture(scope="module")
def given(folder: Path) -> Examples:
    return of_file(small(folder), written(folder))


def declared(folder: Path, kind: str) -> Pipeline:
    (folder / kind).mkdir(exist_ok=True)
    return small(folder / kind, KINDS[kind], kind=kind)


def published(folder: Path, pipeline: Pipeline, given: Examples) -> Version:
    """Learn the labels before `THROUGH`, as a learner would, and publish that as version 1."""
    learning, kind = assembly.learning(pipeline), pipeline.model.kind
    state = folder / kind.name / "state"
    versions = Registry(state / "learner" / "versions")
    if 1 in versions.numbers():
        return versions.version(1)
    told = given.rows.filter(pc.less(given.rows["labelled"], THROUGH))
    inputs = Encoder(learning.encoding).inputs(told, deep=kind.deep)
    order = np.argsort(told["labelled"].to_numpy(), kind="stable")
    labels = {
        "at": told["labelled"].to_numpy()[order],
        "seq": told["seq"].to_numpy()[order],
        "label": told["label"].to_numpy().astype(np.float64)[order],
        **columns(inputs, order),
    }
    none = {"at": np.empty(0, np.int64), **columns(inputs, order[:0])}
    model, moments = kind.blank(learning.encoding), Moments(1)
    step(learning, model, moments, none, labels)
    versions.publish(
        1,
        {**model.weights(), MOMENTS: moments.state},
        encoding=learning.encoding.digest,
        model=dict(kind.facts),
        through_ms=THROUGH,
        offsets={},
        metrics={},
    )
    return versions.version(1)


@pytest.mark.parametrize(("kind", "form"), FITS)
def test_a_form_says_what_the_version_says(
    kind: str, form: str, folder: Path, given: Examples, tmp_path: Path
) -> None:
    pipeline = declared(folder, kind)
    version = published(folder, pipeline, given)
    out = tmp_path / "out"
    sent = export(pipeline, version, lambda: given, out, form=form)
    assert sent.form.off <= OFF[form]
    assert (sent.whole.off, sent.whole.auc_lost) == (0.0, 0.0)
    assert (sent.form.off > 0) == (sent.form.name != "whole")
    facts = orjson.loads((out / "manifest.json").read_bytes())
    assert (facts["version"], facts["pipeline"]) == (1, pipeline.digest)
    assert set(facts["files"]) == {each.name for each in out.iterdir()} - {"manifest.json"}
    for name, sha256 in facts["files"].items():
        assert durable.sha256((out / name).read_bytes()) == sha256
    sizes = [(out / name).stat().st_size for name in facts["files"]]
    assert facts["form"]["size_bytes"] == sent.form.size_bytes == sum(sizes)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("kind", KINDS)
def test_the_price_is_on_labels_that_the_version_has_not_learned(
    kind: str, folder: Path, given: Examples, tmp_path: Path
) -> None:
    pipeline = declared(folder, kind)
    version = published(folder, pipeline, given)
    sent = export(
        pipeline,
        version,
        lambda: given,
        tmp_path / "out",
        form="distilled" if kind != "ftrl" else "fp16",
    )
    held = given.rows.filter(pc.greater_equal(given.rows["labelled"], THROUGH))
    assert sent.examples == held.num_rows > 300
    p = Scorer(assembly.encoding(pipeline), pipeline.model.kind, version).score(held)
    auc = METRICS["auc"]()
    auc.update(p, held["label"].to_numpy().astype(np.float64))
    assert sent.whole.auc == auc.value()


def test_smaller_forms_are_smaller(folder: Path, given: Examples, tmp_path: Path) -> None:
    pipeline = declared(folder, "hybrid")
    version = published(folder, pipeline, given)
    sizes = {
        form: export(pipeline, version, lambda: given, tmp_path / form, form=form).form.size_bytes
        for form in ("int8", "fp16", "pruned")
    }
    assert sizes["int8"] < sizes["fp16"]
    more = export(pipeline, version, lambda: given, tmp_path / "more", form="pruned", share=0.9)
    assert more.form.size_bytes < sizes["pruned"]


def test_the_files_alone_give_the_logits(folder: Path, given: Examples, tmp_path: Path) -> None:
    """What is measured is what is in the files: a reader of them, written here, agrees."""
    import onnxruntime

    pipeline = declared(folder, "ftrl")
    version = published(folder, pipeline, given)
    encoding = assembly.encoding(pipeline)
    read = Encoder(encoding).inputs(given.rows)
    arrays = dict(version.arrays())
    numbers = Moments(1, arrays.pop(MOMENTS)).scaled(read.numbers)
    p = Scorer(encoding, pipeline.model.kind, version).score(given.rows)
    expected = np.log(p) - np.log1p(-p)
    export(pipeline, version, lambda: given, tmp_path / "onnx", form="onnx")
    session = onnxruntime.InferenceSession(tmp_path / "onnx" / "model.onnx")
    told = {"slots": read.slots.astype(np.int64), "numbers": numbers.astype(np.float32)}
    [logits] = session.run(["logits"], told)
    assert np.abs(logits - expected).max() < 1e-5
    export(pipeline, version, lambda: given, tmp_path / "fp16", form="fp16")
    small = safetensors.load_file(tmp_path / "fp16" / "linear.safetensors")
    assert small["weights"].dtype == np.float16
    weights = np.zeros(encoding.weights)
    weights[small["ids"]] = small["weights"]
    linear = weights[read.slots].sum(1) + numbers[:, 0] * weights[-1]
    shipped = ship(pipeline.model.kind, encoding, arrays, Asked("fp16"), tmp_path)
    assert np.allclose(shipped.score(keys(read), numbers), linear, atol=1e-12)


def test_what_cannot_be_is_refused_and_leaves_nothing(
    folder: Path, given: Examples, tmp_path: Path
) -> None:
    ftrl, fm = declared(folder, "ftrl"), declared(folder, "fm")
    version, vectors = published(folder, ftrl, given), published(folder, fm, given)
    out = tmp_path / "out"

    def refused(said: str, pipeline: Pipeline, which: Version, rows: Examples, form: str) -> None:
        with pytest.raises(HeadraceError, match=said):
            export(pipeline, which, lambda: rows, out, form=form, p99_us=0.001)
        assert not list(tmp_path.iterdir())

    refused("a model of the kind 'ftrl' as torch; there is no net", ftrl, version, given, "torch")
    refused("as distilled; it is linear already", ftrl, version, given, "distilled")
    refused("a model of the kind 'fm' as int8; vectors of pairs", fm, vectors, given, "int8")
    refused("it was learned with other settings than those of", fm, version, given, "fp16")
    refused(
        r"a version with p99 within 0 µs; it takes \d+ µs as fp16", ftrl, version, given, "fp16"
    )
    early = Examples(given.rows.slice(0, 1_000))
    refused("has not learned; there are .*, .* of them positive", ftrl, version, early, "fp16")
    number = replace(ftrl, model=replace(ftrl.model, kind=Squared()))
    other = replace(version, model=dict(Squared().facts))
    refused("the kind 'linear' predicts no single bool", number, other, given, "fp16")
    out.mkdir()

    def unread() -> Examples:
        raise AssertionError

    with pytest.raises(EnvironmentProblem, match="out is there already; give a new folder"):
        export(ftrl, version, unread, out, form="fp16")
    with pytest.raises(UnknownName, match="form of a version 'int4'"):
        Asked("int4")
    with pytest.raises(LearningError, match=r"asked to prune 1\.0 of the weights"):
        Asked("pruned", share=1.0)


def test_the_command_prints_the_price_and_keeps_to_the_budget(
    folder: Path, given: Examples, tmp_path: Path, say: Say
) -> None:
    pipeline = declared(folder, "ftrl")
    published(folder, pipeline, given)
    out, state = tmp_path / "out", folder / "ftrl" / "state"
    words = ["models", "export", pipeline.path, 1, out, "--form", "fp16", "--state", state]
    words += ["--from", folder / "examples.parquet"]

    status, text = say(*words, "--latency-budget", "0.001us")
    assert (status, out.exists()) == (1, False)
    assert "choose a smaller form, or raise the budget" in text
    status, text = say(*words, "--latency-budget", "soon")
    assert (status, "no duration" in text) == (2, True)
    status, text = say(*words, "--latency-budget", "60s")
    assert status == 0
    assert re.search(
        r"^whole: .* KiB, p50 \d+ µs, p99 \d+ µs, AUC 0\.\d+ \(0\.0000 lost\)", text, re.M
    )
    assert re.search(r"^fp16: .* lost\), logits off by .* at most$", text, re.M)
    words[4] = tmp_path / "again"
    assert json.loads(say(*words, "--json")[1])["form"]["name"] == "fp16"
