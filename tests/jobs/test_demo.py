"""The demo follows a pipeline to its end, over restarts, and says when nothing moves any more."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import duckdb
import pyarrow as pa
import pytest
from rich.console import Console

from headrace.jobs.checks.verify import Verdict
from headrace.jobs.demo import demonstration as demo
from headrace.jobs.demo.demonstration import PIPELINE, Result, Stalled, follow
from headrace.jobs.machine.local import Local
from headrace.jobs.machine.processes import Supervisor
from headrace.jobs.machine.state import locked, write_json
from headrace.jobs.roles import rest_ms
from headrace.jobs.serving.client import Client
from headrace.online_learning.rivals import RIVALS
from headrace.operators.errors import EnvironmentProblem, StoreError, UnknownName
from headrace.pipelines.load import load

END = 10 * 21_600_000


class Told:
    """A client whose store tells these things, one after another; the last for ever."""

    def __init__(self, *told: dict[str, Any] | StoreError) -> None:
        self.told = list(told)

    def status(self) -> dict[str, Any]:
        """Tell the next."""
        now = self.told.pop(0) if len(self.told) > 1 else self.told[0]
        if isinstance(now, StoreError):
            raise now
        return now

    def sql(self, _: str) -> pa.Table:
        """Answer with nothing."""
        return pa.table({"carrier": []})

    def address(self) -> str:
        """Give an address."""
        return "http://127.0.0.1:1"


def status(**more: object) -> dict[str, Any]:
    """Say that all is done, or all but `more`."""
    done = {
        "decisions": 3,
        "predictions": 3,
        "examples": 3,
        "waiting": 0,
        "through": END,
        "examples_complete": END,
        "metrics_at": END,
        "views": {"one": {"complete": END}},
    }
    return {**done, **more}


def local(state: Path, client: Told) -> Local:
    write_json(state / "replay.json", {"days": 1, "last_beat": END + rest_ms(load(PIPELINE)) - 1})
    supervisor = Supervisor()  # not started: it has no problem to tell
    return Local(load(PIPELINE), state, "nowhere", supervisor, cast("Client", client))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "_LOOK_SECONDS", 0.001)
    monkeypatch.setattr(demo, "_STALL_SECONDS", 0.2)


BEHIND: dict[str, dict[str, Any]] = {
    "decisions wait": {"waiting": 1},
    "a view is behind": {"views": {"one": {"complete": END}, "two": {"complete": END - 1}}},
    "predictions are behind": {"through": END - 1},
    "labels are behind": {"examples_complete": END - 1},
    "the learner is behind": {"metrics_at": END - 1},
}


@pytest.mark.parametrize("name", BEHIND)
def test_it_waits_for_everyone(tmp_path: Path, name: str) -> None:
    with pytest.raises(Stalled, match="nothing moved for 0 s"):
        follow(local(tmp_path, Told(status(**BEHIND[name]))))
    follow(local(tmp_path, Told(status(**BEHIND[name]), status())))


def test_a_store_that_is_started_again_is_waited_for(tmp_path: Path) -> None:
    gone = StoreError("asked the store", "it does not answer", "look at its log")
    shown: list[object] = []
    client = Told(status(waiting=1), gone, gone, status())
    follow(local(tmp_path, client), show=shown.append)
    assert shown == [status(waiting=1), status()]
    with pytest.raises(Stalled, match="it does not answer"):
        follow(local(tmp_path, Told(gone)))


def test_before_the_replay_has_ended_nothing_is_done(tmp_path: Path) -> None:
    running = local(tmp_path, Told(status()))
    (tmp_path / "replay.json").unlink()
    with pytest.raises(Stalled):
        follow(running)


def test_ctrl_c_while_it_stays_up_is_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report is shown before the wait; Ctrl-C then ends it in order, and is no error."""
    order: list[str] = []

    @contextmanager
    def running(*_: object) -> Iterator[Local]:
        one = local(tmp_path / "d", Told(status()))
        monkeypatch.setattr(Local, "start", lambda *_: None)
        yield one
        order.append("stopped")

    def ctrl_c(*_: object, **__: object) -> None:
        order.append("waited")
        raise KeyboardInterrupt

    def shown(result: Result) -> None:
        assert (tmp_path / "d" / "report.json").exists()
        order.append(f"shown {result.report}")

    nothing: dict[str, object] = {
        "follow": lambda *_, **__: None,
        "verify": lambda *_, **__: Verdict(),
        "report": lambda *_, **__: {"n": 1},
        "_groups": lambda *_: {"groups": 2},
        "_example": lambda *_: {},
        "wait_until": ctrl_c,
    }
    for name, replacement in nothing.items():
        monkeypatch.setattr(demo, name, replacement)
    monkeypatch.setattr("headrace.jobs.demo.demonstration.local.running", running)
    with locked(tmp_path / "d", "demo") as folder:
        demo.run(folder, days=1, console=Console(quiet=True), keep_up=True, show=shown)
    assert order == ["shown {'n': 1, 'groups': 2}", "waited", "stopped"]


