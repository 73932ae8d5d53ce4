"""What several tests of the jobs share: the command line as it is typed, a log in memory."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from headrace.jobs.cli import main as cli
from headrace.jobs.evolve import raw_log
from tests.jobs.in_memory import Log

Say = Callable[..., tuple[object, str]]


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """Run the command line here; give its exit status and what it said."""
    monkeypatch.setenv("COLUMNS", "200")

    def ended(*words: object) -> tuple[object, str]:
        monkeypatch.setattr(sys, "argv", ["headrace", *map(str, words)])
        with pytest.raises(SystemExit) as exit_of:
            cli.main()
        said = capsys.readouterr()
        return exit_of.value.code, said.out + said.err

    return ended


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    """Give a log in memory in the place of Kafka, for the commands, too."""
    log = Log()
    log.install(monkeypatch)

    @contextmanager
    def reached(*_: object) -> Iterator[str]:
        yield "memory"

    monkeypatch.setattr(raw_log, "bootstrap", reached)
    return log
