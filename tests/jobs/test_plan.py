"""Plan and apply: what a change takes, said before; what it does, and that nothing is lost."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from headrace.feature_store.history import History
from headrace.feature_store.versions import events_version, held
from headrace.jobs import assembly, transport, views
from headrace.jobs.cli.main import application
from headrace.jobs.evolve import raw_log
from headrace.jobs.evolve.apply import apply, living, panes_of, starts_at
from headrace.jobs.evolve.plan import Plan, applied, note_applied, plan
from headrace.jobs.evolve.raw_log import Topics
from headrace.jobs.machine import local
from headrace.jobs.machine.state import write_json
from headrace.operators.engines import in_process
from headrace.operators.engines.in_process import Message
from headrace.operators.errors import EnvironmentProblem, HeadraceError, UnknownName
from headrace.operators.identity import version
from headrace.pipelines.pipeline import Pipeline
from tests.engines import table_of
from tests.feature_store.made_up import EVERY
from tests.jobs.by_hand import feed, said
from tests.jobs.test_backfill import LAST, SEAM, WHOLE, asks, clicks, compared, opened, pipeline

BOTH = "  both: {source: click, key: [user, page], features: {pairs: count(), most: max(x)}}\n"
NEW_VIEW = WHOLE.replace("decision: {source", f"{BOTH}decision: {{source")
WINDOW = WHOLE.replace("n: count() over 2m,", "n: count() over 2m, m: count() over 9m,")


class Kafka:
    """A broker's topics in memory, as far as plan and apply look at them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.topics: dict[str, Sequence[Message]] = {"click": said(clicks()), "ask": asks(0)}
        self.committed: dict[tuple[str, int], int] = {}
        monkeypatch.setattr(raw_log, "read_log", self.read)
        monkeypatch.setattr(transport, "topics", lambda _: set(self.topics))
        monkeypatch.setattr(transport, "create_topics", lambda *_: None)
        monkeypatch.setattr(transport, "partitions", lambda *_: 1)
        monkeypatch.setattr(transport, "ends", lambda _, t: {(t[0], 0): len(self.topics[t[0]])})
        monkeypatch.setattr(transport, "begins", lambda _, t: {(t[0], 0): 0})
        monkeypatch.setattr(transport, "committed", lambda *_: self.committed)

    def read(self, _: str, topic: str, *, most_rows: int | None = None) -> pa.Table:
        """Read a topic."""
        return table_of(list(self.topics[topic])[:most_rows])


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> Kafka:
    return Kafka(monkeypatch)


def planned(folder: Path, text: str) -> tuple[Pipeline, Plan]:
    """Plan a change of the pipeline that ran last in a state folder."""
    if not (folder / "applied.json").exists():
        note_applied(pipeline(folder, WHOLE), folder)
    declared = pipeline(folder, text)
    return declared, plan(declared, applied(folder), Topics("memory"))


