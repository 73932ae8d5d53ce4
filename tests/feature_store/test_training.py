"""Training sets: a row out for each row in, by the index, by DuckDB, as the oracle says."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.feature_store import past
from headrace.feature_store.index import Index
from headrace.feature_store.online import OnlineReader
from headrace.feature_store.past import Events, Past, Tiles
from headrace.feature_store.training import Asking, TrainingSet
from headrace.operators.engines import in_process
from headrace.operators.engines.duckdb import quote, rows_sql, tiles_sql
from headrace.operators.engines.in_process import Event
from headrace.operators.errors import StoreError, UnknownName
from headrace.operators.status import STATUS_SUFFIX, Status
from headrace.operators.view import END, Feature, View
from headrace.pipelines import feature
from headrace.pipelines.values import duration
from tests import logs
from tests.engines import rows_in_process
from tests.logs import EVERY, KEYS, SOURCE, VIEWS

HUGE = 2**53 + 1
_SAID = ("k", "h", "g", "i", "w", "c", "x", "z", "s", "b", "n", "m")
# Put one after the other these keys are the same text.
_K, _H = ('"1"', '"11"', '""', None), ('"12"', '"2"', '"112"', None)
NEWEST = View(
    "newest",
    SOURCE,
    ("h", "k"),
    EVERY,
    tuple(
        Feature(
            f"newest_{place}", asked.aggregate, duration(asked.window) if asked.window else None
        )
        for place, asked in enumerate(
            feature.parse(text, SOURCE)
            for text in ("latest(w)", "latest(s) within 3s", "latest(x)", "age() within 2s")
        )
    ),
)
ALL = {**VIEWS, "newest": NEWEST}
_EVENTS = Events("events")
COLUMNS = {**KEYS, "newest": ("h", "k")}


def history(seed: int, count: int) -> list[Event]:
    """Make events that meet in tiles, tie, and lie at the bounds of steps."""
    dice = random.Random(seed)  # noqa: S311 - no secret
    log = []
    for place in range(count):
        cells = {name: dice.choice(logs.CELLS[name]) for name in _SAID}
        few = {"name": '"id"', "k": dice.choice(_K), "h": dice.choice(_H)}
        few |= {"g": dice.choice(("0", "7", None)), "w": dice.choice(("3", "-1", "null"))}
        at = 12 * EVERY * place // count // 250 * 250 - dice.choice((0, 0, 1))
        log.append((dice.randrange(2), logs.payload(str(max(0, at)), {**cells, **few})))
    return in_process.events(SOURCE, logs.placed(log)).events


def decisions(seed: int, events: Sequence[Event], count: int) -> pa.Table:
    """Make decisions: some twice, of keys unknown or null, at the bounds and far from them."""
    dice = random.Random(seed)  # noqa: S311 - no secret
    rows = []
    for place in range(count):
        event = dice.choice(events)
        shift = dice.choice((0, 1, EVERY - 1, EVERY, EVERY + 1, 3 * EVERY, 30 * EVERY, -EVERY))
        row = {name: event.values[name] for name in ("k", "h", "g")}
        row |= {dice.choice(("k", "h")): dice.choice(("1", "112", None))} if place % 3 else {}
        rows.append(
            {**row, "at": max(0, event.at + shift), "mine": 2**53 + 1 if place % 5 else None}
        )
    kinds = {"k": pa.string(), "h": pa.string(), "g": pa.int64(), "at": pa.int64()}
    schema = pa.schema([*kinds.items(), ("mine", pa.int64())])
    return pa.Table.from_pylist([*rows, *rows[:7]], schema)


def indexes(events: Sequence[Event]) -> dict[str, Index]:
    made = {name: Index(view) for name, view in ALL.items()}
    for name, view in ALL.items():
        tiles = pa.Table.from_pylist(in_process.tiles(view, events), view.tile_schema)
        made[name].append(tiles.sort_by(END), rows_in_process(view, events))
    return made


def database(events: Sequence[Event]) -> duckdb.DuckDBPyConnection:
    """Give a database with the events as a table."""
    kinds = {name: kind.arrow for name, kind in SOURCE.types.items()}
    kinds |= {name: tree.type.arrow for name, tree in SOURCE.computed.items()}
    schema = pa.schema([("partition", pa.int32()), ("offset", pa.int64()), *kinds.items()])
    rows = [{"partition": e.partition, "offset": e.offset, **e.values} for e in events]
    table = pa.Table.from_pylist(rows, schema)
    connection = duckdb.connect()
    connection.register("arrow_events", table)
    connection.execute("CREATE TABLE events AS FROM arrow_events")
    return connection


def tiles(connection: duckdb.DuckDBPyConnection) -> dict[str, Tiles]:
    """Make the tables of tiles that a store has."""
    for name, view in ALL.items():
        connection.execute(f"CREATE TABLE {quote(name)} AS {tiles_sql(view, 'events')}")
        for rows in view.rows:
            table = quote(view.companion(rows))
            connection.execute(f"CREATE TABLE {table} AS {rows_sql(view, rows, 'events')}")
    return {
        name: Tiles(quote(name), {rows.name: quote(view.companion(rows)) for rows in view.rows})
        for name, view in ALL.items()
    }


def truth(events: Sequence[Event], asked: pa.Table) -> dict[str, list[object]]:
    """Compute every feature and its status from the events alone."""
    found: dict[str, list[object]] = {}
    for name, view in ALL.items():
        keys = list(zip(*(asked[column].to_pylist() for column in COLUMNS[name]), strict=True))
        asks = list(zip(keys, asked["at"].to_pylist(), strict=True))
        for each in view.features:
            found[each.name] = [in_process.feature(view, each, events, *ask) for ask in asks]
            found[each.name + STATUS_SUFFIX] = [
                str(in_process.status(view, each, events, *ask)) for ask in asks
            ]
    return found


def names(views: Mapping[str, View]) -> list[str]:
    return [feature.name for view in views.values() for feature in view.features]


def test_index_duckdb_and_oracle_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(past, "_GATHERED", 30)
    events = history(1, 150)
    asked = decisions(1, events, 60)
    expected = truth(events, asked)
    reader = OnlineReader(indexes(events), COLUMNS, names(ALL), lambda _: 0)
    found = [TrainingSet(asked, *reader.asking(statuses=True)).to_arrow()]
    some = {name: ALL[name] for name in ("by_number", "newest")}
    with database(events) as connection:
        for views, where in ((ALL, tiles(connection)), (some, dict.fromkeys(some, _EVENTS))):
            with closing(Past(connection, views, COLUMNS, where)) as by_duckdb:
                asking = by_duckdb.asking(names(views), statuses=True)
                found.append(TrainingSet(asked, *asking, at_once=40).to_arrow())
    seen = set()
    for one in found:
        assert one.select(asked.column_names).equals(asked)
        for name in one.column_names[asked.num_columns :]:
            assert repr(one[name].to_pylist()) == repr(expected[name]), name
            seen |= set(expected[name] if name.endswith(STATUS_SUFFIX) else ())
    assert found[0].schema == found[1].schema
    assert seen == set(Status)


@pytest.fixture(scope="module")
def asking() -> Iterator[tuple[Asking, Past]]:
    with (
        database(history(4, 30)) as connection,
        closing(Past(connection, ALL, COLUMNS, {"newest": Events("events")})) as one,
    ):
        yield one.asking(["newest_0", "newest_3"])[0], one


def made(one: Past, given: object, at_once: int = 3, at: str | None = None) -> TrainingSet:
    return TrainingSet(given, *one.asking(["newest_0"], at=at), at_once=at_once)


def test_columns_come_out_as_they_went_in(asking: tuple[Asking, Past]) -> None:
    one = asking[1]
    table = decisions(4, history(4, 30), 10)
    count = table.num_rows
    zone = pa.timestamp("us", "Asia/Tokyo")
    odd = {
        "event_timestamp": table["at"].cast(pa.timestamp("ms")).cast(zone, safe=False),
        "word": pa.array(["a", None] * count, pa.string())[:count].dictionary_encode(),
        "list": pa.array([[1], None] * count)[:count],
        "small": pa.array(range(count), pa.int8()),
    }
    given = pa.table({"k": table["k"], "h": table["h"], **odd}).replace_schema_metadata({"a": "b"})
    found = made(one, given).to_arrow()
    assert found.select(given.column_names).equals(given)
    assert found["newest_0"].equals(made(one, table, 500).to_arrow()["newest_0"])


def test_pandas_keeps_its_index_and_types(asking: tuple[Asking, Past]) -> None:
    table = decisions(4, history(4, 30), 10)
    frame = table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
    frame.index = pd.Index([f"row {place // 2}" for place in range(len(frame))])
    found = made(asking[1], frame).to_df()
    pd.testing.assert_frame_equal(found[frame.columns], frame)
    assert found["newest_0"].dtype == "Int64"
    assert made(asking[1], table).to_df()["mine"].dtype == "Int64"


@pytest.mark.parametrize("cut", [1, 2, 3, 5, 100])
def test_parts_do_not_show(asking: tuple[Asking, Past], tmp_path: Path, cut: int) -> None:
    table = decisions(4, history(4, 30), 10)
    whole = made(asking[1], table, 1000).to_arrow()
    batches = table.to_batches(max_chunksize=cut)
    reader = pa.RecordBatchReader.from_batches(table.schema, batches)
    once = made(asking[1], reader)
    assert once.to_arrow().equals(whole)
    with pytest.raises(StoreError, match="it was read already"):
        once.to_arrow()
    pq.write_table(table, tmp_path / "asked.parquet", row_group_size=cut)
    kept = made(asking[1], tmp_path / "asked.parquet").to_parquet(tmp_path / "kept.parquet")
    assert pq.read_table(kept).equals(whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["asked.parquet", "kept.parquet"]


def test_a_file_that_failed_leaves_nothing(asking: tuple[Asking, Past], tmp_path: Path) -> None:
    batch = decisions(4, history(4, 30), 10).combine_chunks().to_batches()[0]

    def broken() -> Iterator[pa.RecordBatch]:
        yield batch
        raise OSError

    reader = pa.RecordBatchReader.from_batches(batch.schema, broken())
    with pytest.raises(OSError):  # noqa: PT011  # as Arrow hands it on
        made(asking[1], reader, 1).to_parquet(tmp_path / "kept.parquet")
    assert not list(tmp_path.iterdir())


def test_one_part_is_in_memory(asking: tuple[Asking, Past]) -> None:
    """A reader without an end is read no further than what is taken."""
    batch = decisions(4, history(4, 30), 10).combine_chunks().to_batches()[0]

    def endless() -> Iterator[pa.RecordBatch]:
        while True:
            taken.append(1)
            yield batch

    taken: list[int] = []
    reader = pa.RecordBatchReader.from_batches(batch.schema, endless())
    found = made(asking[1], reader, batch.num_rows).to_record_batches()
    for _ in range(3):
        assert found.read_next_batch().num_rows == batch.num_rows
    assert len(taken) <= 4


@pytest.mark.parametrize(
    ("given", "at", "found"),
    [
        ({"at": [1]}, None, "beside a dict; it is no table"),
        (pa.table({"at": [1], "k": ["a"]}), None, "they have no column h, only at, k"),
        (pa.table({"k": ["a"], "h": ["a"]}), None, "the column 'at'"),
        (pa.table({"at": [1], "k": ["a"], "h": ["a"]}), "when", "the column 'when'"),
        (pa.table({"at": [1.0], "k": ["a"], "h": ["a"]}), None, "it is double; give int64"),
        (pa.table({"at": [10**14], "k": ["a"], "h": ["a"]}), None, "to 100000000000000 ms"),
        (pa.table({"at": [1], "k": [[1]], "h": ["a"]}), None, "column k is list<"),
        (pa.table({"at": [1], "k": "a", "h": ["a"], "newest_0": [1]}), None, "'newest_0'"),
        ("nothing.parquet", None, "of 'nothing.parquet'"),
    ],
)
def test_what_cannot_be_joined(
    asking: tuple[Asking, Past], given: object, at: str | None, found: str
) -> None:
    with pytest.raises((StoreError, UnknownName), match=found):
        made(asking[1], given, at=at).to_arrow()
