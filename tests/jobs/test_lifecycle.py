"""What a pipeline's life is made of, part by part; `tests/test_deploy.py` lives it through."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from headrace.jobs import roles
from headrace.jobs.cli.folder import chosen, of_pipeline
from headrace.jobs.lifecycle import logs, sending, shown
from headrace.jobs.lifecycle.board import STOPPED, Board, Posted, posted
from headrace.jobs.lifecycle.down import down
from headrace.jobs.lifecycle.logs import Line
from headrace.jobs.lifecycle.status import status
from headrace.jobs.lifecycle.up import Seen
from headrace.jobs.machine.local import PROCESSES
from headrace.jobs.machine.processes import Status
from headrace.jobs.machine.state import locked, write_json
from headrace.jobs.machine.waiting import wait_until
from headrace.operators.errors import EnvironmentProblem, HeadraceError, UnknownName
from tests.feature_store.made_up import pipeline
from tests.jobs.in_memory import Log

RUNS = Status("running", 7, 0, None, 0, 1.5)


def told(**changed: object) -> Posted:
    facts: dict[str, object] = {
        "pid": os.getpid(),
        "pipeline": "small",
        "path": str(Path(__file__).parents[1] / "pipelines" / "shop.yaml"),
        "kafka": "127.0.0.1:1",
        "topics": {"click": "click"},
    }
    return Posted(**{**facts, **changed})  # type: ignore[arg-type]  # the facts are those of Posted


# --- what runs tells of itself --------------------------------------------------------------------


def test_what_is_posted_is_read_as_it_was(tmp_path: Path) -> None:
    assert posted(tmp_path) == (None, None)
    with locked(tmp_path / "small", "up") as folder:
        board = Board(folder)
        one = told(store="http://127.0.0.1:8", ready=True)
        assert board.post(one)
        assert not board.post(one)  # nothing changed
        read, held = posted(folder.path)
        assert (read, held and held.pid) == (one, os.getpid())
        assert board.post(told(ended=STOPPED))
    assert posted(tmp_path / "small") == (told(ended=STOPPED), None)


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        (STOPPED, "small does not run: it was stopped"),
        (None, "small does not run: it was killed"),
        ("the store looped", "small does not run: the store looped"),
    ],
)
def test_the_status_of_what_does_not_run_says_how_it_ended(
    tmp_path: Path, ended: str | None, said: str
) -> None:
    with locked(tmp_path / "small", "up") as folder:
        Board(folder).post(told(ended=ended))
        folder.write_json(PROCESSES, {"store": asdict(RUNS)})
    found = status(tmp_path / "small")
    assert (found.runs, found.ended) == (None, ended)
    assert (len(found.lags), len(found.problems)) == (0, 0)
    assert found.disk["free"] > 0
    console = Console(record=True, width=120)
    console.print(shown.shown(found))
    assert said in console.export_text()
    assert json.loads(json.dumps(found.plain()))["processes"]["store"]["state"] == "running"


def test_the_status_of_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="nothing ever did; run it first"):
        status(tmp_path)


def test_what_cannot_be_asked_is_a_problem_and_the_rest_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(*_: object, **__: object) -> None:
        asked, found = "asked for Kafka", "nobody answers"
        raise EnvironmentProblem(asked, found, "start it")

    monkeypatch.setattr("headrace.jobs.transport.committed", nobody)
    with locked(tmp_path / "small", "up") as folder:
        Board(folder).post(told())
        folder.write_json(PROCESSES, {"store": asdict(RUNS)})
        found = status(folder.path)
    assert found.runs == "up"
    assert [problem.partition(";")[0] for problem in found.problems] == [
        f"asked for the store that is named in {folder.path / 'store' / 'address.json'}",
        "asked for Kafka",
    ]
    assert found.processes == {"store": RUNS}


# --- how it is shown ------------------------------------------------------------------------------


def looks() -> list[Seen]:
    """A start, a death, an end."""
    counts = dict.fromkeys(
        ("decisions", "predictions", "examples", "waiting", "dead_letters", "late"), 3
    )
    died = Status("waiting", None, 0, 1, 0, 1.5, "exit status 1: disk full")
    again = Status("running", 9, 1, 1, 0, 2.5, "exit status 1: disk full")
    ready = told(store="http://127.0.0.1:8", ready=True)
    return [
        Seen(told(), {"store": RUNS}),
        Seen(ready, {"store": RUNS}, counts),
        Seen(ready, {"store": replace(RUNS, peak_rss_bytes=1)}, counts),
        Seen(ready, {"store": died}),
        Seen(ready, {"store": again}),
        Seen(told(ended=STOPPED), {"store": again}),
    ]


def said_of(seen: list[Seen], *, as_json: bool) -> list[str]:
    console = Console(record=True, width=40, force_terminal=False)
    with shown.showing(console, as_json=as_json) as tell:
        for each in seen:
            tell(each)
    return console.export_text().splitlines()


def test_lines_tell_each_change_once() -> None:
    assert said_of(looks(), as_json=False) == [
        "store runs as process 7",
        "small is ready",
        "  Kafka           127.0.0.1:1",
        "  store           http://127.0.0.1:8/docs",
        "3 decisions, 3 predictions, 3 examples, 3 waiting, 3 dead_letters, 3 late",
        "store waiting: exit status 1: disk full",
        "store runs as process 9, again for the 1. time",
        "ended: stopped",
    ]


def test_lines_of_json_are_one_object_each() -> None:
    lines = [json.loads(line) for line in said_of(looks(), as_json=True)]
    events = ["process", "ready", "counts", "process", "process", "ended"]
    assert [line["event"] for line in lines] == events
    assert lines[1]["store"] == "http://127.0.0.1:8"
    assert lines[4]["restarts"] == 1


# --- down -----------------------------------------------------------------------------------------

HOLDS = """
import signal, sys, time
from pathlib import Path
from headrace.jobs.machine.state import locked
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1) if sys.argv[3] == "deaf" else sys.exit(0))
with locked(Path(sys.argv[1]), sys.argv[2], resume=True) as state:
    state.write_json("ready.json", 1)
    while True: signal.pause()
