"""Backfill: history of files and topics, then the stream takes over; no gap, nothing twice."""

from __future__ import annotations

import json
import os
import random
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from headrace.feature_store import backfill as kept
from headrace.feature_store.store import Store
from headrace.jobs import assembly
from headrace.jobs.checks import verify
from headrace.jobs.checks.verdict import Verdict
from headrace.jobs.cli.main import application
from headrace.jobs.evolve.backfill import backfilled, chosen
from headrace.jobs.evolve.rebuild import rebuild
from headrace.operators.engines.in_process import Message
from headrace.operators.errors import CorruptError, EnvironmentProblem, StoreError, UnknownName
from headrace.operators.source import Source
from headrace.pipelines.load import load
from headrace.pipelines.pipeline import Pipeline
from tests.engines import table_of
from tests.feature_store.made_up import EVERY, TEXT
from tests.jobs.by_hand import feed, said
from tests.jobs.in_memory import Log

SEAM, LAST = 10 * EVERY, 20 * EVERY
ISO = "1970-01-01T00:10:00Z"
CLICK = "click: {columns: {name: string required, user: string, page: string, x: int64}"
WHOLE = TEXT.replace(CLICK, CLICK.replace("{columns", "{lateness: 30s, columns"))
HALF = WHOLE.replace("{lateness: 30s,", f"{{lateness: 30s, files: old-*.csv, live_from: {ISO},")
Rows = Sequence[Mapping[str, object]]


