"""A learner that begins with history goes on as one that learned it itself, to the bit."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from headrace.online_learning.learner import Learner, registry
from headrace.online_learning.learning import Learning
from headrace.online_learning.models.batched import DcnV2, Hybrid
from headrace.online_learning.models.factorised import Ffm, Fm
from headrace.online_learning.models.linear import Logistic, Poisson, Quantile, Squared
from headrace.online_learning.models.model import Kind
from headrace.online_learning.settings import Encoding, LearningError, Token
from headrace.online_learning.snapshot import Snapshots
from headrace.online_learning.start import fitted, save
from headrace.operators.errors import CorruptError, EnvironmentProblem
from headrace.operators.types import Type

EVERY, SPLIT, END = 1_000, 30_000, 60_000
ENCODING = Encoding(
    inputs={"user": Type.STRING, "x": Type.FLOAT64},
    buckets={},
    tokens=(Token(("user",)),),
    slots=64,
    bias=True,
    numbers=("x",),
)
HYBRID = Hybrid(batch=16, width=4, hidden=(8,), device="cpu")
KINDS: list[Kind] = [
    *(Logistic(), Squared(), Poisson(), Quantile(), Fm(width=2), Ffm(width=2)),
    *(HYBRID, replace(HYBRID, pairs="fm"), DcnV2(batch=16, width=4, hidden=(8,), device="cpu")),
]


def name_of(kind: Kind) -> str:
    return f"{kind.name} with {kind.pairs}" if isinstance(kind, Hybrid) else kind.name


def settings(kind: Kind) -> Learning:
    return Learning(ENCODING, kind, 7_000, 3, SPLIT, 20_000, EVERY)


def history() -> pa.Table:
    """Make decisions every 100 ms; those before `SPLIT` have their labels before it."""
    rng = np.random.default_rng(5)
    at = np.arange(0, END, 100)
    labelled = at + rng.integers(1, 99, len(at))
    return pa.table(
        {
            "seq": np.arange(len(at)),
            "at": at,
            "user": [f"u{each}" for each in rng.integers(0, 9, len(at))],
            "x": rng.normal(size=len(at)),
            "labelled": labelled,
            "label": rng.random(len(at)) < 0.4,
        }
    )


def learned(kind: Kind, folder: Path, rows: pa.Table, upto: int = END) -> Mapping[str, Any]:
    """Feed rows to the learner of a folder as messages; give its score and the model's arrays."""
    said, panes = [], dict[int, list[dict[str, Any]]]()
    for seq, row in enumerate(rows.to_pylist()):
        x = {name: row[name] for name in ENCODING.inputs}
        said.append({"seq": seq, "id": "", "at": row["at"], "x": x, "p": 0.5, "version": 0})
        label = row["label"] if kind.task == "probability" else float(row["label"])
        told = {"at": row["labelled"], "partition": 0, "offset": seq, "label": label}
        panes.setdefault(row["labelled"] // EVERY, []).append(told | {"prediction": said[-1]})
    predictions = [*said, {"seq": len(said) - 1, "through": upto}]
    examples = [{"end": (p + 1) * EVERY, "examples": panes[p]} for p in sorted(panes)]
    with closing(Learner(settings(kind), folder)) as learner:
        learner.predictions([orjson.dumps(each) for each in predictions], len(predictions))
        learner.examples([orjson.dumps(each) for each in examples], len(examples))
        learner.advance()
        learner.snapshot_now()
        score = learner.status()["prequential"]
    digest = settings(kind).digest
    kept = Snapshots(folder / "snapshots", digest=digest, keep=3).restore()
    assert kept is not None
    own = {n: a for n, a in kept.arrays.items() if n.startswith("model/") or n == "moments"}
    return {"score": score, "arrays": own}


@pytest.mark.parametrize("kind", KINDS, ids=name_of)
def test_there_is_no_dip(kind: Kind, tmp_path: Path) -> None:
    """The second half's score, and all state after it, are those of the whole log's learner."""
    rows = history()
    before, after = (rows.filter(pc.less(rows["at"], SPLIT)), rows.slice(SPLIT // 100))
    online = learned(kind, tmp_path / "online", rows)
    told = settings(kind)
    save(told, tmp_path / "warm", fitted(told, before))
    warm = learned(kind, tmp_path / "warm", after)
    assert warm["score"] == online["score"]
    assert warm["score"]["n"] == after.num_rows
    assert set(warm["arrays"]) == set(online["arrays"])
    for name, array in online["arrays"].items():
        assert array.tobytes() == warm["arrays"][name].tobytes(), name
    cold = learned(kind, tmp_path / "cold", after)
    assert cold["score"] != warm["score"]


def test_a_version_says_what_its_learner_began_with(tmp_path: Path) -> None:
    kind, rows = Logistic(), history()
    start = fitted(settings(kind), rows.slice(0, SPLIT // 100), source="history")
    save(settings(kind), tmp_path, start)
    half = rows.slice(SPLIT // 100, 150)
    learned(kind, tmp_path, half, upto=half["at"][-1].as_py() + 1)
    learned(kind, tmp_path, rows.slice(SPLIT // 100))  # started again, from its snapshot
    versions = registry(tmp_path)
    data = versions.version(versions.numbers()[-1]).data
    assert data["start"] == {**start.facts, "source": "history"}
    assert data["start"]["labels"] == SPLIT // 100


def test_one_that_was_killed_before_its_first_snapshot_begins_with_it_again(tmp_path: Path) -> None:
    kind, rows = Logistic(), history()
    save(settings(kind), tmp_path, fitted(settings(kind), rows.slice(0, SPLIT // 100)))
    for _ in range(2):
        with closing(Learner(settings(kind), tmp_path)) as learner:
            assert learner.offsets == {"predictions": 0, "examples": 0}
    again = learned(kind, tmp_path, rows.slice(SPLIT // 100))
    assert again["score"] == learned(kind, tmp_path / "online", rows)["score"]


def test_what_would_tell_the_future_is_refused(tmp_path: Path) -> None:
    kind, rows = Logistic(), history()
    start = fitted(settings(kind), rows.slice(0, SPLIT // 100 + 1))
    save(settings(kind), tmp_path, start)
    said = rf"the learner began with labels up to {start.until_ms - 1}; begin it with those before"
    with pytest.raises(LearningError, match=said):
        learned(kind, tmp_path, rows.slice(SPLIT // 100))


def test_what_cannot_begin_is_refused(tmp_path: Path) -> None:
    kind, rows = Logistic(), history()
    told = settings(kind)
    start = fitted(told, rows.slice(0, 10))
    unlabelled = rows.set_column(4, "labelled", pa.nulls(rows.num_rows, pa.int64()))
    with pytest.raises(LearningError, match="it has no label"):
        fitted(told, unlabelled)
    with (
        closing(Learner(told, tmp_path)),
        pytest.raises(EnvironmentProblem, match="writes there; stop it"),
    ):
        save(told, tmp_path, start)
    learned(kind, tmp_path, rows)
    with pytest.raises(EnvironmentProblem, match="it has begun already"):
        save(told, tmp_path, start)
    save(told, tmp_path / "new", start)
    for other in (settings(Squared()), replace(told, encoding=replace(ENCODING, slots=32))):
        with pytest.raises(CorruptError, match="it was made under other settings"):
            Learner(other, tmp_path / "new")
    with closing(Learner(replace(told, keep=9, publish_every_ms=60_000), tmp_path / "new")):
        pass
    [file] = (tmp_path / "new" / "start").glob("*.safetensors")
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(CorruptError, match="its sha256 is"):
        Learner(told, tmp_path / "new")
