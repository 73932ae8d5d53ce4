"""A declaration that takes over from another: what is refused, what is waited for; and live.

Live there are a real broker and a real Flink, and decisions that flow on. Each change is said by
`plan`, done by `apply` or `rollback`, and compared with a recomputation from the log. Meanwhile one
client asks without pause for features of the past, whose values no change may touch, and another,
which asks no second time, for predictions; not one of their requests fails.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from headrace.jobs.checks.verify import verify
from headrace.jobs.evolve import handover
from headrace.jobs.evolve.plan import applied, facts, note_applied
from headrace.jobs.lifecycle import sending
from headrace.jobs.lifecycle.board import posted
from headrace.jobs.lifecycle.up import Asked
from headrace.jobs.lifecycle.up import up as run_up
from headrace.jobs.machine import local
from headrace.jobs.machine.state import locked
from headrace.jobs.machine.waiting import wait_until
from headrace.jobs.serving.client import Client, told_address
from headrace.operators.errors import EnvironmentProblem, StoreError
from headrace.pipelines.load import load
from headrace.pipelines.pipeline import Pipeline
from tests.jobs.conftest import Say
from tests.test_elsewhere import up

MINUTE, HOUR = 60_000, 3_600_000
FIRST = """\
pipeline: evolving
every: 1m
sources:
  ask: {columns: {name: string required, user: string, page: string}}
  click: {columns: {user: string, page: string, x: int64}, partitions: 2}
  side: {columns: {user: string, x: int64}}
  done: {columns: {name: string required, x: int64}}
views:
  clicks: {source: click, key: user, features: {n: count() over 5m, total: sum(x) over 1h}}
  sides: {source: side, key: user, features: {sided: count() over 10m}}