def test_another_pipeline_reads_the_flights_topics_all_of_them_and_no_others() -> None:
    pipeline = load(PIPELINE)
    demo.check_topics(pipeline)
    strange = replace(pipeline.sources["weather"], topic="wether")
    with pytest.raises(UnknownName, match=r"of the flights 'wether'.*did you mean 'weather'"):
        demo.check_topics(replace(pipeline, sources={**pipeline.sources, "weather": strange}))
    fewer = {name: source for name, source in pipeline.sources.items() if name != "weather"}
    with pytest.raises(EnvironmentProblem, match="no source of it reads weather"):
        demo.check_topics(replace(pipeline, sources=fewer))


class Asked(Told):
    """A client whose store has decisions with their labels, besides what it tells."""

    def __init__(self, told: dict[str, Any]) -> None:
        super().__init__(told)
        self.store = duckdb.connect()
        schema = pa.schema([(name, kind.arrow) for name, kind in load(PIPELINE).inputs.items()])
        rows = pa.Table.from_pylist([{"hour": i % 2} for i in range(8)], schema)
        rows = rows.append_column("seq", pa.array(range(8))).append_column("at", [[0] * 8])
        examples = pa.table({"seq": range(8), "at": [5] * 8, "label": [True, False] * 4})
        versions = pa.table({"kind": ["feature"], "name": ["humid"], "since": [0]})
        tables = {"decisions": rows, "predictions": rows}
        for name, table in {**tables, "examples": examples, "versions": versions}.items():
            self.store.register("given", table)
            self.store.execute(f"CREATE TABLE {name} AS FROM given")

    def sql(self, query: str) -> pa.Table:
        """Answer as the store does."""
        return self.store.sql(query).to_arrow_table()


def test_the_report_shows_rivals_and_groups_beside_the_score(tmp_path: Path) -> None:
    one = {"auc": 0.6, "log_loss": 0.5, "base_rate_log_loss": 0.7, "n": 9}
    told = {f"{name}.{key}": value for name in ("majority", "served") for key, value in one.items()}
    running = local(tmp_path, Asked(status(metrics=told, late=0, dead_letters=0)))
    report = demo.report(running, Verdict(), events={"arrival": 8}, seconds=(2.0, 1.0))
    assert report["served"] == report["rivals"]["majority"] == one
    assert tuple(report["rivals"]) == RIVALS
    assert set(report["rivals"]["frozen_last"].values()) == {None}
    scored = demo._groups(running)
    names = ["schedule", "+ weather", "+ windows"]
    assert {kind: list(scores) for kind, scores in scored.items()} == {
        "groups": names,
        "groups_all": names,
    }
    assert [each["n"] for each in scored["groups"].values()] == [0, 0, 0]  # before `score_from`
    blank = {"auc": 0.5, "log_loss": math.log(2), "base_rate_log_loss": math.log(2), "n": 8}
    assert scored["groups_all"]["schedule"] == pytest.approx(blank)
