"""The store process keeps each raw event once, with its offset; what is gone is named."""

from __future__ import annotations

import logging
from pathlib import Path

import orjson
import pyarrow as pa
import pytest

from headrace.feature_store import versions
from headrace.feature_store.events import Said
from headrace.jobs import raw_events
from headrace.jobs.evolve.rebuild import rebuild
from headrace.jobs.store import StoreProcess
from headrace.jobs.transport import LogGap
from headrace.operators.errors import HeadraceError
from headrace.pipelines.load import load
from tests.feature_store.made_up import TEXT, decisions, pipeline
from tests.jobs.in_memory import Killed, Log


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    made = Log()
    made.install(monkeypatch)
    monkeypatch.setattr(raw_events, "_REST_SECONDS", 0)
    return made


def click(at: int, **more: object) -> bytes:
    return orjson.dumps({"at": at, "name": "n", "user": "u", "x": at % 7, **more})


def kept(process: StoreProcess, source: str = "click") -> list[tuple[object, ...]]:
    query = f'SELECT "offset", "at", came_late, name, x FROM events.{source} ORDER BY ALL'
    return [tuple(row.values()) for row in process.store.catalogue.select(query).to_pylist()]


def test_events_are_kept_with_their_place_and_dead_letters_are_not(
    tmp_path: Path, log: Log
) -> None:
    small = pipeline(tmp_path)
    log.put("click", click(100), b"?", click(90), b'{"at": 200}', b'{"at": 300, "x": 1}')
    process = log.process(small, tmp_path / "store")
    assert process.lag()["click", 0] == 5
    assert process.step()
    wanted = [(0, 100, False, "n", 2), (2, 90, True, "n", 6)]  # 3 is a progress event
    assert kept(process) == wanted
    assert process.read["click", 0] == 5
    assert process.lag()["click", 0] == 0
    process.close()
    again = log.process(small, tmp_path / "store")
    # 300 was of a dead letter, and moved the bound as in any engine.
    log.put("click", click(299), click(300))
    again.step()
    assert kept(again) == [*wanted, (5, 299, True, "n", 5), (6, 300, False, "n", 6)]
    names = again.store.catalogue.select("SELECT table_name FROM information_schema.tables")
    assert {"ask", "click"} <= set(names["table_name"].to_pylist())
    again.close()


