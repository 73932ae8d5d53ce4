"""The doctor: a folder that is well, then one damage after another, each found with its remedy."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from headrace.feature_store import backfill
from headrace.jobs.cli.main import application
from headrace.jobs.lifecycle import machine_check, run_check
from headrace.jobs.lifecycle.board import STOPPED, Posted
from headrace.jobs.lifecycle.doctor import doctor
from headrace.jobs.lifecycle.finding import Finding
from headrace.jobs.machine.state import FORM, locked, write_json
from headrace.jobs.transport import LogGap
from headrace.online_learning.registry import Registry
from headrace.online_learning.snapshot import Snapshot, Snapshots
from headrace.operators.errors import EnvironmentProblem
from tests.feature_store.made_up import TEXT, declared
from tests.jobs.test_server import processing


@pytest.fixture(scope="module")
def well(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store, snapshots, versions and a backfill, stopped."""
    state = tmp_path_factory.mktemp("well") / "small"
    with locked(state, "up"), processing(state):
        pass
    snapshots = Snapshots(state / "learner" / "snapshots", digest="d", keep=2)
    for number in range(2):
        snapshots.save(Snapshot({"z": np.array([0.5 * number])}, {"through": number}))
    registry = Registry(state / "learner" / "versions")
    for number in (1, 2):
        weights = {"weights": np.array([0.25 * number])}
        facts = {"encoding": "e", "model": {"kind": "ftrl"}, "through_ms": 60_000}
        registry.publish(number, weights, offsets={"predictions": 7}, metrics={}, **facts)  # type: ignore[arg-type]  # the facts are its own
    registry.pin(2)
    view = declared(state).views["clicks"]
    folder = state / "store" / "backfills"
    none = view.tile_schema.empty_table().to_reader()
    backfill.write(folder, "clicks-1", [("tiles", none)], until=0, rows=0, unkeyed=0)
    (state / "small.yaml").write_text(TEXT)
    last = Posted(1, "small", str(state / "small.yaml"), "127.0.0.1:1", {}, ended=STOPPED)
    write_json(state / "running.json", asdict(last))
    return state


@pytest.fixture
def state(well: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it; the jars are taken to be whole, which is another test's."""
    monkeypatch.setattr(machine_check, "verify_jars", list)
    return shutil.copytree(well, tmp_path / "small")


def wrong(found: list[Finding]) -> dict[str, str]:
    return {each.what: f"{each.says}; {each.do}" for each in found if each.wrong}


def test_a_folder_that_is_well(state: Path) -> None:
    found = doctor(state)
    assert wrong(found) == {}
    says = {each.what: each.says for each in found}
    assert says["snapshots"] == "2 are what their sha256 says"
    assert says["versions"] == "2 are whole, 2 is the champion"
    assert says["backfills"] == "1 are what their sha256 says"
    assert says["store's file"] == "it is whole"
    assert says["last run"] == "it was stopped"


def _flip(path: Path, at: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def _newest(folder: Path, pattern: str) -> Path:
    return max(folder.glob(pattern))


def _later(path: Path) -> None:
    ahead = path.stat().st_mtime + 1e6
    os.utime(path, (ahead, ahead))


def _ended(state: Path) -> None:
    facts = json.loads((state / "running.json").read_text())
    write_json(state / "running.json", {**facts, "ended": "the disk was full"})


DAMAGES: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "a snapshot": (
        lambda s: _flip(_newest(s / "learner" / "snapshots", "*.safetensors")),
        "snapshots",
        "its sha256 is not the one in its name; remove it while the learner is stopped",
    ),
    "a snapshot that is gone": (
        lambda s: _newest(s / "learner" / "snapshots", "*.safetensors").unlink(),
        "snapshots",
        "it is not there; restore it from a backup",
    ),
    "the newest one's name": (
        lambda s: (s / "learner" / "snapshots" / "LATEST").write_bytes(b"{"),
        "snapshots",
        "it cannot be read; restore it from a backup",
    ),
    "a version": (
        lambda s: _flip(s / "learner" / "versions" / "v000001" / "weights.safetensors"),
        "versions",
        "its sha256 is",
    ),
    "a backfill": (
        lambda s: _flip(s / "store" / "backfills" / "clicks-1" / "tiles.arrow"),
        "backfills",
        "run `headrace backfill` again",
    ),
    "a newer form": (
        lambda s: write_json(s / "state.json", {"form": FORM + 1, "headrace": "9"}),
        "state folder",
        "use headrace 9 or a later one",
    ),
    "a clock that was set back": (
        lambda s: _later(s / "running.json"),
        "clock",
        "set the clock",
    ),
    "an end": (
        _ended,
        "last run",
        "the disk was full; repair the cause",
    ),
    "a port": (
        lambda s: (s / "small.yaml").write_text(f"{TEXT}serve: {{port: 1}}\n"),
        "ports",
        "stop that, or choose another under serve:",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_each_damage_is_found_and_nothing_else(
    state: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, what, says = DAMAGES[damage]
    if damage == "a port":

        class Connected:
            def __enter__(self) -> None: ...
            def __exit__(self, *_: object) -> None: ...

        monkeypatch.setattr("socket.create_connection", lambda *_: Connected())
    facts = json.loads((state / "running.json").read_text())
    write_json(state / "running.json", {**facts, "path": str(state / "small.yaml")})
    made(state)
    found = wrong(doctor(state))
    assert list(found) == [what]
    assert says in found[what]
    done = CliRunner().invoke(application, ["doctor", "--state", str(state)])
    assert (done.exit_code, f"wrong  {what}: " in done.output) == (1, True)


def test_a_store_that_is_damaged(state: Path) -> None:
    path = state / "store" / "store.duckdb"
    path.write_bytes(path.read_bytes()[:5000])
    assert list(wrong(doctor(state))) == ["store's file"]


def test_a_small_disk(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        total, free = 10**12, 10**8

    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage())
    assert "0.1 GB of 1,000 are free; free some space" in wrong(doctor(state))["disk"]


def test_packages_are_compared() -> None:
    assert machine_check.packages(["numpy", "x ; extra == 'x'"]).startswith("1 are installed")
    with pytest.raises(EnvironmentProblem, match="the package nothing-like-it; it is not inst"):
        machine_check.packages(["nothing-like-it"])
    with pytest.raises(EnvironmentProblem, match=r"numpy==0\.1; .* is installed; run 'make"):
        machine_check.packages(["numpy==0.1"])


def test_offsets_are_compared_with_the_topics() -> None:
    begins, ends = {("a", 0): 5, ("a", 1): 0}, {("a", 0): 9, ("a", 1): 4}
    assert run_check.gap({("a", 0): 5, ("a", 1): 4}, begins, ends) is None
    lost = run_check.gap({("a", 0): 4}, begins, ends)
    assert isinstance(lost, LogGap)
    assert "1 messages are lost" in str(lost)
    other = run_check.gap({("a", 1): 5}, begins, ends)
    assert "not the log that was read before" in str(other)


def test_while_something_else_has_the_folder(state: Path) -> None:
    with locked(state, "verify", resume=True):
        found = doctor(state)
    assert found[-1] == Finding("run", f"a verify has the folder, as process {os.getpid()}")
    assert "store's file" not in {each.what for each in found}
    with pytest.raises(EnvironmentProblem, match="there is none; run a pipeline"):
        doctor(state / "none")
