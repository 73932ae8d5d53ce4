"""Files of events: the same rows as JSON messages, Parquet, CSV or Arrow are the same tiles."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather

from headrace.feature_store import files
from headrace.feature_store.history import History
from headrace.feature_store.messages import LOG
from headrace.operators.engines import in_process
from headrace.operators.errors import StoreError
from headrace.operators.record import records
from headrace.operators.source import FILE_PARTITION, FROM_TOPIC, Column, Source
from headrace.operators.types import Type
from tests import logs
from tests.engines import declared, table_of

Row = Mapping[str, object]
NO_CLOCK = 10**14
VALUES: dict[Type, tuple[object, ...]] = {
    Type.STRING: ("a", "b", "É", 'say "a, b"', "two\nlines", None),
    Type.INT64: (0, 1, -1, 7, 2**53 + 1, -(2**40), None),
    Type.FLOAT64: (0.0, -0.0, 1.5, -1e-7, 1e3, 0.1 + 0.2, None),
    Type.BOOL: (True, False, None),
    Type.INT32: (0, -(2**31), 2**31 - 1, 2**31, None),
    Type.TIMESTAMP_MS: (0, 1_500_000_000_000, -62_135_596_800_001, None),
}
WRONG = ("7x", "1e999", "nan", "TRUE", "+5", "007", "1e", "a b")
ARROW = {
    Type.INT32: pa.int64(),
    Type.TIMESTAMP_MS: pa.int64(),
}


def rows(seed: int, *, wrong: float = 0.0) -> list[list[Row]]:
    """Make the rows of three files; a share of their cells is wrong."""
    chance = random.Random(seed)  # noqa: S311 - no secret

    def cell(column: Column) -> object:
        if column.name == "name":
            return chance.choice(("a", "b", None)) if wrong else "a"
        if chance.random() < wrong:
            return chance.choice(WRONG)
        return chance.choice(VALUES[column.type])

    def row(place: int) -> Row:
        at = place * 330 + chance.randrange(5_000)  # some are late
        return {"at": at, **{column.name: cell(column) for column in logs.SOURCE.columns}}

    return [[row(place) for place in range(60)] for _ in range(3)]


def as_json(made: Sequence[Sequence[Row]]) -> list[in_process.Message]:
    return [
        (FILE_PARTITION + number, offset, NO_CLOCK, orjson.dumps(row))
        for number, each in enumerate(made)
        for offset, row in enumerate(each)
    ]


def _table(each: Sequence[Row]) -> pa.Table:
    types = [("at", pa.int64())]
    types += [(c.name, ARROW.get(c.type, c.type.arrow)) for c in logs.SOURCE.columns]
    return pa.Table.from_pylist(list(each), pa.schema(types))


def as_parquet(path: Path, each: Sequence[Row]) -> None:
    pq.write_table(_table(each), path, compression="zstd", row_group_size=17)


def as_arrow(path: Path, each: Sequence[Row]) -> None:
    with pa.ipc.new_file(path, _table(each).schema) as file:
        file.write_table(_table(each), max_chunksize=13)


def as_csv(path: Path, each: Sequence[Row]) -> None:
    def text(value: object) -> str:
        if value is None:
            return ""
        said = str(value).lower() if isinstance(value, bool) else str(value)
        return '"' + said.replace('"', '""') + '"'

    lines = [",".join(each[0]), *(",".join(map(text, row.values())) for row in each)]
    path.write_text("\n".join(lines) + "\n", newline="")


WRITERS: dict[str, Callable[[Path, Sequence[Row]], None]] = {
    ".parquet": as_parquet,
    ".arrow": as_arrow,
    ".csv": as_csv,
}
SOURCE = replace(logs.SOURCE, files="*", live_from_ms=None)
VIEWS = {name: replace(view, source=SOURCE) for name, view in logs.VIEWS.items()}


def history(source: Source, log: pa.Table, paths: Sequence[Path] = ()) -> History:
    views = {name: replace(view, source=source) for name, view in VIEWS.items()}
    with ExitStack() as unless_read:
        made = History(declared(views, source), {source.name: source})
        unless_read.enter_context(made)
        made.load(source.name, log, paths)
        unless_read.pop_all()
    return made


def facts(made: History) -> dict[str, list[str]]:
    """Say every tile, companion row and refused row, in one order."""
    names = [f"tiles_{name}" for name in VIEWS]
    names += [f"tiles_{v.companion(each)}" for v in VIEWS.values() for each in v.rows]
    found = {name: made.query(f'SELECT * FROM "{name}"').to_pylist() for name in names}
    found["refused"] = made.refused(SOURCE.name).to_pylist()
    return {name: sorted(map(repr, each)) for name, each in found.items()}


def of_files(folder: Path, made: Sequence[Sequence[Row]], kind: str) -> dict[str, list[str]]:
    for number, each in enumerate(made):
        WRITERS[kind](folder / f"part-{number}{kind}", each)
    with history(SOURCE, LOG.empty_table(), files.found(SOURCE, folder)) as read:
        return facts(read)


@pytest.mark.parametrize("kind", WRITERS)
def test_rows_of_files_are_those_of_a_log(tmp_path: Path, kind: str) -> None:
    made = rows(3)
    log = table_of(as_json(made))
    with history(replace(SOURCE, files=None), log) as read:
        told = facts(read)
    assert len(told["tiles_by_key"]) > 20
    assert {"late", "column n: not int32"} <= {reason(row) for row in told["refused"]}
    assert of_files(tmp_path, made, kind) == told


def reason(row: str) -> str:
    return row.rpartition("'reason': ")[2].strip("'}")


def test_cells_that_are_none_are_dead_letters_like_a_logs(tmp_path: Path) -> None:
    made = rows(4, wrong=0.02)
    with history(replace(SOURCE, files=None), table_of(as_json(made))) as read:
        told = facts(read)
    assert len(told["refused"]) > 40
    assert of_files(tmp_path, made, ".csv") == told


@pytest.mark.parametrize("kind", WRITERS)
def test_history_is_the_oracle(tmp_path: Path, kind: str) -> None:
    made = rows(5, wrong=0.02 if kind == ".csv" else 0)
    if kind != ".csv":
        made[1][3] = {**made[1][3], "x": float("nan"), "at": -1}
        made[1][4] = {**made[1][4], "z": float("inf")}
    found = of_files(tmp_path, made, kind)
    paths = files.found(SOURCE, tmp_path)
    oracle = in_process.file_events(SOURCE, map(records, paths))
    for name, view in VIEWS.items():
        tiles = in_process.tiles(view, oracle.events)
        told = pa.Table.from_pylist(tiles, view.tile_schema).to_pylist()
        assert sorted(map(repr, told)) == found[f"tiles_{name}"]
    refused = [(r.partition, r.offset, r.reason) for r in (*oracle.dead, *oracle.late)]
    named = [dict(zip(("partition", "offset", "reason"), each, strict=True)) for each in refused]
    assert sorted(map(repr, named)) == found["refused"]


SMALL = Source("s", "s", (Column("k", Type.STRING, True), Column("x", Type.FLOAT64)), files="*")


CELLS = {
    "a row that is too short keeps the others' numbers": (
        b"at,k,x\n1,a,2\n2,b\n3,c,4\n",
        ["row 1: row: not as many cells as the head has"],
        [0, 2],
    ),
    "a row that is too long": (b"at,k,x\n1,a,2,9\n3,c,4\n", ["row 0: row: not as many"], [1]),
    "bytes that are no UTF-8": (b"at,k,x\n1,\xff,2\n3,c,4\n", ["row 0: not UTF-8"], [1]),
    "an empty line is no row": (b"at,k,x\n\n1,a,2\n\n3,c,4\n", [], [0, 1]),
    "a mark of the byte order, other columns": (
        b"\xef\xbb\xbfz,at,k\n9,1,a\n",
        [],
        [0],
    ),
    "a quoted comma and line": (b'at,k,x\n1,"a,\n",2\n2,b,\n', [], [0, 1]),
    "a key that is missing": (b"at,k,x\n1,,2\n", ["row 0: column k: missing"], []),
}


@pytest.mark.parametrize("name", CELLS)
def test_a_rows_place_is_its_number(tmp_path: Path, name: str) -> None:
    content, dead, kept = CELLS[name]
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    oracle = in_process.file_events(SMALL, [records(path)])
    with history_of(SMALL, path) as made:
        events = made.query('SELECT "offset" FROM events_s ORDER BY ALL')["offset"].to_pylist()
        refused = made.refused("s").to_pylist()
    assert events == kept == [event.offset for event in oracle.events]
    said = [f"row {row['offset']}: {row['reason']}" for row in refused]
    assert said == [f"row {row.offset}: {row.reason}" for row in oracle.dead]
    assert all(one.startswith(other) for one, other in zip(said, dead, strict=True))


def history_of(source: Source, *paths: Path) -> History:
    view = replace(logs.VIEWS["by_key"], source=source, key=("k",), features=())
    with ExitStack() as unless_read:
        made = History(declared({"v": view}, source), {"s": source})
        unless_read.enter_context(made)
        made.load("s", LOG.empty_table(), paths)
        unless_read.pop_all()
    return made


def test_times_are_whole_milliseconds(tmp_path: Path) -> None:
    for unit in ("s", "ms", "us", "ns"):
        per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
        ticks = pa.array([0, per_second // 3, 3 * per_second], pa.int64())
        path = tmp_path / f"{unit}.parquet"
        at = ticks.cast(pa.timestamp(unit, tz="UTC"))
        pq.write_table(pa.table({"at": at, "k": ["a", "b", "c"]}), path)
        oracle = in_process.file_events(SMALL, [records(path)])
        with history_of(SMALL, path) as made:
            found = made.query('SELECT "at" FROM events_s ORDER BY "offset"')["at"].to_pylist()
        assert found == [event.at for event in oracle.events]
        assert found == [0, 0 if unit == "s" else 333, 3000]


def test_from_the_hand_over_on_the_topic_counts(tmp_path: Path) -> None:
    live = replace(SMALL, live_from_ms=1_000, lateness_ms=5_000)
    path = tmp_path / "a.csv"
    path.write_text("at,k,x\n998,a,1\n999,b,2\n1000,c,3\n7000,d,4\n1,late,5\n")
    messages = [
        (0, n, NO_CLOCK, orjson.dumps({"at": at, "k": "t"}))
        for n, at in enumerate((999, 1000, 1001))
    ]
    oracle = in_process.file_events(live, [records(path)])
    assert [(row.offset, row.reason) for row in oracle.dead] == [(2, FROM_TOPIC), (3, FROM_TOPIC)]
    topic = in_process.events(live, messages)
    view = replace(logs.VIEWS["by_key"], source=live, key=("k",), features=())
    with History(declared({"v": view}, live), {"s": live}) as made:
        made.load("s", table_of(messages), [path])
        events = made.query('SELECT partition, "offset" FROM events_s ORDER BY ALL').to_pylist()
        refused = made.refused("s").to_pylist()
    told = [*topic.events, *oracle.events]
    assert [(row["partition"], row["offset"]) for row in events] == [
        (event.partition, event.offset) for event in told
    ]
    assert [event.at for event in told] == [1000, 1001, 998, 999]
    assert [(row["partition"], row["offset"], row["reason"]) for row in refused] == [
        (0, 0, "late"),
        (FILE_PARTITION, 4, "late"),
    ]


def brotli(path: Path) -> None:
    pq.write_table(pa.table({"at": [1], "k": ["a"]}), path, compression="brotli")


def damaged(path: Path) -> None:
    pq.write_table(pa.table({"at": [1], "k": ["a"]}), path)
    path.write_bytes(path.read_bytes()[:-9])


REFUSED: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "brotli": (".parquet", brotli, r"its column 'at' is packed by Brotli; write it uncompressed"),
    "gzip": (
        ".parquet",
        lambda path: pq.write_table(pa.table({"at": [1]}), path, compression="gzip"),
        r"packed by Gzip",
    ),
    "damage": (".parquet", damaged, r"it cannot be read: .*; write the file again"),
    "no Arrow": (".arrow", lambda path: path.write_bytes(b"PAR1"), r"it cannot be read"),
    "no head": (".csv", lambda path: path.write_bytes(b""), r"no head line; begin it with"),
    "a head without an end": (
        ".csv",
        lambda path: path.write_text("x" * (1 << 18)),
        r"it cannot be read: field larger than field limit .*; write the file again",
    ),
    "a column that is lacking": (
        ".csv",
        lambda path: path.write_text("at,x\n1,2\n"),
        r"it lacks the column 'k'; it has 'at', 'x'; add it",
    ),
    "a column twice": (".csv", lambda path: path.write_text("at,k,k\n"), r"two columns 'k'"),
    "a column of another type": (
        ".parquet",
        lambda path: pq.write_table(pa.table({"at": [1], "k": [2]}), path),
        r"its column 'k' is int64, and string is declared; declare what it is",
    ),
}


@pytest.mark.parametrize("codec", ["lz4", "zstd", "uncompressed"])
def test_a_feather_file_is_read_as_it_is_packed(tmp_path: Path, codec: str) -> None:
    path = tmp_path / "a.feather"
    rows = pa.table({"at": [1] * 1_000, "k": ["a"] * 1_000})
    feather.write_feather(rows, path, compression=codec)
    assert files.read(SMALL, path, 0).plain.num_rows == 1_000


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_with_a_file_is_an_error(tmp_path: Path, name: str) -> None:
    suffix, write, said = REFUSED[name]
    path = tmp_path / f"a{suffix}"
    write(path)
    with pytest.raises(StoreError, match=said):
        files.read(SMALL, path, 0)


def test_files_are_found_in_the_order_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name in ("b/2.csv", "b/10.csv", "a.csv", "c.txt"):
        (tmp_path / name).write_text("at\n")
    told = [
        path.relative_to(tmp_path).as_posix()
        for path in files.found(replace(SMALL, files="**/*.csv"), tmp_path)
    ]
    assert told == ["a.csv", "b/10.csv", "b/2.csv"]
    whole = replace(SMALL, files=f"{tmp_path}/b/*")
    assert [path.name for path in files.found(whole, Path("elsewhere"))] == ["10.csv", "2.csv"]
    with pytest.raises(StoreError, match=r"'\*\.nothing' of the source 's'; there are none below"):
        files.found(replace(SMALL, files="*.nothing"), tmp_path)
    with pytest.raises(StoreError, match=r"c\.txt is none of \.parquet, \.csv"):
        files.found(replace(SMALL, files="*.txt"), tmp_path)