"""


def holding(state: Path, what: str, how: str = "obeys") -> subprocess.Popen[bytes]:
    (state / "ready.json").unlink(missing_ok=True)
    one = subprocess.Popen([sys.executable, "-c", HOLDS, str(state), what, how])
    wait_until((state / "ready.json").exists, 20, "the holder")
    return one


def test_down_stops_what_holds_the_folder_and_waits_for_it(tmp_path: Path) -> None:
    state = tmp_path / "small"
    assert down(state) is None
    with holding(state, "up") as one:
        write_json(state / "running.json", asdict(told(pid=one.pid)))
        last = down(state)
        assert one.wait(10) == 0
    assert last is not None
    assert last.pid == one.pid
    assert down(state) is None


def test_down_says_so_when_it_is_in_vain(tmp_path: Path) -> None:
    state = tmp_path / "small"
    with holding(state, "up", "deaf") as one:
        with pytest.raises(EnvironmentProblem, match=rf"'kill -9 {one.pid}': nothing is lost"):
            down(state, deadline_seconds=0.3)
        one.kill()
    with holding(state, "verify") as one:
        with pytest.raises(EnvironmentProblem, match="a verify does; wait for its end"):
            down(state)
        assert one.poll() is None
        one.kill()


def test_down_stops_no_other_process(tmp_path: Path) -> None:
    """The id in the lock is another process's: one in another container, or one since."""
    with (
        subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) as other,
        holding(tmp_path, "up") as one,
    ):
        (tmp_path / "lock").write_text(json.dumps({"pid": other.pid, "what": "up", "started": 1}))
        with pytest.raises(EnvironmentProblem, match="the process of that id is another"):
            down(tmp_path)
        assert other.poll() is None
        for each in (one, other):
            each.send_signal(signal.SIGKILL)


