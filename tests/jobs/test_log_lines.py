"""Logs: JSON a line where that is asked, read beside others; and none that grows for ever."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from headrace.jobs.lifecycle import logs
from headrace.jobs.machine import processes
from headrace.jobs.machine.log_lines import JsonLines
from headrace.jobs.machine.processes import Process, Supervisor
from headrace.jobs.machine.rotation import before, rotate
from headrace.jobs.machine.waiting import wait_until

BEGINS = """
import logging
from headrace.jobs.machine.log_lines import begin
begin("store", {form!r})
logging.getLogger("kafka").info("a connection")
logging.getLogger("headrace.jobs.store").warning("version %d stays:\\n%s", 7, "\\u202ebroken")
try:
    1 // 0
except ZeroDivisionError:
    logging.getLogger("headrace.jobs.serving.gate").exception("a request failed")
"""


def written(form: str) -> list[str]:
    argv = [sys.executable, "-c", BEGINS.format(form=form)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return done.stderr.splitlines()


def test_a_process_writes_json_a_line() -> None:
    first, second = map(json.loads, written("json"))
    moment = datetime.fromisoformat(first.pop("ts"))
    assert moment.tzinfo is not None
    assert first == {
        "level": "warning",
        "component": "store",
        "logger": "headrace.jobs.store",
        "event": "version 7 stays:\n\u202ebroken",
    }
    assert second["level"] == "error"
    assert "ZeroDivisionError" in second["cause"]
    plain = written("text")
    assert plain[0].endswith("WARNING version 7 stays:")
    assert len(plain) > 4


def test_lines_of_json_are_read_by_their_time(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    record = logging.LogRecord("x", logging.WARNING, "", 0, "from the store", (), None)
    record.created = datetime.fromisoformat("2026-01-01T12:00:01.500").astimezone().timestamp()
    (tmp_path / "logs" / "store.log").write_text(JsonLines("store").format(record) + "\n")
    text = "2026-01-01 12:00:01,000 WARNING first\n2026-01-01 12:00:02,000 WARNING last\n"
    (tmp_path / "logs" / "views.log").write_text(text)
    found = [(line.process, line.at[11:]) for line in logs.merged(logs.files(tmp_path))]
    times = ["12:00:01.000", "12:00:01.500", "12:00:02.000"]
    assert found == list(zip(("views", "store", "views"), times, strict=True))


def test_a_log_that_is_too_large_goes_beside(tmp_path: Path) -> None:
    log = tmp_path / "store.log"
    with log.open("ab") as writing:
        writing.write(b"2026-01-01 12:00:00,000 old\n" * 10)
        writing.flush()
        assert not rotate(log, 280)
        assert rotate(log, 279)
        assert log.read_bytes() == b""
        writing.write(b"2026-01-01 12:00:01,000 new\n")
        writing.flush()
    assert log.read_bytes() == b"2026-01-01 12:00:01,000 new\n"  # and no hole before it
    assert [line.text[-3:] for line in logs.lines(log)] == ["old"] * 10 + ["new"]
    assert rotate(log, 1)
    assert before(log).read_bytes().endswith(b"new\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store.log", "store.log.1"]
    assert not rotate(tmp_path / "none.log")


def test_what_is_followed_goes_on_after_it_was_emptied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "logs" / "store.log"
    log.parent.mkdir()
    log.write_text("old and long\n")
    told: list[str] = []

    def write() -> None:
        with log.open("a") as writing:
            writing.write("new\n")

    def looks(look: object, *_: object, **__: object) -> None:
        for step in (lambda: rotate(log, 1), write):
            step()
            assert callable(look)
            look()

    monkeypatch.setattr(logs, "wait_until", looks)
    logs.follow(tmp_path, None, lambda line: told.append(line.text))
    assert told == ["new"]


WRITES = """
import threading
print("y" * 100_000)
while not threading.Event().wait(0.05):
    print("after", flush=True)
"""


def test_a_process_that_writes_for_ever_fills_no_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most, before_it = 500_000, b"before it was started\n" * 22_000
    rotated: list[Path] = []

    def small(log: Path) -> bool:
        if rotate(log, most):
            rotated.append(log)
            return True
        return False

    monkeypatch.setattr(processes, "rotate", small)
    log, beside = tmp_path / "chatty.log", tmp_path / "beside.log"
    log.write_bytes(before_it)
    beside.write_bytes(b"x" * (most + 1))
    with Supervisor() as supervisor:
        supervisor.start(Process("chatty", [sys.executable, "-c", WRITES], log))
        wait_until(lambda: {log, beside} <= set(rotated), 60, "both to be rotated")
        child = supervisor._children["chatty"]
        wait_until(lambda: child.tail().endswith("after"), 10, "a line after that")
        assert "yyy" not in child.tail()
        assert log.stat().st_size < 100_000
    assert before(log).read_bytes().startswith(before_it)
