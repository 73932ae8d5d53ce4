"""The events that a store keeps are those of the oracle, however the log is cut and read again."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from headrace.feature_store import backfill, upkeep, versions
from headrace.feature_store.events import Events
from headrace.feature_store.store import Declared, Store
from headrace.operators.engines import in_process
from headrace.operators.engines.duckdb_log import kept_types
from headrace.operators.engines.in_process import Message
from headrace.operators.errors import StoreError, UnknownName
from headrace.operators.source import Column, Source
from headrace.operators.types import Type
from tests import random_logs
from tests.engines import table_of
from tests.random_logs import EACH

LOGS, SEED = 12, 20130101
CLICKS = Source("clicks", "clicks", (Column("x", Type.INT64),), lateness_ms=10)


def store(folder: Path, *sources: Source) -> Store:
    """Open a store without views that keeps the events of these sources."""
    folder.mkdir(exist_ok=True)
    said = Declared(1, {}, CLICKS, "x", {}, kept={source.name: source for source in sources})
    return Store(folder / "store.duckdb", said)


def take(events: Events, opened: Store, name: str, log: Sequence[Message]) -> None:
    """Take in messages as the store process does."""
    told = events.read(name, table_of(log))
    with opened.catalogue.transaction():
        events.add(told)


def rows(opened: Store, name: str) -> list[str]:
    query = f'SELECT * FROM events.{name} ORDER BY partition, "offset"'
    return list(map(repr, opened.catalogue.select(query).to_pylist()))


def truth(source: Source, log: Sequence[Message]) -> list[str]:
    """Give what the oracle reads, late rows with their values."""
    late = {(row.partition, row.offset) for row in in_process.events(source, log).late}
    all_of_them = in_process.events(replace(source, lateness_ms=10**15), log).events
    names = [*kept_types(source)]
    found = [
        {
            **each.values,
            "partition": each.partition,
            "offset": each.offset,
            "came_late": (each.partition, each.offset) in late,
        }
        for each in sorted(all_of_them, key=lambda each: (each.partition, each.offset))
        if any(each.values[column.name] is not None for column in source.columns)
    ]
    return [repr({name: row[name] for name in names}) for row in found]


@pytest.mark.parametrize("batches", [1, 7])
def test_events_are_the_oracles_however_the_log_is_cut(tmp_path: Path, batches: int) -> None:
    """Also where the process begins again between two batches."""
    dice = random.Random(SEED)  # noqa: S311 - no secret
    made = random_logs.made(LOGS, SEED)
    log = [each for n, one in enumerate(made) for each in random_logs.messages(one, n)]
    source = replace(random_logs.SOURCE, partitions=LOGS * EACH)
    cuts = [dice.randrange(batches) for _ in log]
    opened = store(tmp_path, source)
    for batch in range(batches):
        # Each partition in its order: a message goes to the batch of the last one before it.
        highest: dict[int, int] = {}
        some = []
        for message, cut in zip(log, cuts, strict=True):
            highest[message[0]] = max(cut, highest.get(message[0], 0))
            if highest[message[0]] == batch:
                some.append(message)
        take(opened.events, opened, source.name, some)
        opened.catalogue.close()
        opened = store(tmp_path, source)
    wanted = truth(source, log)
    assert len(wanted) > 100
    assert sum("'came_late': True" in row for row in wanted) > 10
    assert rows(opened, source.name) == wanted
    opened.catalogue.close()
    assert upkeep.check(tmp_path / "store.duckdb") == []


def test_what_is_declared_otherwise_is_another_table(tmp_path: Path) -> None:
    """The old one stays until it is dropped; one that is not kept any more is not shown."""
    log = [(0, 0, 0, b'{"at": 1, "x": 5}')]
    opened = store(tmp_path, CLICKS)
    take(opened.events, opened, "clicks", log)
    opened.catalogue.close()
    other = replace(CLICKS, lateness_ms=20)
    opened = store(tmp_path, other)
    assert opened.events.kept(("clicks", 3)) == (versions.events_version(other), 3)
    assert rows(opened, "clicks") == []
    old = versions.events_version(CLICKS)
    kept = opened.catalogue.read(f'SELECT COUNT(*) AS n FROM rows."{old}"')
    assert kept["n"].to_pylist() == [1]
    opened.catalogue.close()
    versions.drop(tmp_path / "store.duckdb", old)
    opened = store(tmp_path)
    assert [name for name in opened.catalogue.tables() if name.startswith("rows.")] == [
        versions.events_table(versions.events_version(other))
    ]
    with pytest.raises(UnknownName, match=r"events\.clicks"):
        opened.catalogue.select("SELECT * FROM events.clicks")
    opened.catalogue.close()


def test_the_events_of_files_are_taken_once(tmp_path: Path) -> None:
    """They are those of a backfill; without it there is none, and that is said."""
    source = replace(CLICKS, files="x/*.csv", live_from_ms=100)
    version = versions.rows_version(source)

    def written(*tables: str) -> None:
        row = {"at": 5, "partition": 50_000, "offset": 0, "came_late": False, "x": 7}
        kinds = pa.schema([(name, kind.arrow) for name, kind in kept_types(source).items()])
        readers = ((name, pa.Table.from_pylist([row], kinds).to_reader()) for name in tables)
        folder = tmp_path / "backfills"
        backfill.write(folder, version, readers, until=100, rows=0, unkeyed=0)

    written()
    with pytest.raises(StoreError, match=r"its events were not computed; run `headrace backfill`"):
        store(tmp_path, source)
    written("events")
    for _ in range(2):
        opened = store(tmp_path, source)
        assert len(rows(opened, "clicks")) == 1
        opened.catalogue.close()
    opened = store(tmp_path, source)
    take(
        opened.events,
        opened,
        "clicks",
        [(0, n, 0, b'{"at": %d, "x": 0}' % at) for n, at in enumerate((99, 100))],
    )
    query = 'SELECT "at", came_late FROM events.clicks ORDER BY ALL'
    found = [(row["at"], row["came_late"]) for row in opened.catalogue.select(query).to_pylist()]
    assert found == [(5, False), (99, True), (100, False)]  # the files have what is before 100
    opened.catalogue.close()