# --- which folder ---------------------------------------------------------------------------------


def test_the_folder_is_the_only_one_or_the_only_one_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    home = Path(".headrace")
    assert chosen(tmp_path / "given", "asked") == tmp_path / "given"
    with pytest.raises(EnvironmentProblem, match=r"there is no state folder in .*; run `headrace"):
        chosen(None, "asked")
    with locked(home / "a", "up"):
        pass
    assert chosen(None, "asked") == home / "a"
    with locked(home / "b", "up"):
        assert chosen(None, "asked") == home / "b"
        with (
            locked(home / "a", "up", resume=True),
            pytest.raises(EnvironmentProblem, match=r"more than one: \.headrace/a, \.headrace/b"),
        ):
            chosen(None, "asked")
    with pytest.raises(EnvironmentProblem, match=r"more than one: \.headrace/a, \.headrace/b"):
        chosen(None, "asked")


def test_a_pipelines_folder_is_that_of_its_name_or_the_demos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert of_pipeline(None, "shop") == Path(".headrace/demo")
    Path(".headrace/shop").mkdir(parents=True)
    assert of_pipeline(None, "shop") == Path(".headrace/shop")
    assert of_pipeline(tmp_path, "shop") == tmp_path


# --- logs -----------------------------------------------------------------------------------------

STORE = """\
2026-01-01 10:00:00,001 WARNING first
Traceback (most recent call last):
  in the middle
2026-01-01 10:00:03,000 WARNING last
"""
BROKER = "2026-01-01T10:00:02,500 INFO  up\n"


def written(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    folder.mkdir(exist_ok=True)
    (folder / "store.log").write_text(STORE)
    (folder / "broker.log").write_text(BROKER)
    return tmp_path


def test_logs_are_merged_by_time_and_what_has_no_time_stays_with_its_line(tmp_path: Path) -> None:
    paths = logs.files(written(tmp_path))
    texts = [line.text for line in logs.merged(paths)]
    assert texts == [*STORE.splitlines()[:3], BROKER.rstrip(), STORE.splitlines()[3]]
    since = datetime(2026, 1, 1, 10, 0, 2, tzinfo=UTC)
    assert [line.process for line in logs.merged(paths, since)] == ["broker", "store"]
    assert list(logs.merged(paths, since + timedelta(hours=1))) == []


def test_logs_of_nobody(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="there is none; run the pipeline"):
        logs.files(tmp_path)
    with pytest.raises(UnknownName, match="process 'stor'; known: 'broker', 'store'; did you mean"):
        logs.files(written(tmp_path), "stor")


def test_logs_are_followed_line_by_line_also_new_ones(tmp_path: Path) -> None:
    folder = written(tmp_path) / "logs"
    seen: list[Line] = []

    def tell(line: Line) -> None:
        seen.append(line)
        if len(seen) == 3:
            raise KeyboardInterrupt

    def write() -> None:
        with (folder / "store.log").open("a") as log:
            log.write("one\nha")
            log.flush()
            wait_until(lambda: len(seen) == 1, 10, "the first line")
            log.write("lf\n")
        wait_until(lambda: len(seen) == 2, 10, "the second line")
        (folder / "learner.log").write_text("new\n")

    writer = threading.Thread(target=write)
    calls = 0
    files = logs.files

    def listed(state: Path, process: str | None = None) -> list[Path]:
        nonlocal calls
        calls += 1
        if calls == 2:  # the first look: what was there before it is known
            writer.start()
        return files(state, process)

    def bounded(look: Callable[[], object], _: float, what: str, *, every_seconds: float) -> None:
        wait_until(look, 20.0, what, every_seconds=every_seconds)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(logs, "files", listed)
        patched.setattr(logs, "wait_until", bounded)
        with pytest.raises(KeyboardInterrupt):
            logs.follow(tmp_path, None, tell)
    writer.join()
    assert [(line.process, line.text) for line in seen] == [
        ("store", "one"),
        ("store", "half"),
        ("learner", "new"),
    ]


# --- send -----------------------------------------------------------------------------------------


def test_events_of_a_file_are_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"at": 1, "user": "u"}\n\n{"at":2,"user":null}\r\n')
    read = sending.read(path)
    assert read.rows == (b'{"at": 1, "user": "u"}', b'{"at":2,"user":null}')
    assert read.keys == (None, None)
    assert sending.read(path, "user").keys == (b'"u"', b"null")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 2 is no JSON"),
        ("[1]", "line 2 is no object with `at`"),
        ("{}", "line 2 is no object with `at`"),
        ('{"at": 1.5}', "line 2 is no object with `at`"),
        ('{"at": true}', "line 2 is no object with `at`"),
        ('{"at": "1"}', "line 2 is no object with `at`"),
    ],
)
def test_what_is_no_event_is_refused_before_anything_is_sent(
    tmp_path: Path, line: str, said: str
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f'{{"at": 1, "user": "u"}}\n{line}\n')
    with pytest.raises(HeadraceError, match=f"{said}.*nothing was sent"):
        sending.read(path)
    path.write_text('{"at": 1, "user": "u"}\n{"at": 1}\n')
    with pytest.raises(HeadraceError, match="by user; line 2 has no user"):
        sending.read(path, "user")
    with pytest.raises(HeadraceError, match="No such file"):
        sending.read(tmp_path / "none.jsonl")