class Nothing:
    """A supervisor that starts nothing."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __enter__(self) -> Nothing:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def start(self, *_: object) -> None:
        """Start nothing."""

    wait_ready = start


@pytest.mark.parametrize("roles", [[], ["store"], ["views", "store"]])
def test_a_pipeline_is_applied_where_its_views_job_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, roles: Sequence[str]
) -> None:
    """To verify, or to rebuild, a store with a changed file is no start of that pipeline."""
    monkeypatch.setattr(local, "Supervisor", Nothing)
    monkeypatch.setattr(transport, "create_topics", lambda *_: None)
    note_applied(pipeline(tmp_path, WHOLE), tmp_path)
    before = applied(tmp_path)
    with local.running(pipeline(tmp_path, NEW_VIEW), tmp_path, roles=roles):
        assert (applied(tmp_path) == before) == ("views" not in roles)


def sentences(made: Plan) -> list[str]:
    return [f"{change.what} {change.name} {change.says}" for change in made.changes]


FREE = "nothing is computed, for the tiles are there"
PLANS = {
    "nothing": (("x", "x"), []),
    "a window": (
        ("n: count() over 2m,", "n: count() over 2m, m: count() over 9m,"),
        [f"feature m is new, count() over 540 s: {FREE}"],
    ),
    "another window": (
        ("n: count() over 2m", "n: count() over 3m"),
        [f"feature n was count() over 120 s and is count() over 180 s: {FREE}"],
    ),
    "a feature that goes": (
        (", total: sum(x) over 1h", ", all: sum(x)"),
        [f"feature all is new, sum(x): {FREE}", "feature total is gone"],
    ),
    "a view": (
        ("decision: {source", f"{BOTH}decision: {{source"),
        [
            "view both is new: its history is computed",
            "job views job starts anew: from where all that it makes is complete",
        ],
    ),
    "a label": (
        ("label: x >= 5", "label: x >= 6"),
        [
            "outcome outcome is another: labels from here on are by it, and those before stay",
            "job labels job starts anew, from the beginning of the log",
        ],
    ),
    "other tokens": (
        ("tokens: [hour, n]", "tokens: [hour]"),
        ["model model is another and learns anew: start in a fresh state folder"],
    ),
}


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_says_what_changes(tmp_path: Path, kafka: Kafka, name: str) -> None:
    (right, wrong), told = PLANS[name]
    del kafka
    assert WHOLE.count(right) >= 1
    assert sentences(planned(tmp_path, WHOLE.replace(right, wrong))[1]) == told


def test_what_only_questions_read_is_read_anew(tmp_path: Path, kafka: Kafka) -> None:
    """No view changes; the events of before stay, also where none are kept any more."""
    old = events_version(pipeline(tmp_path, WHOLE).sources["click"])
    text = WHOLE.replace("click: {", "click: {derive: {known: x IS NULL}, ")
    made = planned(tmp_path, text)[1]
    stay = f"those of before stay until `headrace drop {old}`"
    assert f"events click are read anew from the topic; {stay}" in sentences(made)
    assert made.costs == ()
    made = planned(tmp_path, WHOLE.replace("click: {", "click: {keep: false, "))[1]
    assert sentences(made) == [f"events click are kept no more; {stay}"]
    del kafka


def test_another_aggregate_is_another_version_with_its_cost(tmp_path: Path, kafka: Kafka) -> None:
    declared, made = planned(tmp_path, WHOLE.replace("total: sum(x)", "total: max(x)"))
    old = version(pipeline(tmp_path, WHOLE).views["clicks"])
    first = sentences(made)[0]
    assert first == (
        f"view clicks is another version, {version(declared.views['clicks'])}: its history is "
        f"computed, and that of {old} stays until it is dropped"
    )
    assert made.unchanged == ("pages",)
    (cost,) = made.costs
    assert (cost.view, cost.rows) == ("clicks", len(kafka.topics["click"]))
    assert cost.size_bytes > 500


def test_decisions_that_are_others_are_refused_before_anything_is_done(
    tmp_path: Path, kafka: Kafka
) -> None:
    text = NEW_VIEW.replace("ask: {columns", "ask: {lateness: 5s, columns")
    declared, made = planned(tmp_path, text)
    with pytest.raises(EnvironmentProblem, match=r"decisions are others.*start in a fresh state"):
        apply(declared, made, tmp_path, Topics("memory"))
    assert not (tmp_path / "store").exists()
    del kafka


ADDED = ("page: string, x: int64", "page: string, x: int64, referrer: string")
BREAKING = {
    "a column that a view needs goes": (
        (", x: int64", ""),
        r"10:43: asked for the column 'x'; known: 'name', 'page', 'user'",
    ),
    "a key is of another type": (
        ("user: string, page: string, x", "user: int64, page: string, x"),
        r"9:10: asked for 'user' as the key of the view 'clicks'; it is string in 'ask'",
    ),
    "what was served is of another type": (
        ("x: int64", "x: float64"),
        r"total is float64 and was int64, as what was served is kept; give it another name",
    ),
    "a column of decisions goes": (
        (", wind: float64", ""),
        r"decisions are others without the column 'wind', and they are numbered; start in a fresh",
    ),
    "a column of decisions is of another type": (
        ("wind: float64", "wind: int64"),
        r"its wind is int64 and was float64, as what was served is kept; give it another name",
    ),
    "a new column of decisions may not be missing": (
        ("wind: float64", "wind: float64, gate: string required"),
        r"decisions are others, and they are numbered; start in a fresh",
    ),
}


def test_decisions_may_get_a_column(tmp_path: Path, kafka: Kafka) -> None:
    began(tmp_path, kafka)
    wider = WHOLE.replace("wind: float64", "wind: float64, gate: string, seats: int64")
    declared, made = planned(tmp_path, wider)
    said = [f"{each.what} {each.name} {each.says}" for each in made.changes]
    null = "is new to the decisions: those of before have null"
    assert {f"column gate {null}", f"column seats {null}"} <= {*said}
    assert [change for change in made.changes if change.refused] == []
    apply(declared, made, tmp_path, Topics("memory"))
    store = opened(tmp_path / "store", declared)
    found = store.catalogue.read("SELECT COUNT(*) AS n, COUNT(gate) AS g FROM decisions")
    assert found["n"][0].as_py() > 0 == found["g"][0].as_py()
    store.catalogue.close()


def test_a_column_that_is_added_to_a_source_changes_no_view(tmp_path: Path, kafka: Kafka) -> None:
    began(tmp_path, kafka)
    declared, made = planned(tmp_path, WHOLE.replace(*ADDED))
    assert made.unchanged == ("clicks", "pages")
    assert (made.costs, [change for change in made.changes if change.refused]) == ((), [])
    apply(declared, made, tmp_path, Topics("memory"))
    opened(tmp_path / "store", declared).catalogue.close()


@pytest.mark.parametrize("name", BREAKING)
def test_a_change_that_breaks_a_source_is_refused_with_its_reason(
    tmp_path: Path, kafka: Kafka, name: str
) -> None:
    (right, wrong), reason = BREAKING[name]
    began(tmp_path, kafka)
    assert right in WHOLE

    def change() -> None:
        declared, made = planned(tmp_path, WHOLE.replace(right, wrong))
        apply(declared, made, tmp_path, Topics("memory"))

    with pytest.raises(HeadraceError, match=reason):
        change()
    opened(tmp_path / "store", pipeline(tmp_path, WHOLE)).catalogue.close()  # as it was


def began(folder: Path, kafka: Kafka) -> None:
    """Leave a store that has come to SEAM, as the old pipeline runs."""
    (folder / "store").mkdir(parents=True)
    old = pipeline(folder, WHOLE)
    store = opened(folder / "store", old)
    feed(store, old, kafka.topics, until=SEAM)
    store.catalogue.close()
    note_applied(old, folder)


@pytest.mark.parametrize("text", [WINDOW, NEW_VIEW, WHOLE.replace("sum(x)", "max(x)")])
def test_what_is_applied_takes_over(
    tmp_path: Path, kafka: Kafka, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    began(tmp_path, kafka)
    kafka.committed = {(topic, 0): len(rows) for topic, rows in kafka.topics.items()}
    declared, made = planned(tmp_path, text)
    done = apply(declared, made, tmp_path, Topics("memory"))
    store = opened(tmp_path / "store", declared)
    assert (done.starts is None) == (text == WINDOW)
    # The new job reads from its start; panes that it makes of less than all are passed over.
    starts = {"click": 0, "ask": 0} | {topic: at for (topic, _), at in (done.starts or {}).items()}
    rest = {topic: rows[starts[topic] :] for topic, rows in kafka.topics.items()}
    assert text == WINDOW or all(0 < len(rest[topic]) < len(kafka.topics[topic]) for topic in rest)
    feed(store, declared, rest, until=LAST)
    assert compared(monkeypatch, store, declared, kafka.topics).mismatches == 0


def test_a_version_that_is_there_still_is_taken_up_and_not_computed(
    tmp_path: Path, kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change is taken back: the store has the tiles of before, and lacks those since alone."""
    began(tmp_path, kafka)
    kafka.committed = {(topic, 0): len(rows) for topic, rows in kafka.topics.items()}
    declared, made = planned(tmp_path, WHOLE.replace("sum(x)", "max(x)"))
    first = apply(declared, made, tmp_path, Topics("memory")).starts
    store, between = opened(tmp_path / "store", declared), SEAM + 5 * EVERY
    feed(store, declared, kafka.topics, until=between)
    store.catalogue.close()
    note_applied(declared, tmp_path)

    back = pipeline(tmp_path, WHOLE)
    there = living(panes_of(tmp_path))
    made = plan(back, applied(tmp_path), Topics("memory"), living=there)
    name = version(back.views["clicks"])
    assert there[name] == SEAM
    assert sentences(made)[0] == (
        f"view clicks is again {name}, which is there to 1970-01-01 00:10:00: nothing is computed, "
        "and the stream goes on from there"
    )
    done = apply(back, made, tmp_path, Topics("memory"))
    assert (done.done, done.starts) == ((), first)
    store = opened(tmp_path / "store", back)
    assert store.complete("clicks") == SEAM
    assert store.complete("pages") == between
    rest = {topic: rows[(first or {})[topic, 0] :] for topic, rows in kafka.topics.items()}
    feed(store, back, rest, until=LAST)
    assert compared(monkeypatch, store, back, kafka.topics).mismatches == 0


