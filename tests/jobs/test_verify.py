"""What the stream got wrong is found: each planted difference, with its table, key, column."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import duckdb
import orjson
import pyarrow as pa
import pytest

from headrace.feature_store.history import History
from headrace.feature_store.index import Index
from headrace.feature_store.messages import LOG
from headrace.feature_store.versions import events_version
from headrace.jobs import assembly
from headrace.jobs.checks.verify import Difference, Random, Verdict, verify
from headrace.operators.computed import with_computed
from headrace.operators.engines.duckdb_log import kept_sql
from headrace.operators.errors import HeadraceError, StoreError
from headrace.operators.identity import version
from headrace.pipelines.pipeline import Pipeline
from tests.feature_store.made_up import EVERY, TEXT, pipeline

MEAN = TEXT.replace(
    "features: {n: count() over 2m, total: sum(x) over 1h}",
    "features: {n: count() over 2m, mean_x: mean(x) over 1h, "
    "kinds: count_distinct(x) over 1h, lasts: 'last_n(x, 2) over 1h'}",
).replace("{last_x: latest(x)}", "{last_x: latest(x), page_kinds: count_distinct(user)}")
MEAN = MEAN.replace(
    "decision: {source: ask, id: name}",
    "decision: {source: ask, id: name, "
    "features: {each_hour: n / hour, beyond: 4611686018427387904 * n}}",
)
REFUSED = "refused rows of click"
FEATURES = ("features of clicks", "features of pages")
STREAMED = MEAN.replace(
    "views:\n  clicks:\n    source: click\n",
    "streams:\n"
    "  doubled: {from: click, where: x > 0, derive: {twice: x * 2}, "
    "dedup: {id: [user, x], within: 1h}}\n"
    "views:\n  clicks:\n    source: doubled\n",
).replace("mean_x: mean(x) over 1h", "mean_x: mean(twice) over 1h")
REFUSED_BY = "rows refused by the stream doubled"


def raw(rows: list[dict[str, object] | bytes]) -> pa.Table:
    """Make a raw log of one partition."""
    payload = [row if isinstance(row, bytes) else orjson.dumps(row) for row in rows]
    count = len(rows)
    columns = {
        "partition": [0] * count,
        "offset": list(range(count)),
        "timestamp": [1 << 41] * count,
        "payload": payload,
    }
    return pa.table(columns, LOG)


def click(at: int, user: str, x: int) -> dict[str, object]:
    return {"at": at, "name": f"c{at}", "user": user, "page": "a", "x": x}


LOGS = {
    "click": raw(
        [
            click(10, "u", 1),
            click(20, "u", 2),
            click(30, "v", 9),
            b"no JSON",
            click(EVERY + 1, "u", 4),
            click(5, "u", 100),  # late
        ]
    ),
    "ask": raw(
        [
            {"at": EVERY + 5, "name": "d0", "user": "u", "page": "a", "hour": 1, "wind": 0.5},
            {"at": 2 * EVERY, "name": "d1", "user": "u", "page": "b", "hour": 2, "wind": 0.5},
            {"at": 2 * EVERY, "name": "d2", "user": "v", "page": "a", "hour": 3, "wind": None},
        ]
    ),
}

STREAMED_LOGS = {
    **LOGS,
    "click": raw(
        [
            click(10, "u", 1),
            click(20, "u", 0),  # `where` drops it
            click(30, "u", 2**62),  # twice as much is beyond int64
            click(40, "u", 1),  # a second one
            b"no JSON",
            click(EVERY + 1, "u", 4),
            click(5, "u", 100),  # late
        ]
    ),
}


class Stream:
    """What a store would hold that made no mistake; `plant` makes one."""

    def __init__(self, small: Pipeline, logs: Mapping[str, pa.Table] = LOGS) -> None:
        self._declared = declared = assembly.declared(small)
        self._store = duckdb.connect()
        self._store.execute("CREATE SCHEMA views; CREATE SCHEMA events")
        click, page = (version(small.views[name]) for name in ("clicks", "pages"))
        self._store.execute(
            f"CREATE TABLE panes AS SELECT name, shard, {100 * EVERY} AS complete "
            f"FROM (VALUES ('{click}', 0), ('{page}', 0), ('{page}', 1)) AS t(name, shard)"
        )
        with History(declared, small.sources, small.streams) as history:
            offsets = []
            for name, log in logs.items():
                history.load(name, log)
                events = kept_sql(small.sources[name], f"checked_{name}")
                self._create(f"events.{name}", history.query(events))
                place = {"topic": events_version(small.sources[name]), "partition": 0}
                offsets.append({**place, "next": len(log)})
            self._create("offsets", pa.Table.from_pylist(offsets))
            history.decisions()
            for name in small.views:
                self._create(f"views.{name}", history.query(f"SELECT * FROM tiles_{name}"))
                for rows in small.views[name].rows:
                    table = small.views[name].companion(rows)
                    self._create(f"views.{table}", history.query(f"SELECT * FROM tiles_{table}"))
            columns = ", ".join(f'"{name}"' for name in declared.decision_schema.names)
            self._create("decisions", history.query(f"SELECT {columns} FROM decisions"))
            found = [history.features("clicks"), history.features("pages")]
            predictions = found[0]
            for more in (found[1], history.computed(found)):  # all are in the order of seq
                for name in more.column_names[1:]:
                    predictions = predictions.append_column(name, more[name])
            at = history.query('SELECT "at" FROM decisions ORDER BY seq')["at"]
            self._create("predictions", predictions.append_column("at", at))
            since = {"kind": "feature", "since": 0}
            self._create(
                "versions", pa.Table.from_pylist([{**since, "name": n} for n in declared.features])
            )
            refused = history.refused("click")
            refused_by = [history.refused_by(name) for name in small.streams]
        places = "SELECT 'click' AS source, partition, \"offset\""
        self._store.register("refused", refused)
        for table, which in (("dead_letters", "<>"), ("late_rows", "=")):
            self._store.execute(
                f"CREATE TABLE {table} AS {places}, reason FROM refused WHERE reason {which} 'late'"
            )
        for each in refused_by:
            self._store.register("refused", each)
            self._store.execute("INSERT INTO dead_letters BY NAME SELECT * FROM refused")

    def _create(self, table: str, rows: pa.Table) -> None:
        self._store.register("rows", rows)
        self._store.execute(f"CREATE TABLE {table} AS SELECT * FROM rows")

    def answer(self, asked: pa.Table) -> pa.Table:
        """Answer as the store's index does, from the tiles that there are now."""
        found: dict[str, pa.Array] = {}
        for name, view in self._declared.views.items():
            index = Index(view)
            tables = {rows.name: f"views.{view.companion(rows)}" for rows in view.rows}
            tiles = self.ask(f'SELECT * FROM views.{name} ORDER BY "end"')
            index.append(tiles, {each: self.ask(f"FROM {t}") for each, t in tables.items()})
            keys = [asked[part].combine_chunks() for part in self._declared.keys[name]]
            found |= index.read(keys, asked["at"].to_numpy())
        rows = asked
        for name, values in found.items():
            rows = rows.append_column(name, values)
        rows = with_computed(rows, self._declared.computed)
        return rows.select(self._declared.feature_schema.names)

    def plant(self, change: str) -> None:
        """Change one row, or fail."""
        changed = self._store.execute(change).fetchone()
        assert changed is not None
        assert changed[0] == 1, change

    def ask(self, query: str) -> pa.Table:
        """Answer as the store's client does."""
        return self._store.sql(query).to_arrow_table()

    def close(self) -> None:
        """End."""
        self._store.close()


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    logs = {name: LOGS[name] for name in ("ask", "click")}
    monkeypatch.setattr("headrace.jobs.checks.verify.read_log", lambda _, topic: logs[topic])
    monkeypatch.setattr("tests.feature_store.made_up.TEXT", MEAN)
    return pipeline(tmp_path)