@pytest.mark.parametrize("statement", ["INSERT", "UPDATE offsets", "COMMIT"])
def test_killed_in_a_transaction_nothing_is_lost_or_doubled(
    tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    small = pipeline(tmp_path)
    log.put("click", *map(click, range(50)))
    process = log.process(small, tmp_path / "store")
    append = process.store.catalogue.append

    def dies(table: str, rows: object) -> None:
        append(table, rows)
        if table.startswith("rows.") and statement == "INSERT":
            raise Killed

    def torn(moved: object) -> None:
        del moved
        raise Killed

    monkeypatch.setattr(process.store.catalogue, "append", dies)
    if statement != "INSERT":
        where = "advance" if statement.startswith("UPDATE") else "_check_owner"
        monkeypatch.setattr(process.store.catalogue, where, torn)
    with pytest.raises(Killed):
        process.step()
    process.store.catalogue.close()
    again = log.process(small, tmp_path / "store")
    assert kept(again) == []
    again.step()
    assert [row[0] for row in kept(again)] == [*range(50)]
    again.close()


def test_what_the_topic_has_lost_is_named(
    tmp_path: Path, log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    """Before it was ever read, while nothing ran, and while it runs."""
    small = pipeline(tmp_path)
    log.put("click", *map(click, range(100)))
    log.lost["click", 0] = 10
    with caplog.at_level(logging.WARNING):
        process = log.process(small, tmp_path / "store")
    assert "offset 0 is gone, the earliest is 10, 10 messages are lost" in caplog.text
    process.step()
    assert [row[0] for row in kept(process)] == [*range(10, 100)]
    log.put("click", *map(click, range(100, 130)))
    log.lost["click", 0] = 110
    process.step()  # the gap
    process.step()
    process.close()
    log.put("click", *map(click, range(130, 140)))
    log.lost["click", 0] = 135
    again = log.process(small, tmp_path / "store")
    again.step()
    assert [row[0] for row in kept(again)] == [
        *range(10, 100),
        *range(110, 130),
        *range(135, 140),
    ]
    gaps = again.store.catalogue.select("SELECT first, next FROM gaps ORDER BY ALL")
    found = [(row["first"], row["next"]) for row in gaps.to_pylist()]
    assert found == [(0, 10), (100, 110), (130, 135)]
    again.close()
    del log.messages["click", 0][50:]
    with pytest.raises(LogGap, match="it is not the log that was read before"):
        log.process(small, tmp_path / "store")


def test_a_topic_may_have_more_partitions_than_are_declared(tmp_path: Path, log: Log) -> None:
    log.put("click", click(1))
    log.put("click", click(2), click(3), partition=7)
    process = log.process(pipeline(tmp_path), tmp_path / "store")
    process.step()
    assert {row[1] for row in kept(process)} == {1, 2, 3}
    process.close()
    log.put("click", click(1), partition=7)
    again = log.process(pipeline(tmp_path), tmp_path / "store")
    again.step()
    found = [(row[1], row[2]) for row in kept(again)]
    assert sorted(found, key=repr) == [(1, False), (1, True), (2, False), (3, False)]
    again.close()


def test_a_source_may_not_be_kept(tmp_path: Path, log: Log) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(TEXT.replace("click: {columns", "click: {keep: false, columns"))
    small = load(path)
    assert small.digest == pipeline(tmp_path).digest  # it is no part of what the pipeline means
    log.put("click", click(1))
    log.put("ask", b'{"at": 1, "name": "a"}')
    process = log.process(small, tmp_path / "store")
    process.step()
    assert ("click", 0) not in process.read
    count = process.store.catalogue.select("SELECT COUNT(*) AS n FROM events.ask")
    assert count["n"].to_pylist() == [1]
    with pytest.raises(HeadraceError, match=r"events\.click"):
        kept(process)
    process.close()


def test_few_messages_are_read_once_a_second(
    tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch has its price; decisions do not wait for it."""
    monkeypatch.setattr(raw_events, "_REST_SECONDS", 1.0)
    clock, work = [100.0], [0.0]
    monkeypatch.setattr("headrace.jobs.raw_events.time.monotonic", lambda: clock[0])
    monkeypatch.setattr("headrace.jobs.raw_events.time.thread_time", lambda: work[0])
    small = pipeline(tmp_path)
    process = log.process(small, tmp_path / "store")
    for at in range(3):
        log.put("click", click(at))
        log.put(small.decisions_topic, decisions(60_000 * (at + 1)))
        process.step()
        assert process.read[small.decisions_topic, 0] == at + 1
    assert process.read["click", 0] == 1
    clock[0] += 1.5
    read = process.store.events.read

    def slow(name: str, rows: pa.Table) -> Said:
        work[0] += 0.5
        return read(name, rows)

    monkeypatch.setattr(process.store.events, "read", slow)
    assert process.step()
    assert process.read["click", 0] == 3
    log.put("click", click(9))
    for seconds, at in ((6, 3), (6, 4)):  # after long work it rests longer
        clock[0] += seconds
        process.step()
        assert process.read["click", 0] == at
    process.close()


def test_a_rebuild_reads_them_again(tmp_path: Path, log: Log) -> None:
    small, folder = pipeline(tmp_path), tmp_path / "store"
    log.put("click", *map(click, (5, 3, 9)), b"?")
    process = log.process(small, folder)
    process.step()
    process.close()
    made = rebuild(small, bootstrap="memory", folder=folder, models=folder / "models")
    table = versions.events_table(versions.events_version(small.sources["click"]))
    assert [(each.rows, each.same) for each in made if each.table == table] == [(3, True)]
    assert all(each.same for each in made)


def test_the_names_of_events_are_reserved(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(TEXT.replace("x: int64}", "came_late: int64}"))
    with pytest.raises(HeadraceError, match="headrace uses it itself"):
        load(path)