decision: {source: ask, id: name}
outcome: {source: done, id: name, label: x > 0, within: 10m}
model: {kind: ftrl, slots: 1024, tokens: [user], publish_every: 1m}
"""
WINDOW = FIRST.replace("n: count() over 5m,", "n: count() over 5m, m: count() over 30m,")
PAGES = "  pages: {source: click, key: page, features: {page_n: count() over 20m}}\n"
VIEW = WINDOW.replace("decision:", PAGES + "decision:")
WIDER = VIEW.replace("page: string}}", "page: string, seats: int64}}", 1)
AGGREGATE = WIDER.replace("total: sum(x)", "total: max(x)")
OTHER = "".join(line for line in AGGREGATE.splitlines(keepends=True) if "  side" not in line)


def pipeline(folder: Path, text: str) -> Pipeline:
    path = folder / "evolving.yaml"
    path.write_text(text)
    return load(path)


# --- what may be started, and what is taken over --------------------------------------------------


def test_a_file_that_changed_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begun(*_: object, **__: object) -> None:
        pytest.fail("something was started")

    monkeypatch.setattr(local, "begun", begun)
    said = (
        r"asked to start evolving.yaml in .*/state; it is declared otherwise than it ran last: "
        r"feature m is new, count\(\) over 1800 s.*; run `headrace plan` .* `headrace apply`; then"
    )
    with locked(tmp_path / "state", "up") as folder:
        note_applied(pipeline(tmp_path, FIRST), folder.path)
        with pytest.raises(EnvironmentProblem, match=said):
            run_up(pipeline(tmp_path, WINDOW), folder, Asked(), lambda _: None)
        assert not (folder.path / "running.json").exists()
        handover.ask(pipeline(tmp_path, WINDOW), folder.path)
        with pytest.raises(pytest.fail.Exception, match="something was started"):
            run_up(pipeline(tmp_path, WINDOW), folder, Asked(), lambda _: None)


def test_a_start_with_the_file_of_before_takes_a_wish_back(tmp_path: Path) -> None:
    first, window = pipeline(tmp_path, FIRST), pipeline(tmp_path, WINDOW)
    handover.begin(window, tmp_path)  # nothing ever ran here
    note_applied(first, tmp_path)
    assert handover.ask(window, tmp_path) is False
    handover.begin(first, tmp_path)
    with pytest.raises(EnvironmentProblem, match="declared otherwise"):
        handover.begin(window, tmp_path)


def test_what_is_asked_for_is_due_until_it_is_done(tmp_path: Path) -> None:
    first = pipeline(tmp_path, FIRST)
    assert handover.due(first, tmp_path) is None
    window = pipeline(tmp_path, WINDOW)
    handover.ask(window, tmp_path)
    found = handover.due(first, tmp_path)
    assert found is not None
    assert facts(found) == facts(window)
    assert handover.due(window, tmp_path) is None  # it runs already, and is not ready yet
    handover.done(tmp_path)
    assert handover.due(first, tmp_path) is None


@pytest.mark.parametrize("text", [VIEW, "pipeline: ["])
def test_a_file_that_changed_meanwhile_is_not_taken_over(tmp_path: Path, text: str) -> None:
    first = pipeline(tmp_path, FIRST)
    note_applied(first, tmp_path)
    window = pipeline(tmp_path, WINDOW)
    with locked(tmp_path / "state", "up") as folder:
        note_applied(first, folder.path)
        assert handover.ask(window, folder.path)
        window.path.write_text(text)
        assert handover.due(first, folder.path) is None
        with pytest.raises(EnvironmentProblem, match="the file was changed meanwhile; apply it ag"):
            handover.wait(window, folder.path)
    handover.ask(window, folder.path)
    with pytest.raises(EnvironmentProblem, match="it ended meanwhile; see `headrace logs`"):
        handover.wait(window, folder.path)


# --- live -----------------------------------------------------------------------------------------

_BETWEEN_SECONDS = 0.05
"""Between two requests of a client; a store is away for seconds."""
_A_MINUTE_SECONDS = 0.5
"""For a minute of events, which take a fifth of a second of CPU to send."""


class Asking:
    """Asks without pause for features at a time that is over; keeps every answer that is wrong."""

    def __init__(self, state: Path, row: Mapping[str, object], right: Mapping[str, object]) -> None:
        self.answers, self.predictions = 0, 0
        self.wrong: list[Mapping[str, object]] = []
        self._state, self._row, self._right = state, row, right
        self._stop = threading.Event()

    def run(self) -> None:
        """Ask until it is stopped."""
        with closing(Client(self._state / "store" / "address.json")) as client:
            while not self._stop.wait(_BETWEEN_SECONDS):
                try:
                    found = client.features([dict(self._row)], list(self._right))["features"][0]
                except StoreError as error:
                    self.wrong.append({"error": str(error)})
                    continue
                self.answers += 1
                if found != self._right:
                    self.wrong.append(found)

    def predict(self) -> None:
        """Ask for predictions, each on a connection of its own, until it is stopped."""
        row = {"name": "asked", **self._row}
        url = told_address(self._state / "store" / "address.json").http
        with httpx.Client(trust_env=False, headers={"connection": "close"}, timeout=120) as client:
            while not self._stop.wait(_BETWEEN_SECONDS):
                try:
                    answer = client.post(f"http://{url}/v1/predict", json={"rows": [row]})
                except httpx.HTTPError as error:
                    self.wrong.append({"error": repr(error)})
                    continue
                if answer.is_success:
                    self.predictions += 1
                else:
                    self.wrong.append({"error": answer.text})

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Ask for as long as the context lasts."""
        threads = [threading.Thread(target=each) for each in (self.run, self.predict)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()


class Live:
    """What runs, and events for it: two decisions a minute, of every source that there ever was."""

    def __init__(self, folder: Path, first: Pipeline, say: Say, client: Client) -> None:
        self.state, self._folder, self._say, self._at = folder / "state", folder, say, HOUR
        self.client = client
        self._sources = first
        self.decided: list[str] = []
        self.seats: list[int | None] = []

    @property
    def kafka(self) -> str:
        """Where the broker is."""
        told, _ = posted(self.state)
        assert told is not None
        return told.kafka

    def send(self, minutes: int) -> None:
        """Send the minutes that follow, and the word that nothing before their end comes."""
        rows: dict[str, list[dict[str, Any]]] = {name: [] for name in self._sources.sources}
        for at in range(self._at, self._at + minutes * MINUTE, MINUTE // 2):
            number = at // (MINUTE // 2)
            user, name, seats = "uv"[number % 2], f"d{at}", number % 5 or None
            self.decided.append(name)
            self.seats.append(seats)
            rows["ask"].append({"at": at, "name": name, "user": user, "page": "p", "seats": seats})
            rows["done"].append({"at": at + 100, "name": name, "x": number % 3})
            click = {"user": user, "page": "pq"[number % 3 % 2], "x": number % 7}
            rows["click"].append({"at": at + 200, **click})
            rows["side"].append({"at": at + 300, "user": user, "x": 1})
        for name, each in rows.items():
            path = self._folder / f"{name}.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in each))
            by = "user" if name == "click" else None
            source = sending.live_source(self._sources, name)
            sending.send(self.kafka, source, sending.read(path, by))
        self._at += minutes * MINUTE
        sending.through(self.kafka, self._sources, self._at)

    @contextmanager
    def flowing(self) -> Iterator[None]:
        """Send minute after minute for as long as the context lasts."""
        stop = threading.Event()

        def flow() -> None:
            while not stop.wait(_A_MINUTE_SECONDS):
                self.send(1)

        thread = threading.Thread(target=flow)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def settled(self, declared: Pipeline) -> None:
        """Wait until all that was sent is learned."""

        def learned() -> bool:
            try:
                return sending.caught_up(declared, self.client.status(), self._at)
            except StoreError:  # it opens
                return False

        wait_until(learned, 200, "all of it to be learned", every_seconds=0.2)

    def changed(self, text: str, *said: str) -> list[dict[str, Any]]:
        """Plan a change, apply it while events come, verify it; give what was computed."""
        declared = pipeline(self._folder, text)
        return self._verified(declared, ("plan", declared.path), ("apply", declared.path), said)

    def taken_back(self, text: str, number: int, *said: str) -> list[dict[str, Any]]:
        """Roll back to a declaration in the same way: the file says again what it said."""
        path = self._folder / "evolving.yaml"
        back = ("rollback", path, "--to", number)
        made = self._verified(load(path, text), (*back, "--dry-run"), back, said)
        assert path.read_text() == text
        return made

    def _verified(
        self, declared: Pipeline, plan: Sequence[object], do: Sequence[object], said: Sequence[str]
    ) -> list[dict[str, Any]]:
        with self.flowing():
            status, told = self._say(*plan, "--state", self.state)
            assert (status, [each for each in said if each not in told]) == (2, []), told
            status, told = self._say(*do, "--state", self.state, "--json")
            assert status == 0, told
        made = json.loads(told)
        assert made["taken_over"]
        assert applied(self.state) == facts(declared)
        self.settled(declared)
        verdict = verify(declared, bootstrap=self.kafka, ask=self.client.sql)
        assert (verdict.mismatches, verdict.differences) == (0, [])
        assert verdict.cells > 500
        return list(made["done"])


@pytest.mark.e2e
@pytest.mark.kafka
@pytest.mark.flink
@pytest.mark.usefixtures("java_and_jars")
def test_a_pipeline_is_changed_while_it_runs(say: Say, tmp_path: Path) -> None:
    state, first = tmp_path / "state", pipeline(tmp_path, FIRST)
    asking = Asking(state, {"user": "u", "at": HOUR + 10 * MINUTE}, {"n": 5})
    with (
        (tmp_path / "output").open("wb") as output,
        up(first.path, state, output) as running,
        closing(Client(state / "store" / "address.json")) as client,
    ):
        live = Live(tmp_path, first, say, client)
        wait_until(lambda: running.poll() is None and client.healthy(), 180, "the store")
        live.send(20)
        live.settled(first)
        with asking.asking():
            said = (
                "feature m is new, count() over 1800 s: nothing",
                "view pages is new: its history is computed",
                "column seats is new to the decisions: those of before have null",
            )
            assert [each["name"] for each in live.changed(WIDER, *said)] == ["pages"]
            other = ("view clicks is another version, clicks-", "view sides is gone; its tiles")
            assert [each["name"] for each in live.changed(OTHER, *other)] == ["clicks"]
            back = ("view clicks is again clicks-", "view sides is again sides-")
            assert live.taken_back(WIDER, 2, *back) == []
        assert asking.wrong == []
        assert min(asking.answers, asking.predictions) > 100
        rows = client.sql("SELECT id FROM predictions ORDER BY seq").to_pylist()
        assert [row["id"] for row in rows] == live.decided
        seats = client.sql("SELECT seats FROM decisions ORDER BY seq")["seats"].to_pylist()
        before = next(n for n, found in enumerate(seats) if found is not None)
        assert before > 20 * 2  # none that was there when the column came has a value
        assert seats[before:] == live.seats[before:]
        running.terminate()
        assert running.wait(120) == 0
