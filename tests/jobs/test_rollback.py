"""A pipeline's file says again what it said before: what is kept, what is written, what is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headrace.jobs.evolve import declarations, handover, raw_log
from headrace.jobs.evolve.declarations import Declaration, kept, noted
from headrace.jobs.evolve.plan import applied, facts, note_applied
from headrace.operators.errors import CorruptError, EnvironmentProblem
from headrace.pipelines.load import load
from tests.jobs.conftest import Say
from tests.jobs.test_backfill import WHOLE, pipeline
from tests.jobs.test_plan import NEW_VIEW, WINDOW, Kafka, began, kafka

__all__ = ["kafka"]

ANOTHER_MODEL = WHOLE.replace("slots: 1024", "slots: 2048")


def texts(state: Path) -> list[str]:
    return [each.text for each in kept(state)]


@pytest.fixture
def state(tmp_path: Path, kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder in which WHOLE ran."""
    monkeypatch.setattr(raw_log, "holder", lambda _: (1, "demo"))
    monkeypatch.setattr("headrace.jobs.machine.broker.standing", lambda _: "memory")
    began(tmp_path, kafka)
    return tmp_path


# --- what is kept ---------------------------------------------------------------------------------


def test_each_declaration_is_kept_once_and_the_newest_of_many(tmp_path: Path) -> None:
    path, clock = tmp_path / "a.yaml", iter(range(1_000))
    for number in range(60):
        for _ in range(2):
            noted(tmp_path, path, f"every: {number}s", now=lambda: float(next(clock)))
    found = kept(tmp_path)
    assert [each.number for each in found] == list(range(11, 61))
    assert found[-1] == Declaration(60, 59.0, str(path), "every: 59s")
    assert noted(tmp_path, path, "never", applied=False).number == 61
    assert noted(tmp_path, path, "never", applied=False).number == 61
    assert noted(tmp_path, path, "never").number == 62  # it is applied now


def test_what_is_declared_is_kept_as_it_was_read(tmp_path: Path) -> None:
    """A file that is changed while it starts is not what runs."""
    declared = pipeline(tmp_path, WHOLE)
    pipeline(tmp_path, NEW_VIEW)
    note_applied(declared, tmp_path)
    assert texts(tmp_path) == [WHOLE]


def test_what_is_not_kept_is_said(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match=r"there is no declarations.json; apply the file"):
        declarations.before(kept(tmp_path))
    noted(tmp_path, tmp_path / "a.yaml", "every: 1s")
    with pytest.raises(
        EnvironmentProblem, match=r"1 is kept in declarations\.json; apply the file"
    ):
        declarations.before(kept(tmp_path))
    with pytest.raises(EnvironmentProblem, match="asked for declaration 7; kept: 1; see them by"):
        declarations.numbered(kept(tmp_path), 7)
    (tmp_path / "declarations.json").write_text('[{"number": 1}]')
    with pytest.raises(CorruptError, match=r"asked for declarations; .*remove the file"):
        kept(tmp_path)


# --- what is gone back to -------------------------------------------------------------------------


def test_what_was_made_ready_and_not_taken_over_is_taken_back(state: Path, say: Say) -> None:
    path = pipeline(state, NEW_VIEW).path
    path.chmod(0o640)
    asked = (path, "--state", state)
    assert say("apply", *asked)[0] == 0
    assert texts(state) == [WHOLE, NEW_VIEW]
    status, told = say("rollback", *asked, "--dry-run")
    assert (status, path.read_text()) == (0, NEW_VIEW)
    assert "back to declaration 1:" in told
    assert "nothing changes" in told  # of what runs
    status, told = say("rollback", *asked)
    assert status == 0, told
    assert f"{path} says again what declaration 1 said" in told
    assert path.read_text() == WHOLE
    assert path.stat().st_mode & 0o777 == 0o640
    assert texts(state) == [WHOLE, NEW_VIEW, WHOLE]
    handover.begin(load(path), state)
    assert not (state / "next.json").exists()


def test_a_change_is_taken_back_and_once_more(state: Path, say: Say) -> None:
    declared = pipeline(state, NEW_VIEW)
    asked = (declared.path, "--state", state)
    say("apply", *asked)
    note_applied(declared, state)  # it ran
    status, told = say("rollback", *asked, "--dry-run", "--json")
    assert status == 2
    changes = json.loads(told)["changes"]
    assert next((each["name"], each["refused"]) for each in changes) == ("both", False)
    status, told = say("rollback", *asked, "--json")
    assert status == 0, told
    made = json.loads(told)
    assert (made["back_to"], made["kept_as"], made["taken_over"]) == (1, None, False)
    assert applied(state) == facts(declared)  # nothing is up that takes over
    handover.begin(load(declared.path), state)
    note_applied(load(declared.path), state)
    assert say("rollback", *asked)[0] == 0
    assert declared.path.read_text() == NEW_VIEW


def test_what_was_never_applied_is_not_lost(state: Path, say: Say) -> None:
    note_applied(pipeline(state, NEW_VIEW), state)
    path = pipeline(state, WINDOW).path
    asked = (path, "--state", state)
    with pytest.raises(EnvironmentProblem, match="or give the file back what it said: `headrace r"):
        handover.begin(load(path), state)
    status, told = say("rollback", *asked, "--to", 2)
    assert status == 0, told
    assert "was never applied, and is kept as declaration 3" in told
    assert "what runs goes on" in told
    assert path.read_text() == NEW_VIEW
    told = json.loads(say("rollback", *asked, "--list", "--json")[1])
    assert [(each["number"], each["applied"], each["in_file"]) for each in told] == [
        (1, True, False),
        (2, True, True),
        (3, False, False),
        (4, True, True),
    ]
    assert say("rollback", *asked, "--to", 3)[0] == 0
    assert path.read_text() == WINDOW
    assert "never applied" in say("rollback", *asked, "--list")[1]


def test_a_file_that_is_no_pipeline_any_more_is_as_before(state: Path, say: Say) -> None:
    note_applied(pipeline(state, NEW_VIEW), state)
    path = state / "wrong.yaml"
    for text in ("pipeline: [", None):
        path.unlink(missing_ok=True)
        if text is not None:
            path.write_text(text)
        status, told = say("rollback", path, "--state", state, "--to", 1)
        assert (status, path.read_text()) == (0, WHOLE), told
    assert "pipeline: [" in texts(state)


def test_what_is_refused_changes_nothing(state: Path, say: Say) -> None:
    assert ANOTHER_MODEL != WHOLE
    path = pipeline(state, ANOTHER_MODEL).path
    note_applied(load(path), state)
    before = {each: each.read_bytes() for each in state.glob("*.*") if each.is_file()}
    status, told = say("rollback", path, "--state", state)
    assert (status, "its model is another and learns anew" in told) == (1, True)
    other = state / "other.yaml"
    other.write_text(WHOLE.replace("pipeline: ", "pipeline: other_"))
    status, told = say("rollback", other, "--state", state)
    assert status == 1
    assert "it is the file of the pipeline 'other_" in told
    assert {each: each.read_bytes() for each in before} == before
    assert not (state / "next.json").exists()