@pytest.fixture
def stream(small: Pipeline) -> Iterator[Stream]:
    one = Stream(small)
    yield one
    one.close()


def verdict(small: Pipeline, stream: Stream) -> Verdict:
    return verify(small, bootstrap="memory", ask=stream.ask)


def test_nothing_to_compare_is_no_success(small: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = dict.fromkeys(LOGS, LOG.empty_table())
    monkeypatch.setattr("headrace.jobs.checks.verify.read_log", lambda _, topic: nothing[topic])
    with (
        closing(Stream(small, nothing)) as stream,
        pytest.raises(StoreError, match="there is no cell to compare: no step"),
    ):
        verdict(small, stream)


def test_no_difference_is_found_where_there_is_none(small: Pipeline, stream: Stream) -> None:
    found = verdict(small, stream)
    assert (found.mismatches, found.differences) == (0, [])
    assert found.cells == sum(found.tables.values())
    assert set(found.tables) == {
        "refused rows of ask",
        REFUSED,
        "events of ask",
        "events of click",
        "tiles of clicks",
        "values_x of clicks",
        "last_x of clicks",
        "tiles of pages",
        "values_user of pages",
        "decisions",
        "features of clicks",
        "features of pages",
        "computed features",
    }
    # 2 refused; 3 tiles of count and sum, each with a mean's count and sum.
    assert found.tables[REFUSED] == 2
    assert all(found.tables[f"features of {view}"] >= 3 for view in ("clicks", "pages"))
    assert found.tables["tiles of clicks"] >= 6


PLANTED = {
    "a computed feature beyond its type": (
        "UPDATE predictions SET beyond = -9223372036854775808 WHERE beyond IS NULL AND seq = 0",
        Difference("computed features", "0", "beyond", -(1 << 63), None),
    ),
    "a tile changed": (
        f'UPDATE views.clicks SET rows = 7 WHERE "user" = \'u\' AND "end" = {EVERY}',
        Difference("tiles of clicks", f"u {EVERY}", "rows", 7, 2),
    ),
    "a value that is null": (
        f'UPDATE views.pages SET newest_x = NULL WHERE "end" = {EVERY}',
        Difference("tiles of pages", f"a {EVERY}", "newest_x", None, 9),
    ),
    "a tile missing": (
        f'DELETE FROM views.clicks WHERE "user" = \'u\' AND "end" = {EVERY}',
        Difference("tiles of clicks", f"u {EVERY}", "rows", None, 2),
    ),
    "a tile that should not be": (
        f'INSERT INTO views.clicks BY NAME SELECT * REPLACE ({9 * EVERY} AS "end") '
        f"FROM views.clicks WHERE \"user\" = 'v'",
        Difference("tiles of clicks", f"v {9 * EVERY}", "rows", 1, None),
    ),
    "a tile doubled": (
        "INSERT INTO views.clicks SELECT * FROM views.clicks WHERE \"user\" = 'v'",
        Difference("tiles of clicks", f"v {EVERY}", "*", "2 rows", "1 row"),
    ),
    "a bin's number": (
        f'UPDATE views.clicks__values_x SET n = 2 WHERE bin = 9 AND "end" = {EVERY}',
        Difference("values_x of clicks", f"v {EVERY} 9", "n", 2, 1),
    ),
    "a bin missing": (
        "DELETE FROM views.clicks__values_x WHERE bin = 4",
        Difference("values_x of clicks", f"u {2 * EVERY} 4", "n", None, 1),
    ),
    "another bin": (
        "UPDATE views.clicks__values_x SET bin = 5 WHERE bin = 4",
        Difference("values_x of clicks", f"u {2 * EVERY} 5", "n", 1, None),
    ),
    "an end of another value": (
        "UPDATE views.clicks__last_x SET value = 3 WHERE value_at = 20",
        Difference("last_x of clicks", f"u {EVERY} 20 0 1", "value", 3, 2),
    ),
    "an end too many": (
        "INSERT INTO views.clicks__last_x BY NAME SELECT * REPLACE (5 AS value_at) "
        "FROM views.clicks__last_x WHERE value = 9",
        Difference("last_x of clicks", f"v {EVERY} 5 0 2", "value", 9, None),
    ),
    "a list": (
        "UPDATE predictions SET lasts = [2, 1] WHERE seq = 0",
        Difference("features of clicks", "0", "lasts", [2, 1], [1, 2]),
    ),
    "one ulp": (
        f"UPDATE predictions SET mean_x = {math.nextafter(1.5, 2)!r} WHERE seq = 0",
        Difference("features of clicks", "0", "mean_x", math.nextafter(1.5, 2), 1.5),
    ),
    "a late row counted": (
        "UPDATE predictions SET n = n + 1 WHERE seq = 1",
        Difference("features of clicks", "1", "n", 4, 3),
    ),
    "a prediction missing": (
        "DELETE FROM predictions WHERE seq = 2",
        Difference("features of pages", "2", "last_x", None, 4),
    ),
    "a prediction doubled": (
        "INSERT INTO predictions SELECT * FROM predictions WHERE seq = 2",
        Difference("features of pages", "2", "*", "2 rows", "1 row"),
    ),
    "a dead letter missing": (
        "DELETE FROM dead_letters",
        Difference(REFUSED, "0 3", "reason", None, "not a JSON object"),
    ),
    "a dead letter for another reason": (
        "UPDATE dead_letters SET reason = 'of no kind'",
        Difference(REFUSED, "0 3", "reason", "of no kind", "not a JSON object"),
    ),
    "a late row that is none": (
        'INSERT INTO late_rows BY NAME SELECT * REPLACE (0 AS "offset") FROM late_rows',
        Difference(REFUSED, "0 0", "reason", "late", None),
    ),
    "a late row missing": (
        "DELETE FROM late_rows",
        Difference(REFUSED, "0 5", "reason", None, "late"),
    ),
    "an event of another value": (
        'UPDATE events.click SET x = x + 1 WHERE "offset" = 1',
        Difference("events of click", "0 1", "x", 3, 2),
    ),
    "a late event that is told as punctual": (
        "UPDATE events.click SET came_late = FALSE WHERE came_late",
        Difference("events of click", "0 5", "came_late", False, True),
    ),
    "an event that is read and not kept": (
        'DELETE FROM events.ask WHERE "offset" = 1',
        Difference("events of ask", "0 1", "at", None, 120000),
    ),
    "an extra decision": (
        "INSERT INTO decisions BY NAME SELECT * REPLACE (3 AS seq, 'd3' AS id) FROM decisions "
        "WHERE seq = 2",
        Difference("decisions", "3", "id", "d3", None),
    ),
    "a decision of another place": (
        'UPDATE decisions SET "offset" = 7 WHERE seq = 1',
        Difference("decisions", "1", "offset", 7, 1),
    ),
    "a decision's column": (
        "UPDATE decisions SET wind = 0.25 WHERE seq = 0",
        Difference("decisions", "0", "wind", 0.25, 0.5),
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_difference_is_found(small: Pipeline, stream: Stream, name: str) -> None:
    change, wanted = PLANTED[name]
    stream.plant(change)
    found = verdict(small, stream)
    assert wanted in found.differences
    assert {difference.where for difference in found.differences} <= {
        wanted.where,
        # The predictions' rows are looked at once for each view, and for what is computed of them.
        *((*FEATURES, "computed features") if "prediction" in name else ()),
    }
    assert found.mismatches == len(found.differences)


@pytest.fixture
def streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """Give a pipeline whose view of clicks is made of a stream."""
    monkeypatch.setattr(
        "headrace.jobs.checks.verify.read_log", lambda _, topic: STREAMED_LOGS[topic]
    )
    monkeypatch.setattr("tests.feature_store.made_up.TEXT", STREAMED)
    return pipeline(tmp_path)


def test_a_stream_is_recomputed_too(streamed: Pipeline) -> None:
    with closing(Stream(streamed, STREAMED_LOGS)) as store:
        found = verify(streamed, bootstrap="memory", ask=store.ask)
    assert (found.mismatches, found.differences) == (0, [])
    assert (found.tables[REFUSED], found.tables[REFUSED_BY]) == (2, 1)
    # Of u's five clicks in time two are left: a tile each of rows, a count and a sum.
    assert found.tables["tiles of clicks"] == 6
    assert found.tables["values_x of clicks"] == 2


OVERFLOWS = "stream doubled: column twice: out of range"
PLANTED_IN_A_STREAM = {
    "a refused row missing": (
        "DELETE FROM dead_letters WHERE starts_with(reason, 'stream')",
        Difference(REFUSED_BY, "click 0 2", "reason", None, OVERFLOWS),
    ),
    "a refused row of another place": (
        "UPDATE dead_letters SET \"offset\" = 3 WHERE starts_with(reason, 'stream')",
        Difference(REFUSED_BY, "click 0 3", "reason", OVERFLOWS, None),
    ),
    "a row refused for another reason": (
        "UPDATE dead_letters SET reason = 'stream doubled: where: out of range' "
        "WHERE starts_with(reason, 'stream')",
        Difference(
            REFUSED_BY, "click 0 2", "reason", "stream doubled: where: out of range", OVERFLOWS
        ),
    ),
    "a second click in a tile": (
        f'UPDATE views.clicks SET rows = 2 WHERE "end" = {EVERY}',
        Difference("tiles of clicks", f"u {EVERY}", "rows", 2, 1),
    ),
    "a sum of what was not doubled": (
        f'UPDATE views.clicks SET sum_twice = 4 WHERE "end" = {2 * EVERY}',
        Difference("tiles of clicks", f"u {2 * EVERY}", "sum_twice", 4, 8),
    ),
    "a feature": (
        "UPDATE predictions SET mean_x = 1.0 WHERE seq = 0",
        Difference("features of clicks", "0", "mean_x", 1.0, 2.0),
    ),
}


@pytest.mark.parametrize("name", PLANTED_IN_A_STREAM)
def test_a_planted_difference_in_a_stream_is_found(streamed: Pipeline, name: str) -> None:
    change, wanted = PLANTED_IN_A_STREAM[name]
    with closing(Stream(streamed, STREAMED_LOGS)) as store:
        store.plant(change)
        found = verify(streamed, bootstrap="memory", ask=store.ask)
    assert wanted in found.differences
    assert {difference.where for difference in found.differences} == {wanted.where}


def test_the_index_is_asked_at_random_times(small: Pipeline, stream: Stream) -> None:
    def asked() -> Verdict:
        random = Random(stream.answer, 300)
        return verify(small, bootstrap="memory", ask=stream.ask, random=random)

    found = asked()
    assert (found.mismatches, found.differences) == (0, [])
    assert found.pairs["index = DuckDB"] >= 300
    assert 0 < found.pairs["DuckDB = in process"] <= found.pairs["index = DuckDB"]
    assert sum(found.pairs.values()) == sum(found.tables.values()) == found.cells
    stream.plant(f'UPDATE views.clicks SET rows = 7 WHERE "user" = \'u\' AND "end" = {EVERY}')
    where = {difference.where for difference in asked().differences}
    assert where >= {"tiles of clicks", "clicks at random (key, t): index = DuckDB"}


def test_a_feature_that_was_never_served_is_said(small: Pipeline, stream: Stream) -> None:
    """The file was changed, and the store not started since."""
    stream.plant("DELETE FROM versions WHERE name = 'mean_x'")
    with pytest.raises(StoreError, match="'mean_x'; the store has never served it"):
        verdict(small, stream)


def test_a_column_that_decisions_got_is_compared_from_the_first_that_has_it(
    small: Pipeline, stream: Stream
) -> None:
    stream.plant("UPDATE decisions SET hour = NULL WHERE seq = 0")
    assert verdict(small, stream).mismatches == 1
    stream.plant("INSERT INTO versions BY NAME SELECT 'column' AS kind, 1 AS since, 'hour' AS name")
    assert verdict(small, stream).mismatches == 0
    stream.plant("UPDATE decisions SET hour = 9 WHERE seq = 2")
    assert verdict(small, stream).differences == [Difference("decisions", "2", "hour", 9, 3)]


def test_the_same_dead_letter_twice_is_one(small: Pipeline, stream: Stream) -> None:
    """The views job writes them at least once: after a recovery some come again."""
    stream.plant("INSERT INTO dead_letters SELECT * FROM dead_letters")
    assert verdict(small, stream).mismatches == 0


def test_many_differences_are_counted_and_some_are_shown(small: Pipeline, stream: Stream) -> None:
    for seq in range(3, 53):
        stream.plant(
            f"INSERT INTO decisions BY NAME SELECT * REPLACE ({seq} AS seq) FROM decisions "
            "WHERE seq = 2"
        )
    found = verdict(small, stream)
    assert len(found.differences) == 20
    assert found.mismatches >= 50


def test_a_store_that_does_not_answer_is_an_error(small: Pipeline) -> None:
    def ask(query: str) -> pa.Table:
        raise HeadraceError(query, "nobody answers", "start the store")

    with pytest.raises(HeadraceError):
        verify(small, bootstrap="memory", ask=ask)