def test_the_start_is_kept_for_the_job_of_its_sql(tmp_path: Path, kafka: Kafka) -> None:
    began(tmp_path, kafka)
    kafka.committed = {("click", 0): 90, ("ask", 0): 30}
    declared, made = planned(tmp_path, NEW_VIEW)
    done = apply(declared, made, tmp_path, Topics("memory"))
    assert views._starts(declared, tmp_path / "views") == done.starts
    assert views._starts(pipeline(tmp_path, WHOLE), tmp_path / "views") == {}


def logs(seed: int) -> list[Message]:
    chance = random.Random(seed)  # noqa: S311 - no secret
    made: list[Message] = []
    for partition in (0, 1):
        rows = []
        for n in range(chance.randrange(40)):
            at = n * 3_000 + chance.choice((0, 0, -40_000, 9_000))
            name = chance.choice(("a", "a", None))
            rows.append({"at": max(at, 0), "name": name, "user": "u", "page": "a", "x": 1})
        made += [m if chance.random() > 0.1 else (*m[:3], b"?") for m in said(rows, partition)]
    return made


@pytest.mark.parametrize("seed", range(40))
def test_from_its_start_on_every_row_is_as_late_as_it_was(tmp_path: Path, seed: int) -> None:
    declared = pipeline(tmp_path, WHOLE)
    source, log = declared.sources["click"], logs(seed)
    chance = random.Random(seed + 1000)  # noqa: S311 - no secret
    complete = chance.randrange(5) * EVERY
    ends = {p: sum(m[0] == p for m in log) for p in (0, 1)}
    written = {("click", p): chance.randrange(end + 1) for p, end in ends.items()}
    store = assembly.declared(declared)
    with History(store, declared.sources) as history:
        history.load("click", table_of(log))
        starts = starts_at(history, source, complete, written)
    behind = [m for m in log if m[1] >= starts.get(("click", m[0]), 0)]
    whole, part = in_process.events(source, log), in_process.events(source, behind)

    def told(found: in_process.Events) -> dict[tuple[int, int], str]:
        kept = {(e.partition, e.offset): "" for e in found.events}
        return kept | {(r.partition, r.offset): r.reason for r in (*found.dead, *found.late)}

    every = told(whole)
    assert told(part) == {(m[0], m[1]): every[m[0], m[1]] for m in behind}
    for event in whole.events:
        assert event.at < complete or event.offset >= starts["click", event.partition]
    for (_, partition), offset in written.items():
        assert starts.get(("click", partition), 0) <= offset


