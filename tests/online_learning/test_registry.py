"""Versions: whole or not there, whatever crashes or breaks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest

from headrace.online_learning import durable
from headrace.online_learning.models.linear import Logistic
from headrace.online_learning.registry import Registry
from headrace.online_learning.scorer import Scorer
from headrace.online_learning.settings import Encoding, LearningError, Token
from headrace.operators.errors import CorruptError
from headrace.operators.types import Type

ENCODING = Encoding({"hour": Type.INT64}, {}, (Token(("hour",)),), slots=50, bias=True)
MODEL = Logistic()
ROWS = pa.table({"hour": [1, 2, None]})


class Crash(Exception):
    """The process dies here."""


def publish(registry: Registry, number: int, weight: float = 0.5) -> int:
    return registry.publish(
        number,
        {"ids": np.arange(50), "weights": np.full(50, weight * number)},
        encoding=ENCODING.digest,
        model=MODEL.facts,
        through_ms=number * 1_000,
        offsets={"predictions": number, "examples": 2 * number},
        metrics={"auc": 0.75},
    )


def crash_at(monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    """Die before the call-th of the operations that touch the disk."""
    calls = 0

    def dying(whole: Callable[..., None]) -> Callable[..., None]:
        def run(*arguments: Any) -> None:
            nonlocal calls
            calls += 1
            if calls == call:
                raise Crash
            whole(*arguments)

        return run

    for name in ("write", "write_and_sync", "sync_folder"):
        monkeypatch.setattr(durable, name, dying(getattr(durable, name)))


def test_a_version_comes_back_whole(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "versions")
    assert registry.latest() is None
    publish(registry, 1)
    version = registry.latest()
    assert version is not None
    assert (version.number, version.through_ms, version.parent) == (1, 1_000, 0)
    assert version.offsets == {"predictions": 1, "examples": 2}
    assert version.metrics == {"auc": 0.75}
    assert version.arrays()["weights"].tolist() == [0.5] * 50


def test_a_reader_sees_the_next_version(tmp_path: Path) -> None:
    writer, reader = Registry(tmp_path), Registry(tmp_path)
    publish(writer, 1)
    first = reader.latest()
    assert first is not None
    assert reader.latest() is first
    publish(writer, 2)
    second = reader.latest()
    assert second is not None
    assert second.number == 2


def test_publishing_again_is_nothing_and_something_else_is_refused(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    publish(registry, 1)
    publish(registry, 2)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    publish(registry, 1)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    with pytest.raises(LearningError, match="'v000001' is there with other content"):
        publish(registry, 1, weight=0.25)


@pytest.mark.parametrize("call", range(1, 6))
def test_a_crash_leaves_the_old_version_and_the_next_attempt_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    publish(Registry(tmp_path), 1)
    with monkeypatch.context() as patch:
        crash_at(patch, call)
        with pytest.raises(Crash):
            publish(Registry(tmp_path), 2)
    version = Registry(tmp_path).latest()
    assert version is not None
    assert version.number == 1
    assert version.arrays()["weights"].tolist() == [0.5] * 50
    publish(Registry(tmp_path), 2)
    version = Registry(tmp_path).latest()
    assert version is not None
    assert version.arrays()["weights"].tolist() == [1.0] * 50
    assert not list(tmp_path.glob(".staging-*"))


def test_prune_keeps_the_newest_and_the_one_pointed_to(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    for number in range(1, 6):
        publish(registry, number)
    assert registry.prune(3) == [1, 2]
    assert registry.numbers() == [3, 4, 5]
    (tmp_path / "CHAMPION").write_bytes(orjson.dumps({"version": 3}))
    assert registry.prune(1) == [4]
    assert registry.numbers() == [3, 5]


@pytest.mark.parametrize("name", ["weights.safetensors", "manifest.json"])
@pytest.mark.parametrize("cut", [0, 20, -1])
def test_broken_files_are_refused(tmp_path: Path, name: str, cut: int) -> None:
    publish(Registry(tmp_path), 1)
    path = tmp_path / "v000001" / name
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(CorruptError, match=name):
        Scorer(ENCODING, MODEL, Registry(tmp_path).latest())


def test_a_flipped_weight_is_refused(tmp_path: Path) -> None:
    publish(Registry(tmp_path), 1)
    path = tmp_path / "v000001" / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptError, match="asked for sha256"):
        Scorer(ENCODING, MODEL, Registry(tmp_path).latest())


@pytest.mark.parametrize("pointer", [b"", b"[]", b'{"version": "1"}', b'{"version": 9}'])
def test_a_broken_pointer_is_refused_until_it_is_mended(tmp_path: Path, pointer: bytes) -> None:
    registry = Registry(tmp_path)
    publish(registry, 1)
    (tmp_path / "CHAMPION").write_bytes(pointer)
    for _ in range(2):
        with pytest.raises(CorruptError):
            registry.latest()


def test_weights_that_are_none_are_not_published(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    with pytest.raises(LearningError, match="not finite"):
        publish(registry, 1, weight=float("nan"))
    assert registry.latest() is None


def test_a_scorer_serves_the_version(tmp_path: Path) -> None:
    blank = Scorer(ENCODING, MODEL, None)
    assert (blank.version, blank.through_ms) == (0, None)
    assert blank.score(ROWS).tolist() == [0.5] * 3
    publish(Registry(tmp_path), 2)
    scorer = Scorer(ENCODING, MODEL, Registry(tmp_path).latest())
    assert (scorer.version, scorer.through_ms) == (2, 2_000)
    assert scorer.score(ROWS) == pytest.approx([1 / (1 + np.exp(-2.0))] * 3)
    assert scorer.score(ROWS.slice(0, 0)).shape == (0,)


def test_a_version_of_another_encoding_is_refused(tmp_path: Path) -> None:
    publish(Registry(tmp_path), 1)
    other = Encoding({"hour": Type.INT64}, {}, (Token(("hour",)),), slots=50, bias=False)
    with pytest.raises(CorruptError, match="was learned with"):
        Scorer(other, MODEL, Registry(tmp_path).latest())
