"""Versions: whole or not there, whatever crashes or breaks."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest

from headrace.online_learning import durable
from headrace.online_learning.aliases import Aliases
from headrace.online_learning.models.linear import Logistic
from headrace.online_learning.registry import Registry
from headrace.online_learning.scorer import Scorer
from headrace.online_learning.settings import Encoding, LearningError, Token
from headrace.operators.errors import CorruptError, UnknownName
from headrace.operators.sealed import sealed
from headrace.operators.types import Type

ENCODING = Encoding({"hour": Type.INT64}, {}, (Token(("hour",)),), slots=50, bias=True)
MODEL = Logistic()
ROWS = pa.table({"hour": [1, 2, None]})


class Crash(Exception):
    """The process dies here."""


def publish(registry: Registry, number: int, weight: float = 0.5) -> int:
    """Publish a version and promote it."""
    registry.publish(
        number,
        {"ids": np.arange(50), "weights": np.full(50, weight * number)},
        encoding=ENCODING.digest,
        model=MODEL.facts,
        through_ms=number * 1_000,
        offsets={"predictions": number, "examples": 2 * number},
        metrics={"auc": 0.75},
    )
    registry.judged(number, champion=number, through_ms=number * 1_000)
    return number


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
    assert registry.champion() is None
    publish(registry, 1)
    version = registry.champion()
    assert version is not None
    assert (version.number, version.through_ms, version.parent) == (1, 1_000, 0)
    assert version.offsets == {"predictions": 1, "examples": 2}
    assert version.metrics == {"auc": 0.75}
    assert version.arrays()["weights"].tolist() == [0.5] * 50


def test_a_reader_sees_the_next_version(tmp_path: Path) -> None:
    writer, reader = Registry(tmp_path), Registry(tmp_path)
    publish(writer, 1)
    first = reader.champion()
    assert first is not None
    assert reader.champion() is first
    publish(writer, 2)
    second = reader.champion()
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


@pytest.mark.parametrize("call", range(1, 7))
def test_a_crash_leaves_the_old_version_and_the_next_attempt_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    publish(Registry(tmp_path), 1)
    with monkeypatch.context() as patch:
        crash_at(patch, call)
        with pytest.raises(Crash):
            publish(Registry(tmp_path), 2)
    version = Registry(tmp_path).champion()
    assert version is not None
    assert version.number == 1
    assert version.arrays()["weights"].tolist() == [0.5] * 50
    publish(Registry(tmp_path), 2)
    version = Registry(tmp_path).champion()
    assert version is not None
    assert version.arrays()["weights"].tolist() == [1.0] * 50
    assert not list(tmp_path.glob(".staging-*"))


def test_prune_keeps_the_newest_and_those_with_a_name(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    for number in range(1, 9):
        publish(registry, number)
    registry.shadow(2)
    registry.judged(9, champion=6, previous=4)
    registry.pin(3)
    was = registry.version(5)
    (tmp_path / ".staging-v000001").mkdir()  # of a publisher that died amid its removal
    assert registry.prune(1, also=[7]) == [1, 5]
    assert not list(tmp_path.glob(".staging-*"))
    assert registry.numbers() == [2, 3, 4, 6, 7, 8]
    registry.pin(None)
    registry.shadow(None)
    assert registry.prune(1) == [2, 3, 7]
    assert registry.pruned() == [1, 2, 3, 5, 7]
    assert registry.manifest(5) == was
    assert registry.manifest(8) == registry.version(8)
    with pytest.raises(CorruptError, match=r"manifest\.json: asked for version 5; it is not there"):
        registry.version(5)


def test_the_names_follow_the_gate_unless_one_is_pinned(tmp_path: Path) -> None:
    gate, person = Registry(tmp_path), Registry(tmp_path)
    for number in (1, 2):
        publish(gate, number)
    gate.judged(3, champion=2, previous=1, through_ms=3_000)
    assert person.aliases() == Aliases(2, 1, challenger=3, judged=3, through_ms=3_000)
    gate.judged(3, champion=3)  # learned again after a crash: what is known stays
    assert person.aliases().champion == 2
    assert person.pin(1).champion == 1
    gate.judged(4, champion=2, previous=1)
    assert (gate.aliases().chosen, gate.aliases().challenger) == (2, 4)
    served = gate.champion()
    assert served is not None
    assert served.number == 1
    assert person.pin(None).champion == 2
    with pytest.raises(UnknownName, match="asked for the version '7'"):
        person.pin(7)


def test_names_that_two_change_at_once_are_all_kept(tmp_path: Path) -> None:
    publish(Registry(tmp_path), 1)
    publish(Registry(tmp_path), 2)

    def judge() -> None:
        for number in range(3, 103):
            Registry(tmp_path).judged(number, champion=2, previous=1)

    def pin() -> None:
        for number in range(100):
            Registry(tmp_path).pin(1 + number % 2)

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(judge), pool.submit(pin)]:
            done.result()
    expected = Aliases(2, 1, challenger=102, pinned=2, judged=102)
    assert Registry(tmp_path).aliases() == expected


@pytest.mark.parametrize("name", ["weights.safetensors", "manifest.json"])
@pytest.mark.parametrize("cut", [0, 20, -1])
def test_broken_files_are_refused(tmp_path: Path, name: str, cut: int) -> None:
    publish(Registry(tmp_path), 1)
    path = tmp_path / "v000001" / name
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(CorruptError, match=name):
        Scorer(ENCODING, MODEL, Registry(tmp_path).champion())


@pytest.mark.parametrize("name", ["v000001/manifest.json", "ALIASES"])
def test_a_flipped_bit_of_what_names_a_version_is_refused(tmp_path: Path, name: str) -> None:
    publish(Registry(tmp_path), 1)
    whole = (tmp_path / name).read_bytes()
    for position in range(len(whole)):
        hurt = bytearray(whole)
        hurt[position] ^= 1 << position % 8
        (tmp_path / name).write_bytes(hurt)
        with pytest.raises(CorruptError, match=name):
            Registry(tmp_path).champion()


def test_a_version_in_the_place_of_another_is_refused(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    publish(registry, 1)
    (tmp_path / "v000001").rename(tmp_path / "v000002")
    with pytest.raises(CorruptError, match="it is of version 1"):
        registry.version(2)


@pytest.mark.parametrize("name", ["v000002/weights.safetensors", "v000002/manifest.json"])
def test_a_damaged_version_is_written_anew_where_it_is_published_again(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    registry = Registry(tmp_path)
    for number in (1, 2):
        publish(registry, number)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[:-9])
    publish(registry, 2)
    assert "it is published anew" in caplog.text
    assert (tmp_path / name).read_bytes() == whole


@pytest.mark.parametrize("names", [b"", None], ids=["damaged", "gone"])
def test_names_that_are_lost_are_said_and_the_gate_gives_them_anew(
    tmp_path: Path, names: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    registry = Registry(tmp_path)
    publish(registry, 1)
    registry.pin(1)
    assert not caplog.text
    (tmp_path / "ALIASES").unlink()
    if names is not None:
        (tmp_path / "ALIASES").write_bytes(names)
    publish(registry, 2)
    assert "pin versions, or keep a shadow, again" in caplog.text
    assert Registry(tmp_path).aliases() == Aliases(2, judged=2, through_ms=2_000)


def test_a_flipped_weight_is_refused(tmp_path: Path) -> None:
    publish(Registry(tmp_path), 1)
    path = tmp_path / "v000001" / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptError, match="asked for sha256"):
        Scorer(ENCODING, MODEL, Registry(tmp_path).champion())


@pytest.mark.parametrize("names", [b"", b"[]", b'{"chosen": "1"}', {"chosen": "1"}, {"chosen": 9}])
def test_broken_names_are_refused_until_they_are_mended(
    tmp_path: Path, names: bytes | dict[str, object]
) -> None:
    registry = Registry(tmp_path)
    publish(registry, 1)
    whole = orjson.loads((tmp_path / "ALIASES").read_bytes())
    broken = names if isinstance(names, bytes) else sealed({**whole, **names})
    (tmp_path / "ALIASES").write_bytes(broken)
    for _ in range(2):
        with pytest.raises(CorruptError):
            registry.champion()


def test_weights_that_are_none_are_not_published(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    with pytest.raises(LearningError, match="not finite"):
        publish(registry, 1, weight=float("nan"))
    assert registry.champion() is None


def test_a_scorer_serves_the_version(tmp_path: Path) -> None:
    blank = Scorer(ENCODING, MODEL, None)
    assert (blank.version, blank.through_ms) == (0, None)
    assert blank.score(ROWS).tolist() == [0.5] * 3
    publish(Registry(tmp_path), 2)
    scorer = Scorer(ENCODING, MODEL, Registry(tmp_path).champion())
    assert (scorer.version, scorer.through_ms) == (2, 2_000)
    assert scorer.score(ROWS) == pytest.approx([1 / (1 + np.exp(-2.0))] * 3)
    assert scorer.score(ROWS.slice(0, 0)).shape == (0,)


def test_a_version_of_another_encoding_is_refused(tmp_path: Path) -> None:
    publish(Registry(tmp_path), 1)
    other = Encoding({"hour": Type.INT64}, {}, (Token(("hour",)),), slots=50, bias=False)
    with pytest.raises(CorruptError, match="was learned with"):
        Scorer(other, MODEL, Registry(tmp_path).champion())
