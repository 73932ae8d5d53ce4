"""Snapshots: the newest that verifies, loudly, or an error."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from headrace.online_learning.snapshot import Snapshot, Snapshots
from headrace.operators.errors import CorruptError


def saved(folder: Path, count: int, *, keep: int = 3, digest: str = "d") -> list[Path]:
    snapshots = Snapshots(folder, digest=digest, keep=keep)
    return [
        snapshots.save(Snapshot({"z": np.full(50, float(i))}, {"through": i})) for i in range(count)
    ]


def restored(folder: Path, digest: str = "d") -> int | None:
    snapshot = Snapshots(folder, digest=digest, keep=3).restore()
    if snapshot is None:
        return None
    through: int = snapshot.facts["through"]
    assert snapshot.arrays["z"].tolist() == [float(through)] * 50
    return through


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def test_an_empty_folder_has_none(tmp_path: Path) -> None:
    assert restored(tmp_path) is None
    assert restored(tmp_path / "not there") is None


def test_the_newest_comes_back_and_few_are_kept(tmp_path: Path) -> None:
    saved(tmp_path, 5)
    assert restored(tmp_path) == 4
    assert len(list(tmp_path.glob("*.safetensors"))) == 3


def test_an_array_comes_back_however_it_lies_in_memory(tmp_path: Path) -> None:
    table = np.arange(24.0).reshape(2, 3, 4)
    lying = {"columns": table[:, [0, 2]], "turned": table.T, "some": table[:, :, 1]}
    Snapshots(tmp_path, digest="d", keep=1).save(Snapshot(lying, {}))
    found = Snapshots(tmp_path, digest="d", keep=1).restore()
    assert found is not None
    for name, array in lying.items():
        assert np.array_equal(found.arrays[name], array), name


@pytest.mark.parametrize("position", [0, 9, 40, -1])
def test_a_flipped_bit_falls_back_with_a_warning(
    tmp_path: Path, position: int, caplog: pytest.LogCaptureFixture
) -> None:
    flip(saved(tmp_path, 2)[-1], position)
    with caplog.at_level(logging.WARNING):
        assert restored(tmp_path) == 0
    assert "its sha256 is" in caplog.text
    assert "falling back" in caplog.text


@pytest.mark.parametrize("size", [0, 5, 100])
def test_a_truncated_file_falls_back(tmp_path: Path, size: int) -> None:
    path = saved(tmp_path, 2)[-1]
    path.write_bytes(path.read_bytes()[:size])
    assert restored(tmp_path) == 0


def test_none_that_verifies_is_an_error_and_never_a_cold_start(tmp_path: Path) -> None:
    for path in saved(tmp_path, 2):
        flip(path, -1)
    with pytest.raises(CorruptError, match=r"none verifies.*restore the folder from a backup"):
        restored(tmp_path)


def test_files_that_went_away_are_an_error(tmp_path: Path) -> None:
    for path in saved(tmp_path, 2):
        path.unlink()
    with pytest.raises(CorruptError, match=r"LATEST names 000002.*gone"):
        restored(tmp_path)


def test_a_newest_file_that_went_away_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    saved(tmp_path, 2)[-1].unlink()
    assert restored(tmp_path) == 0
    assert "LATEST names 000002" in caplog.text


def test_an_unreadable_manifest_is_said_and_the_files_stand(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    saved(tmp_path, 2)
    (tmp_path / "LATEST").write_bytes(b"{")
    assert restored(tmp_path) == 1
    assert "LATEST cannot be read" in caplog.text


def test_other_settings_are_refused(tmp_path: Path) -> None:
    saved(tmp_path, 2)
    with pytest.raises(CorruptError, match="made under other settings"):
        restored(tmp_path, digest="other")


def test_what_does_not_verify_grows_old_and_goes(tmp_path: Path) -> None:
    broken = saved(tmp_path, 2, keep=2)[-1]
    flip(broken, -1)
    saved(tmp_path, 1, keep=2)
    assert restored(tmp_path) == 0
    saved(tmp_path, 2, keep=2)
    assert not broken.exists()
    assert restored(tmp_path) == 1


def test_the_same_state_has_the_same_bytes(tmp_path: Path) -> None:
    one, two = saved(tmp_path / "a", 3)[-1], saved(tmp_path / "b", 3)[-1]
    assert one.name == two.name
    assert one.read_bytes() == two.read_bytes()