def test_only_a_source_with_a_topic_takes_events(tmp_path: Path) -> None:
    small = pipeline(tmp_path)
    assert sending.live_source(small, "click").topic == "click"
    with pytest.raises(UnknownName, match=r"source with a topic 'clik'.*did you mean 'click'"):
        sending.live_source(small, "clik")


def test_all_is_learned_when_everybody_is_beyond_the_time(tmp_path: Path) -> None:
    small, minute = pipeline(tmp_path), 60_000
    whole = {
        "waiting": 0,
        "views": {"clicks": {"complete": minute}, "pages": {"complete": 2 * minute}},
        "through": minute,
        "examples_complete": minute,
        "metrics_at": minute,
    }
    assert sending.caught_up(small, whole, minute)
    assert sending.caught_up(small, whole, 2 * minute - 1)  # the step that is over by then
    assert not sending.caught_up(small, whole, 2 * minute)
    lacking = [whole | {name: 0} for name in ("through", "examples_complete", "metrics_at")]
    lacking += [whole | {"waiting": 1}, whole | {"views": {"clicks": {"complete": 0}}}]
    assert not any(sending.caught_up(small, each, minute) for each in lacking)


# --- beats ----------------------------------------------------------------------------------------


class Ticks:
    """Says twice that nobody has asked to stop."""

    def __init__(self) -> None:
        self.waited: list[float] = []

    def wait(self, seconds: float) -> bool:
        """Wait for nothing."""
        self.waited.append(seconds)
        return len(self.waited) > 2


def test_beats_tell_every_partition_of_a_topic_what_time_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, ticks, now = Log(), Ticks(), iter([100_000, 105_000])
    there = {"ask": 1, "click": 2}
    monkeypatch.setattr(roles, "Writer", lambda _: log)
    monkeypatch.setattr(roles, "_stopping", lambda: ticks)
    monkeypatch.setattr("headrace.jobs.transport.partitions", lambda _, topic: there[topic])
    monkeypatch.setattr("time.time_ns", lambda: next(now) * 1_000_000)
    roles.run_beats(pipeline(tmp_path), "memory", tmp_path, every_ms=5_000)
    assert ticks.waited == [5.0] * 3
    told = {place: [said.value for said in messages] for place, messages in log.messages.items()}
    beats = [b'{"at":95000}', b'{"at":100000}']
    assert told == {("ask", 0): beats, ("click", 0): beats, ("click", 1): beats}
