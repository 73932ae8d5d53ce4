"""A state folder has one user; its files are whole; a second run is told what is there."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.jobs.machine.state import (
    FORM,
    Holder,
    check_space,
    holder,
    locked,
    read_json,
    started_ticks,
    write_json,
)
from headrace.jobs.machine.waiting import wait_until
from headrace.operators.errors import CorruptError, EnvironmentProblem

HOLDS = """
import signal, sys
from pathlib import Path
from headrace.jobs.machine.state import locked
with locked(Path(sys.argv[1]), "demo") as state:
    state.write_json("report.json", 1)
    signal.pause()
"""
WRITES = """
import sys
from pathlib import Path
from headrace.jobs.machine.state import write_json
number = 0
while number := number + 1:
    write_json(Path(sys.argv[1]), [number] * 10_000)
"""


def test_a_second_run_is_told_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "demo"
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(path)]) as first:
        wait_until((path / "report.json").exists, 10, "the first run")
        held = holder(path)
        assert held == Holder(first.pid, "demo", started_ticks(first.pid))
        assert held.there
        told = rf"a demo is running here as process {first.pid}; stop it with .* 'kill {first.pid}'"
        for fresh in (False, True):
            with (
                pytest.raises(EnvironmentProblem, match=told),
                locked(path, "demo", fresh=fresh),
            ):
                pass
        first.send_signal(signal.SIGKILL)
    # The lock went with its process; what it left is found.
    assert holder(path) is None
    found = r"of an earlier run is here: report\.json; use --fresh to start over, or --resume"
    with pytest.raises(EnvironmentProblem, match=found), locked(path, "demo"):
        pass
    with locked(path, "demo", resume=True) as state:
        assert state.resumed
        assert state.read_json("report.json") == 1
        assert holder(path) == Holder(os.getpid(), "demo", started_ticks(os.getpid()))


def test_fresh_removes_all_that_was_there(tmp_path: Path) -> None:
    (elsewhere := tmp_path / "elsewhere").mkdir()
    (elsewhere / "kept").write_text("")
    with locked(tmp_path / "demo", "demo") as state:
        assert not state.resumed
        (state.path / "broker").mkdir()
        (state.path / "broker" / "log").write_text("")
        (state.path / "link").symlink_to(elsewhere)
        state.write_json("report.json", {})
    with locked(tmp_path / "demo", "demo", fresh=True) as state:
        assert not state.resumed
        assert sorted(entry.name for entry in state.path.iterdir()) == ["lock", "state.json"]
    assert (elsewhere / "kept").exists()
    with locked(tmp_path / "demo", "demo", resume=True) as state:  # there is nothing to resume
        assert not state.resumed


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    for name in "abcdefg":
        (tmp_path / name).write_text("mine")
    held = r"it holds other files: a, b, c, d, e and 2 more; choose another"
    with pytest.raises(EnvironmentProblem, match=held), locked(tmp_path, "demo", fresh=True):
        pass
    assert sorted(entry.name for entry in tmp_path.iterdir()) == list("abcdefg")


def test_a_writer_killed_in_the_middle_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    for _ in range(3):
        before = read_json(path) if path.exists() else None
        with subprocess.Popen([sys.executable, "-c", WRITES, str(path)]) as writing:
            wait_until(lambda: path.exists() and read_json(path) != before, 10, "a file")  # noqa: B023 - called at once
            writing.kill()
        found = read_json(path)
        assert found == found[:1] * 10_000


def test_a_full_disk_is_one_sentence_and_the_old_file_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = write_json(tmp_path / "report.json", "old")
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(EnvironmentProblem, match="No space left on device; free some space"):
            write_json(path, "new")
    assert read_json(path) == "old"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(EnvironmentProblem, match=r"GB of room below .*; the disk has .* GB left"):
        check_space(tmp_path / "not" / "yet", 1 << 60)


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(EnvironmentProblem, match=r"asked to write into .*choose a folder"),
        locked(tmp_path / "file" / "demo", "demo"),
    ):
        pass
    assert holder(tmp_path / "file") is None


def test_what_is_no_json_is_corrupt(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text('{"events": 7')
    with pytest.raises(CorruptError, match=r"report\.json: asked for JSON; .*start over"):
        read_json(tmp_path / "report.json")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "report.json", float("nan"))
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "nothing.json")


def test_a_folder_of_a_newer_headrace_is_refused_and_left(tmp_path: Path) -> None:
    with locked(tmp_path / "shop", "up") as state:
        state.write_json("applied.json", {})
        state.write_json("state.json", {"form": FORM + 1, "headrace": "9.0", "more": True})
    refused = rf"headrace 9\.0 wrote it in form {FORM + 1}; this one reads forms to {FORM}; use"
    for asked in ({"resume": True}, {"fresh": True}):
        with (
            pytest.raises(EnvironmentProblem, match=refused),
            locked(tmp_path / "shop", "up", **asked),
        ):
            pass
    assert (tmp_path / "shop" / "applied.json").exists()


@pytest.mark.parametrize("told", [None, {"form": 0, "headrace": "0.0.9"}])
def test_a_folder_of_an_older_headrace_is_taken_over(tmp_path: Path, told: object) -> None:
    with locked(tmp_path / "shop", "demo") as state:
        state.write_json("report.json", 7)
    (tmp_path / "shop" / "state.json").unlink()
    if told is not None:
        write_json(tmp_path / "shop" / "state.json", told)
    with locked(tmp_path / "shop", "up", resume=True) as state:
        assert (state.read_json("report.json"), state.read_json("state.json")["form"]) == (7, FORM)


@pytest.mark.parametrize("told", [[], {"form": "1"}, {}])
def test_a_folder_whose_form_is_unknown_is_refused(tmp_path: Path, told: object) -> None:
    with locked(tmp_path / "shop", "up") as state:
        state.write_json("state.json", told)
    with pytest.raises(CorruptError, match="it has none"), locked(tmp_path / "shop", "up"):
        pass


def test_a_process_id_that_was_given_again_is_not_the_holder() -> None:
    mine = started_ticks(os.getpid())
    assert Holder(os.getpid(), "up", mine).there
    assert not Holder(os.getpid(), "up", mine + 1).there
    assert not Holder(0, "up").there
