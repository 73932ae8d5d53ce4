"""Real processes: what dies is started again, what loops is given up, nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.jobs.machine import processes
from headrace.jobs.machine.processes import CrashLoop, Process, Supervisor, peak_rss_bytes
from headrace.jobs.machine.waiting import wait_until
from headrace.operators.errors import EnvironmentProblem

# It writes its id to the file it is given, whole, then waits for a signal.
WAITS = """
import os, pathlib, signal, sys
pathlib.Path(sys.argv[1] + ".tmp").write_text(str(os.getpid()))
pathlib.Path(sys.argv[1] + ".tmp").rename(sys.argv[1])
while True: signal.pause()
"""
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)" + WAITS
# It starts another in a session of its own, as a job starts its Java.
PARENT = f"""
import subprocess, sys
subprocess.Popen([sys.executable, "-c", {WAITS!r}, sys.argv[1] + ".child"], start_new_session=True)
{WAITS}
"""
# It says when it is told to stop.
TELLS = f"""
import signal, sys
def told(*_):
    with open(sys.argv[2], "a") as file: file.write(sys.argv[1].rpartition("/")[2] + " ")
    sys.exit(0)
signal.signal(signal.SIGTERM, told)
{WAITS}
"""


def python(name: str, code: str, folder: Path, *arguments: str, **settings: object) -> Process:
    """A process that runs `code`, and is ready when its id is in the file of its name."""
    mark = folder / name
    argv = [sys.executable, "-c", code, str(mark), *arguments]
    return Process(name, argv, folder / f"{name}.log", ready=mark.exists, **settings)  # type: ignore[arg-type]  # the settings are those of Process


def pid_in(path: Path) -> int:
    wait_until(path.exists, 10, f"the id of {path.name}")
    return int(path.read_text())


def alive(pid: int) -> bool:
    """Whether it runs; a zombie, whose parent has yet to look, does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    with Supervisor() as one:
        yield one


