"""Processes that are forked: as they are told, whatever is killed, with nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from headrace.jobs.machine import local
from headrace.jobs.machine.forkserver import Imported
from headrace.jobs.machine.processes import Process, Supervisor
from headrace.jobs.machine.waiting import wait_until
from headrace.operators.errors import EnvironmentProblem
from tests.test_processes import alive, pid_in

# What forked processes run: they write their id, and the variable and file that they were given.
PROGRAM = """
import os, pathlib, signal, sys
def main():
    print(os.environ.get("SAYS"), *sys.argv, os.getsid(0) == os.getpid(), os.getppid())
    if "FILE" in os.environ:
        os.write(int(os.environ["FILE"]), b"given")
    if sys.argv[1] == "fails":
        raise SystemExit("no such column")
    if sys.argv[1] == "ends":
        return
    if sys.argv[1] == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pathlib.Path(sys.argv[1] + ".tmp").write_text(str(os.getpid()))
    pathlib.Path(sys.argv[1] + ".tmp").rename(sys.argv[1])
    while True: signal.pause()
"""


@pytest.fixture
def imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Imported:
    (tmp_path / "made_up_program.py").write_text(PROGRAM)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return Imported(["made_up_program"], tmp_path / "forks.log")


@pytest.fixture
def supervisor(imported: Imported) -> Iterator[Supervisor]:
    with Supervisor(imported=imported) as one:
        yield one


def forked(name: str, folder: Path, argument: str = "", **settings: object) -> Process:
    argv = ["program", argument or str(folder / name)]
    return Process(name, argv, folder / f"{name}.log", forked=True, **settings)  # type: ignore[arg-type]  # the settings are those of Process


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_it_has_its_arguments_environment_log_and_files(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    reads, writes = os.pipe()
    given = {"env": {"SAYS": "hello"}, "files": {"FILE": writes}}
    with ExitStack() as open_files:
        for each in (reads, writes):
            open_files.callback(os.close, each)
        supervisor.start(forked("once", tmp_path, "ends", finishes=True, **given))
        supervisor.wait_finished("once")
        assert os.read(reads, 10) == b"given"
    assert (tmp_path / "once.log").read_text().split()[:4] == ["hello", "program", "ends", "True"]


def test_how_it_ended_is_known(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start(forked("learner", tmp_path, "fails"))
    wait_until(lambda: bool(supervisor.status()["learner"].cause), 20, "its end")
    cause = supervisor.status()["learner"].cause
    assert cause.startswith("exit status 1: ")
    assert cause.endswith("no such column")


def test_what_is_killed_is_forked_again_from_the_same(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    supervisor.start(forked("store", tmp_path))
    first = pid_in(tmp_path / "store")
    server = parent(first)
    (tmp_path / "store").unlink()
    supervisor.signal("store", signal.SIGKILL)
    second = pid_in(tmp_path / "store")
    status = supervisor.status()["store"]
    assert (status.pid, status.restarts, status.exit_status) == (second, 1, -signal.SIGKILL)
    assert parent(second) == server
    assert Path(f"/proc/{second}/comm").read_text() == "store\n"
    assert supervisor.memory()["store"] >= 0


def test_with_the_server_goes_what_it_forked_and_comes_again(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    names = ("store", "learner")
    for name in names:
        supervisor.start(forked(name, tmp_path))
    first = {name: pid_in(tmp_path / name) for name in names}
    server = parent(first["store"])
    assert parent(first["learner"]) == server
    for name in names:
        (tmp_path / name).unlink()
    os.kill(server, signal.SIGKILL)
    second = {name: pid_in(tmp_path / name) for name in names}
    assert not any(map(alive, first.values()))
    assert parent(second["store"]) == parent(second["learner"]) != server
    assert [supervisor.status()[name].restarts for name in names] == [1, 1]
    supervisor.check()


def test_it_is_stopped_as_any_other(supervisor: Supervisor, tmp_path: Path) -> None:
    for name in ("store", "learner"):
        supervisor.start(forked(name, tmp_path))
    pids = [pid_in(tmp_path / name) for name in ("store", "learner")]
    server = parent(pids[0])
    supervisor.stop("store")
    assert (alive(pids[0]), alive(pids[1]), alive(server)) == (False, True, True)
    assert supervisor.status()["store"].exit_status == -signal.SIGTERM
    supervisor.stop()
    assert not any(map(alive, [*pids, server]))


def test_a_module_that_is_missing_is_one_sentence(tmp_path: Path) -> None:
    imported = Imported(["no_such_module"], tmp_path / "forks.log")
    told = "asked to import no_such_module; that ended with exit status 1; see the end of its log"
    with Supervisor(imported=imported) as supervisor:
        with pytest.raises(EnvironmentProblem, match=told):
            supervisor.start(forked("store", tmp_path))
        assert supervisor.status() == {}
    assert "No module named 'no_such_module'" in (tmp_path / "forks.log").read_text()


# Its first import does not live to see the end of it.
KILLED_ONCE = """
import os, pathlib, signal
mark = pathlib.Path(__file__).with_name("killed")
if not mark.exists():
    mark.touch()
    os.kill(os.getpid(), signal.SIGKILL)
from made_up_program import main
"""


@pytest.mark.usefixtures("imported")
def test_a_server_that_is_killed_while_it_imports_is_started_again(tmp_path: Path) -> None:
    (tmp_path / "killed_once.py").write_text(KILLED_ONCE)
    with Supervisor(imported=Imported(["killed_once"], tmp_path / "forks.log")) as supervisor:
        supervisor.start(forked("store", tmp_path))
        assert alive(pid_in(tmp_path / "store"))
    assert (tmp_path / "killed").exists()


SUPERVISES = """
import sys
from pathlib import Path
from headrace.jobs.machine.forkserver import Imported
from headrace.jobs.machine.processes import Process, Supervisor
from headrace.jobs.machine.waiting import wait_until
folder = Path(sys.argv[1])
with Supervisor(imported=Imported(["made_up_program"], folder / "forks.log")) as supervisor:
    supervisor.start(Process("store", ["it", str(folder / "store")], folder / "log", forked=True))
    wait_until(lambda: False, 60, "a signal")
"""


@pytest.mark.usefixtures("imported")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_the_supervisor(number: signal.Signals, tmp_path: Path) -> None:
    argv = [sys.executable, "-c", SUPERVISES, str(tmp_path)]
    with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as supervising:
        pid = pid_in(tmp_path / "store")
        pids = [pid, parent(pid)]
        supervising.send_signal(number)
        supervising.wait(20)
        wait_until(lambda: not any(map(alive, pids)), 20, "the end of all")


# A thread or a started device before the fork would be broken after it.
COMES_UP = """
import importlib, os, sys
from headrace.jobs.machine import local
from headrace.operators.compiled import ready
for name in local._IMPORTED:
    importlib.import_module(name)
ready()
tasks = [task for task in os.listdir("/proc/self/task") if int(task) != os.getpid()]
threads = {open(f"/proc/self/task/{task}/comm").read().strip() for task in tasks}
from torch import cuda
print("torch" in sys.modules, cuda.is_initialized(), threads - {"jemalloc_bg_thd"})
"""


def test_what_is_imported_starts_no_thread_and_no_device() -> None:
    assert "headrace.jobs.store" in local._IMPORTED
    # OpenBLAS and pyarrow's jemalloc start one, and look to it themselves in a fork.
    env = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    came_up = subprocess.run(
        [sys.executable, "-c", COMES_UP], env=env, capture_output=True, text=True, check=True
    )
    assert came_up.stdout == "True False set()\n"