def test_a_topic_that_does_not_reach_back_is_refused(tmp_path: Path) -> None:
    declared = pipeline(tmp_path, WHOLE)
    log = [(0, 7 + n, *message[2:]) for n, message in enumerate(said(clicks())[100:])]
    with History(assembly.declared(declared), declared.sources) as history:
        history.load("click", table_of(log))
        source = declared.sources["click"]
        assert starts_at(history, source, LAST, {("click", 0): 200}).keys() == {("click", 0)}
        gone = r"from 1970-01-01 00:01:00 on; it begins at offset 7, and what was before is gone"
        with pytest.raises(EnvironmentProblem, match=gone):
            starts_at(history, source, EVERY, {("click", 0): 200})


def test_an_old_version_is_dropped_when_nobody_has_it(tmp_path: Path, kafka: Kafka) -> None:
    began(tmp_path, kafka)
    old = version(pipeline(tmp_path, WHOLE).views["clicks"])
    text = WHOLE.replace("total: sum(x)", "total: max(x)")
    declared, made = planned(tmp_path, text)
    apply(declared, made, tmp_path, Topics("memory"))
    opened(tmp_path / "store", declared).catalogue.close()
    write_json(tmp_path / "lock", {})

    def drop(name: str) -> str:
        said = CliRunner().invoke(application, ["drop", name, "--state", str(tmp_path)])
        return str(said.exception or said.output)

    assert "the pipeline that ran last has it" in drop(old)
    note_applied(declared, tmp_path)
    assert drop(old).strip() == f"{old} is dropped"
    with pytest.raises(UnknownName, match="version"):
        CliRunner().invoke(
            application, ["drop", old, "--state", str(tmp_path)], catch_exceptions=False
        )
    store = opened(tmp_path / "store", declared)
    assert held(store.catalogue) == set(store.versions.values())
    assert store.complete("clicks") >= SEAM


def test_the_commands_plan_and_apply(
    tmp_path: Path, kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    began(tmp_path, kafka)
    monkeypatch.setattr(raw_log, "holder", lambda _: (1, "demo"))
    monkeypatch.setattr("headrace.jobs.machine.broker.standing", lambda _: "memory")
    path = str(pipeline(tmp_path, NEW_VIEW).path)
    asked = [path, "--state", str(tmp_path)]
    said_so = CliRunner().invoke(application, ["plan", *asked])
    assert said_so.exit_code == 2, said_so.output
    assert "view both is new: its history is computed" in said_so.output
    assert "unchanged: clicks, pages" in said_so.output
    told = json.loads(CliRunner().invoke(application, ["apply", *asked, "--json"]).output)
    assert [each["name"] for each in told["done"]] == ["both"]
    assert told["taken_over"] is False  # nothing is up
    assert CliRunner().invoke(application, ["plan", *asked]).exit_code == 2  # it runs not yet
    note_applied(pipeline(tmp_path, NEW_VIEW), tmp_path)
    nothing = CliRunner().invoke(application, ["plan", *asked])
    assert (nothing.exit_code, nothing.output.splitlines()[-1]) == (0, "nothing changes")