@pytest.fixture
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures are answered without the pause that they deserve."""
    monkeypatch.setattr(processes, "_FIRST_BACK_OFF_SECONDS", 0.01)


@pytest.mark.usefixtures("brisk")
def test_what_is_killed_starts_again(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start(python("store", WAITS, tmp_path, env={"A": "1"}))
    supervisor.wait_ready()
    first = pid_in(tmp_path / "store")
    assert supervisor.status()["store"].pid == first
    (tmp_path / "store").unlink()
    supervisor.signal("store", signal.SIGKILL)
    wait_until(lambda: supervisor.status()["store"].restarts == 1, 10, "the restart")
    supervisor.wait_ready("store")
    second = supervisor.status()["store"]
    assert (second.state, second.exit_status) == ("running", -signal.SIGKILL)
    assert second.pid == pid_in(tmp_path / "store") != first
    supervisor.check()


def test_another_may_have_the_name_of_one_that_was_stopped(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    supervisor.start(python("store", WAITS, tmp_path, env={"A": "1"}))
    first = pid_in(tmp_path / "store")
    with pytest.raises(EnvironmentProblem, match="a process of that name was started"):
        supervisor.start(python("store", WAITS, tmp_path, env={"A": "2"}))
    supervisor.stop("store")
    assert not alive(first)
    (tmp_path / "store").unlink()
    supervisor.start(python("store", WAITS, tmp_path, env={"A": "2"}))
    second = supervisor.status()["store"]
    assert (second.state, second.restarts) == ("running", 0)
    assert second.pid == pid_in(tmp_path / "store") != first


@pytest.mark.usefixtures("brisk")
def test_what_it_had_started_is_gone_before_it_starts_again(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    supervisor.start(python("views", PARENT, tmp_path))
    child = pid_in(tmp_path / "views.child")
    assert alive(child)
    supervisor.signal("views", signal.SIGKILL)
    wait_until(lambda: supervisor.status()["views"].restarts == 1, 10, "the restart")
    assert not alive(child)


@pytest.mark.usefixtures("brisk")
@pytest.mark.parametrize("code", ["raise SystemExit('no such column')", "print('done')"])
def test_a_slow_crash_loop_is_given_up_too(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    """What ends of itself five times in a row loops, however long each took: Flink is slow."""
    monkeypatch.setattr(processes, "_WITHIN_SECONDS", 0.0)  # no two failures fall together
    supervisor.start(python("views", code, tmp_path))
    told = r"it ended 5 times within \d+ s, at last with exit status [01]: (no such column|done);"
    with pytest.raises(CrashLoop, match=told):
        supervisor.wait_ready("views")


@pytest.mark.usefixtures("brisk")
def test_what_is_killed_now_and_then_is_not_given_up(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_WITHIN_SECONDS", 0.0)
    supervisor.start(python("views", WAITS, tmp_path))
    for kill in range(1, 7):
        supervisor.signal("views", signal.SIGKILL)

        def back(kill: int = kill) -> bool:
            return supervisor.status()["views"].restarts == kill

        wait_until(back, 10, "the restart")
    supervisor.check()


@pytest.mark.usefixtures("brisk")
def test_a_crash_loop_is_given_up_and_says_the_cause(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    supervisor.start(python("learner", "raise SystemExit('no more memory')", tmp_path))
    supervisor.start(python("store", WAITS, tmp_path))
    with pytest.raises(CrashLoop) as given_up:
        supervisor.wait_ready("learner")
    assert str(given_up.value) == (
        "asked for the process 'learner' to run; it ended 5 times within 60 s, at last with exit"
        " status 1: no more memory; repair the cause and start again; its whole log is"
        f" {tmp_path / 'learner.log'}"
    )
    status = supervisor.status()
    assert (status["learner"].state, status["learner"].restarts) == ("failed", 4)
    assert status["learner"].cause == "exit status 1: no more memory"
    assert status["store"].state == "running"
    with pytest.raises(CrashLoop):
        supervisor.check()


@pytest.mark.parametrize("exit_status", [0, 1, -signal.SIGSEGV, -signal.SIGABRT])
def test_the_pause_from_one_start_to_the_next_doubles(
    monkeypatch: pytest.MonkeyPatch, exit_status: int
) -> None:
    monkeypatch.setattr(processes, "_FAILURES", 100)
    child = ended(exit_status)
    pauses = []
    for _ in range(7):
        child._started_at = 10.0
        child._fail(10.0)
        pauses.append(child._again_at - 10.0)
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    child._fail(15.0)  # half of the pause is over
    assert child._again_at - 15.0 == 5.0
    child._fail(30.0)  # all of it, for it ran for longer
    assert child._again_at == 30.0
    child._started_at = 40.0
    child._fail(100.0)  # it ran well for longer than failures are counted
    child._started_at = 100.0
    child._fail(100.0)
    assert child._again_at - 100.0 == 1.0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_what_another_killed_starts_again_at_once(number: int) -> None:
    child = ended(-number)
    for _ in range(4):
        child._fail(10.0)
        assert child._again_at == 10.0
    with pytest.raises(CrashLoop, match="it ended 5 times within 60 s, at last with signal SIG"):
        child._fail(10.0)


def ended(exit_status: int) -> processes._Child:
    """A child that never ran, as it is when it has ended."""
    child = processes._Child.__new__(processes._Child)
    child.process = Process("p", ["p"], Path("p.log"))
    child._failures, child._own_ends, child._started_at = [], [], 0.0
    child.exit_status = exit_status
    child._back_off_seconds = processes._FIRST_BACK_OFF_SECONDS
    return child


def test_the_cause_is_not_what_a_binding_says_of_itself(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    said = "the cause\\nnanobind: leaked 2 functions!\\n - leaked function 'a'\\n - ... skipped"
    supervisor.start(python("store", f'raise SystemExit("{said}")', tmp_path))
    wait_until(lambda: bool(supervisor.status()["store"].cause), 10, "its end")
    assert supervisor.status()["store"].cause == "exit status 1: the cause"


def test_an_end_of_its_own_is_no_failure(supervisor: Supervisor, tmp_path: Path) -> None:
    hello = Process("hello", ["echo", "hello"], tmp_path / "hello.log", finishes=True)
    supervisor.start(hello)
    supervisor.wait_finished("hello")
    status = supervisor.status()["hello"]
    assert (status.state, status.pid, status.restarts, status.exit_status) == (
        ("finished", None, 0, 0)
    )
    with pytest.raises(EnvironmentProblem, match="a process of that name was started"):
        supervisor.start(hello)


def test_what_cannot_be_started_is_one_sentence(supervisor: Supervisor, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="/no/java: No such file or directory; run"):
        supervisor.start(Process("broker", ["/no/java"], tmp_path / "broker.log"))
    assert supervisor.status() == {}


def test_what_is_not_ready_in_time_tells_what_it_wrote(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    code = "print('still loading')" + WAITS
    process = python("store", code, tmp_path, ready_seconds=1.0)
    supervisor.start(
        Process(process.name, process.argv, process.log, ready=lambda: False, ready_seconds=0.5)
    )
    with pytest.raises(EnvironmentProblem, match=r"ready; it was not in 0.5 s: .*; look at its"):
        supervisor.wait_ready()


def test_stopping_goes_backwards_and_leaves_nothing(tmp_path: Path) -> None:
    told = tmp_path / "told"
    with Supervisor() as supervisor:
        for name in ("broker", "store", "learner"):
            supervisor.start(python(name, TELLS, tmp_path, str(told)))
        supervisor.start(python("deaf", DEAF, tmp_path, stop_seconds=0.1))
        supervisor.start(python("views", PARENT, tmp_path))
        supervisor.wait_ready()
        pids = [status.pid or 0 for status in supervisor.status().values()]
        pids.append(pid_in(tmp_path / "views.child"))
        assert all(map(alive, pids))
    assert told.read_text().split() == ["learner", "store", "broker"]
    assert not any(map(alive, pids))
    states = {name: status.exit_status for name, status in supervisor.status().items()}
    assert states == {"broker": 0, "store": 0, "learner": 0, "deaf": -9, "views": -15}
    with pytest.raises(EnvironmentProblem, match="the supervisor does not run"):
        supervisor.start(python("late", WAITS, tmp_path))


def test_one_can_be_stopped_and_stays_so(supervisor: Supervisor, tmp_path: Path) -> None:
    for name in ("replay", "store"):
        supervisor.start(python(name, WAITS, tmp_path))
    supervisor.wait_ready()
    supervisor.stop("replay")
    status = supervisor.status()
    assert (status["replay"].state, status["store"].state) == ("stopped", "running")


def test_memory_is_that_of_the_whole_tree(supervisor: Supervisor, tmp_path: Path) -> None:
    code = f"import subprocess, sys; x = bytearray(b'x') * (64 << 20); del x\n{PARENT}"
    supervisor.start(python("learner", code, tmp_path))
    supervisor.wait_ready()
    child = peak_rss_bytes(pid_in(tmp_path / "learner.child"))
    wait_until(lambda: supervisor.memory()["learner"] > (64 << 20) + child, 10, "a measurement")
    assert supervisor.memory()["learner"] < 200 << 20


SUPERVISES = f"""
import sys
from pathlib import Path
from headrace.jobs.machine.processes import Process, Supervisor
from headrace.jobs.machine.waiting import wait_until
folder = Path(sys.argv[1])
with Supervisor() as supervisor:
    for name, code in (("views", {PARENT!r}), ("deaf", {DEAF!r})):
        argv = [sys.executable, "-c", code, str(folder / name)]
        supervisor.start(Process(name, argv, folder / "log", stop_seconds=0.1))
    wait_until(lambda: False, 60, "a signal")
"""


@pytest.mark.parametrize(
    ("number", "exit_status"),
    [(signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, -2)],
    ids=["SIGKILL", "SIGTERM", "SIGINT"],
)
def test_nothing_outlives_the_supervisor(
    number: signal.Signals, exit_status: int, tmp_path: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SUPERVISES, str(tmp_path)], stderr=subprocess.DEVNULL
    ) as supervising:
        names = ("views", "views.child", "deaf")
        pids = [pid_in(tmp_path / name) for name in names]
        assert all(map(alive, pids))
        os.kill(supervising.pid, number)
        assert supervising.wait(20) == exit_status
        wait_until(lambda: not any(map(alive, pids)), 20, "the end of all")