def clicks() -> Rows:
    """Make clicks of all the steps, some too late; about the seam in the order of their time."""
    chance = random.Random(1)  # noqa: S311 - no secret
    times = [n * LAST // 200 for n in range(200)]
    back = {at: chance.choice((0, 0, 0, 20_000, 50_000)) for at in times}
    return [
        {
            "at": at if abs(at - SEAM) < 2 * EVERY else max(0, at - back[at]),
            "name": f"c{n}",
            "user": chance.choice(("u", "v", None)),
            "page": chance.choice(("a", "b")),
            "x": chance.choice((1, -2, 7, None)),
        }
        for n, at in enumerate(times)
    ]


def asks(first: int) -> list[Message]:
    return said(
        [
            {"at": at, "name": f"d{at}", "user": user, "page": "a", "hour": 1}
            for at in range(first, LAST, EVERY // 2)
            for user in ("u", "v")
        ]
    )


def csv(path: Path, rows: Rows) -> None:
    lines = [",".join(rows[0])]
    lines += [",".join("" if v is None else str(v) for v in row.values()) for row in rows]
    path.write_text("\n".join(lines) + "\n")


def pipeline(folder: Path, text: str) -> Pipeline:
    (folder / "p.yaml").write_text(text)
    return load(folder / "p.yaml")


def opened(folder: Path, declared: Pipeline) -> Store:
    return Store(folder / "store.duckdb", assembly.declared(declared))


def history(
    folder: Path, declared: Pipeline, topics: Mapping[str, Sequence[Message]], to: int | None = None
) -> dict[str, kept.Backfill]:
    def log(source: Source) -> tuple[pa.Table, int]:
        return table_of(topics.get(source.name, ())), source.partitions

    views = chosen(declared, [])
    done = backfilled(declared, views, log, folder / "backfills", to=to)
    return {each.name: each.backfill for each in done}


def compared(
    monkeypatch: pytest.MonkeyPatch,
    store: Store,
    declared: Pipeline,
    topics: Mapping[str, Sequence[Message]],
) -> Verdict:
    monkeypatch.setattr(
        "headrace.jobs.checks.verify.read_log", lambda _, topic: table_of(topics.get(topic, ()))
    )
    return verify.verify(declared, bootstrap="memory", ask=store.catalogue.read)


def predictions(store: Store) -> list[dict[str, object]]:
    rows = store.catalogue.read("SELECT id, n, total, last_x FROM predictions ORDER BY seq")
    return list(rows.to_pylist())


@pytest.mark.parametrize("to", [None, SEAM, SEAM + 3 * EVERY + 1])
def test_history_half_in_files_is_history_in_the_topic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: int | None
) -> None:
    rows = clicks()
    whole, half = tmp_path / "whole", tmp_path / "half"
    for folder in (whole, half):
        folder.mkdir()
    topics = {"click": said(rows), "ask": asks(SEAM)}
    declared = pipeline(whole, WHOLE)
    told = opened(whole, declared)
    feed(told, declared, topics, until=LAST)
    assert compared(monkeypatch, told, declared, topics).mismatches == 0

    # What is late is decided in a partition; in both the rows stand in one order.
    place = next(n for n, row in enumerate(rows) if int(str(row["at"])) >= SEAM)
    bad = {"at": 5, "name": "", "user": "u", "page": "a", "x": 9}
    csv(half / "old-1.csv", [*rows[:place], bad, {**bad, "name": "z", "at": SEAM}])
    declared = pipeline(half, HALF)
    with pytest.raises(StoreError, match=r"'clicks' has history in files.*headrace backfill"):
        opened(half, declared)
    later = {"click": said(rows[place:]), "ask": asks(SEAM)}
    done = history(half, declared, later, to)
    until = LAST - EVERY if to is None else to // EVERY * EVERY
    assert (done["rows.click"].rows, done["clicks"].until) == (1, until)
    store = opened(half, declared)
    assert store.complete("clicks") == store.complete("pages") == until
    feed(store, declared, later, until=LAST)
    assert compared(monkeypatch, store, declared, later).mismatches == 0
    assert predictions(store) == predictions(told)
    assert len(predictions(store)) == 2 * 2 * (LAST - SEAM) // EVERY
    letters = store.catalogue.read('SELECT source, topic, "offset", reason FROM dead_letters')
    assert letters.to_pylist() == [
        {"source": "click", "topic": "old-1.csv", "offset": place, "reason": "column name: missing"}
    ]


def test_a_new_view_of_a_topic_begins_with_its_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics = {"click": said(clicks()), "ask": asks(0)}
    old = pipeline(tmp_path, WHOLE)
    store = opened(tmp_path, old)
    feed(store, old, {"click": topics["click"][:120], "ask": topics["ask"][:40]}, until=SEAM)
    store.catalogue.close()
    more = "  both: {source: click, key: [user, page], features: {pairs: count(), most: max(x)}}\n"
    new = pipeline(tmp_path, WHOLE.replace("decision: {source", f"{more}decision: {{source"))
    with pytest.raises(StoreError, match=r"its view 'both' is new.*headrace apply"):
        opened(tmp_path, new)
    history(tmp_path, new, {"click": topics["click"][:140]})
    store = opened(tmp_path, new)
    assert store.complete("both") > store.complete("clicks") == SEAM
    feed(store, new, topics, until=LAST)
    assert compared(monkeypatch, store, new, topics).mismatches == 0
    first = store.catalogue.read("SELECT MIN(seq) AS seq FROM predictions WHERE pairs IS NOT NULL")
    assert first["seq"].to_pylist() == [len(asks(0)) // 2]


def test_a_store_that_is_made_anew_takes_the_same_history(tmp_path: Path) -> None:
    declared = pipeline(tmp_path, HALF)
    csv(tmp_path / "old-1.csv", [row for row in clicks() if int(str(row["at"])) < SEAM])
    history(tmp_path, declared, {})
    query = "SELECT * FROM views.clicks ORDER BY ALL"
    store = opened(tmp_path, declared)
    told = store.catalogue.read(query)
    store.catalogue.close()
    assert told.num_rows > 10
    assert opened(tmp_path, declared).catalogue.read(query).equals(told)  # and none of it twice
    (tmp_path / "again").mkdir()
    (tmp_path / "backfills").rename(tmp_path / "again" / "backfills")
    assert opened(tmp_path / "again", declared).catalogue.read(query).equals(told)


def test_a_backfill_that_is_told_of_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name, too: a power cut does not undo the rename."""
    synced: list[tuple[int, list[str]]] = []
    sync = os.fsync

    def noted(file: int) -> None:
        sync(file)
        if stat.S_ISDIR(os.fstat(file).st_mode):
            synced.append((os.fstat(file).st_ino, sorted(os.listdir(file))))

    monkeypatch.setattr(os, "fsync", noted)
    kept.write(tmp_path, "v1", [], until=0, rows=0, unkeyed=0)
    made, folder = (tmp_path / "v1").stat().st_ino, tmp_path.stat().st_ino
    assert synced == [(made, ["backfill.json"]), (folder, ["v1"])]


def test_a_damaged_backfill_is_refused_and_nothing_of_it_is_taken(tmp_path: Path) -> None:
    declared = pipeline(tmp_path, HALF)
    csv(tmp_path / "old-1.csv", [row for row in clicks() if int(str(row["at"])) < SEAM])
    done = history(tmp_path, declared, {})
    path = tmp_path / "backfills" / done["clicks"].version / "tiles.arrow"
    whole = path.read_bytes()
    path.write_bytes(whole[:99] + bytes([whole[99] ^ 1]) + whole[100:])
    with pytest.raises(CorruptError, match=r"its sha256 is .*run `headrace backfill` again"):
        opened(tmp_path, declared)
    path.write_bytes(whole)
    assert opened(tmp_path, declared).complete("clicks") == SEAM


def test_what_cannot_be_handed_over_is_refused(tmp_path: Path) -> None:
    declared = pipeline(tmp_path, HALF)
    csv(tmp_path / "old-1.csv", clicks())
    with pytest.raises(EnvironmentProblem, match=r"its hand-over is at 600000.*give a later --to"):
        history(tmp_path, declared, {}, to=SEAM - EVERY)
    with pytest.raises(UnknownName, match=r"view 'click'.*'clicks'"):
        chosen(declared, ["click"])


def test_files_alone_are_complete_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = WHOLE.replace(
        "views:\n",
        (
            "  old: {columns: {user: string, x: int64}, files: old-*.csv}\nviews:\n"
            "  before: {source: old, key: user, features: {ever: sum(x)}}\n"
        ),
    )
    declared = pipeline(tmp_path, text)
    csv(tmp_path / "old-1.csv", [{"at": 5, "user": "u", "x": 4}, {"at": 9, "user": "u", "x": 3}])
    topics = {"click": said(clicks()), "ask": asks(0)}
    history(tmp_path, declared, topics, to=0)
    store = opened(tmp_path, declared)
    assert "before" not in declared.streamed
    feed(store, declared, topics, until=LAST)
    assert compared(monkeypatch, store, declared, topics).mismatches == 0
    found = store.catalogue.read(
        "SELECT DISTINCT ever FROM predictions JOIN decisions AS d USING (seq) "
        f'WHERE d."user" = \'u\' AND d."at" >= {EVERY}'
    )
    assert found["ever"].to_pylist() == [7]


def test_the_command_says_how_far_it_came(tmp_path: Path) -> None:
    csv(tmp_path / "old-1.csv", clicks())
    declared = pipeline(tmp_path, HALF)
    asked = ["backfill", str(declared.path), "--state", str(tmp_path / "state")]
    said = CliRunner().invoke(application, asked)
    assert said.exit_code == 0, said.output
    lines = [line.split() for line in said.output.splitlines()[1:]]
    assert lines[0][:2] == ["clicks", ISO]
    assert [line[0] for line in lines] == ["clicks", "pages", "rows.click"]
    told = CliRunner().invoke(application, [*asked, "--view", "clicks", "--json"])
    assert [each["name"] for each in json.loads(told.output)] == ["clicks", "rows.click"]
    wrong = CliRunner().invoke(application, [*asked, "--to", "soon"])
    assert wrong.exit_code == 2
    assert "write it like 2013-02-01T05:00:00Z" in " ".join(wrong.output.split())
    (tmp_path / "state" / "store" / "backfills").rename(tmp_path / "backfills")
    assert opened(tmp_path, declared).complete("pages") == SEAM


def test_a_rebuilt_file_has_what_was_backfilled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log()
    log.install(monkeypatch)
    declared, folder = pipeline(tmp_path, WHOLE), tmp_path / "store"
    history(folder, declared, {"click": said(clicks())})
    log.process(declared, folder).close()
    made = rebuild(declared, bootstrap="memory", folder=folder, models=folder / "models")
    tiles = [each for each in made if each.table.startswith("tiles.")]
    assert [each.same for each in tiles] == [True, True]
    assert min(each.rows for each in tiles) > 10
