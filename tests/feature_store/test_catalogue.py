"""The DuckDB file: one writer, whole transactions, and questions that can change nothing."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet
import pytest

from headrace.feature_store.catalogue import READERS, Catalogue
from headrace.feature_store.questions import Busy, Limits
from headrace.jobs.machine.waiting import wait_until
from headrace.operators.errors import HeadraceError, StoreError, UnknownName

SCHEMA = pa.schema([("a", pa.int64())])
HOLDS = """
import pathlib, signal, sys
from headrace.feature_store.catalogue import Catalogue
held = Catalogue(pathlib.Path(sys.argv[1]))
print("held", flush=True)
signal.pause()
"""


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    one = Catalogue(tmp_path / "store.duckdb")
    one.create("t", SCHEMA)
    with one.transaction():
        one.append("t", pa.table({"a": [1, 2, 3]}))
    yield one
    one.close()


def rows(catalogue: Catalogue) -> list[int]:
    return [int(a) for a in catalogue.read("SELECT a FROM t ORDER BY a")["a"].to_pylist()]


def test_an_exception_leaves_nothing(catalogue: Catalogue) -> None:
    def write_and_fail() -> None:
        with catalogue.transaction():
            catalogue.append("t", pa.table({"a": [4]}))
            raise KeyError(4)

    with pytest.raises(KeyError):
        write_and_fail()
    assert rows(catalogue) == [1, 2, 3]
    with catalogue.transaction():
        catalogue.append("t", pa.table({"a": [5]}))
    assert rows(catalogue) == [1, 2, 3, 5]


@pytest.mark.parametrize("wrong", [{"a": ["x"]}, {"unknown": [1]}])
def test_a_failed_statement_whose_error_is_caught_commits_nothing(
    catalogue: Catalogue, wrong: dict[str, list[object]]
) -> None:
    """DuckDB's own COMMIT would answer success here, and roll back."""

    def write_on() -> None:
        with catalogue.transaction():
            catalogue.append("t", pa.table({"a": [4]}))
            with contextlib.suppress(duckdb.Error):
                catalogue.append("t", pa.table(wrong))

    with pytest.raises(duckdb.TransactionException):
        write_on()
    assert rows(catalogue) == [1, 2, 3]
    with catalogue.transaction():
        catalogue.append("t", pa.table({"a": [5]}))
    assert rows(catalogue) == [1, 2, 3, 5]


def test_a_wrong_offset_is_another_writer(catalogue: Catalogue) -> None:
    catalogue.begin([("topic", 0), ("topic", 1)])
    with catalogue.transaction():
        catalogue.advance({("topic", 0): (0, 7)})

    def write_from_the_past() -> None:
        with catalogue.transaction():
            catalogue.append("t", pa.table({"a": [4]}))
            catalogue.advance({("topic", 1): (0, 2), ("topic", 0): (0, 9)})

    with pytest.raises(StoreError, match=r"'topic' partition 0 on from offset 0.*another process"):
        write_from_the_past()
    assert rows(catalogue) == [1, 2, 3]
    assert catalogue.offsets() == {("topic", 0): 7, ("topic", 1): 0}
    catalogue.begin([("topic", 0), ("topic", 2)])
    assert catalogue.offsets() == {("topic", 0): 7, ("topic", 1): 0, ("topic", 2): 0}


def test_who_had_the_file_before_commits_nothing(catalogue: Catalogue) -> None:
    """As where a file system has no locks: another took the file, and this one does not know."""
    catalogue._connection.execute("UPDATE owner SET epoch = epoch + 1, pid = 4242")

    def write() -> None:
        with catalogue.transaction():
            catalogue.append("t", pa.table({"a": [4]}))

    with pytest.raises(StoreError, match=r"process 4242 has taken it since.*one store process"):
        write()
    assert rows(catalogue) == [1, 2, 3]


def test_each_opening_is_counted(catalogue: Catalogue, tmp_path: Path) -> None:
    (before,) = catalogue.read("SELECT epoch, pid FROM owner").to_pylist()
    assert before == {"epoch": 1, "pid": os.getpid()}
    catalogue.close()
    again = Catalogue(tmp_path / "store.duckdb")
    assert again.read("SELECT epoch FROM owner")["epoch"].to_pylist() == [2]
    again.close()


def test_nothing_is_written_outside_of_a_transaction(catalogue: Catalogue) -> None:
    with pytest.raises(StoreError, match="'t'; no transaction is open"):
        catalogue.append("t", pa.table({"a": [4]}))
    assert rows(catalogue) == [1, 2, 3]


def test_what_commit_answers_is_read_again(catalogue: Catalogue) -> None:
    catalogue.begin([("topic", 0)])

    def write() -> None:
        with catalogue.transaction():
            catalogue.advance({("topic", 0): (0, 7)})
            catalogue._moved["topic", 0] = 8  # as if COMMIT had answered success for less

    with pytest.raises(StoreError, match=r"after COMMIT .* is at 7, and not at 8; start"):
        write()


def test_a_second_process_is_told_who_has_the_file(tmp_path: Path) -> None:
    path = tmp_path / "store.duckdb"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(path)], stdout=subprocess.PIPE, text=True
    ) as owner:
        try:
            assert owner.stdout is not None
            assert owner.stdout.readline() == "held\n"
            with pytest.raises(StoreError, match=rf"store\.duckdb'.*\b{owner.pid}\b.*stop the"):
                Catalogue(path)
        finally:
            owner.kill()
    Catalogue(path).close()  # the kernel let go of it


def test_a_table_gets_what_it_lacks_and_no_column_of_another_type(catalogue: Catalogue) -> None:
    catalogue.create("t", pa.schema([("b", pa.string()), ("a", pa.int64())]))
    with catalogue.transaction():
        catalogue.append("t", pa.table({"a": [4], "b": ["x"]}))
    assert catalogue.read("SELECT a, b FROM t WHERE a > 2 ORDER BY a").to_pylist() == [
        {"a": 3, "b": None},
        {"a": 4, "b": "x"},
    ]
    with pytest.raises(StoreError, match=r"'a' of t as DOUBLE; what is kept of it is BIGINT; give"):
        catalogue.create("t", pa.schema([("a", pa.float64())]))


REFUSED = [
    "INSERT INTO t VALUES (4)",
    "UPDATE t SET a = 4",
    "DELETE FROM t",
    "TRUNCATE t",
    "MERGE INTO t USING t AS s ON false WHEN NOT MATCHED THEN INSERT VALUES (4)",
    "DROP TABLE t",
    "ALTER TABLE t ADD COLUMN b INT",
    "CREATE TABLE u AS SELECT 1",
    "CREATE MACRO f(x) AS x",
    "CREATE OR REPLACE TEMP VIEW t AS SELECT 1 AS a",
    "ATTACH ':memory:' AS m",
    "ATTACH '{folder}/other.duckdb' AS m",
    "DETACH store",
    "USE memory",
    "COPY t TO '{folder}/out.csv'",
    "COPY (SELECT 1) TO '{folder}/out.csv'",
    "COPY t FROM '{file}'",
    "EXPORT DATABASE '{folder}/out'",
    "IMPORT DATABASE '{folder}'",
    "INSTALL httpfs",
    "LOAD json",
    "LOAD '{file}'",
    "SET threads = 2",
    "SET lock_configuration = false",
    "SET enable_external_access = true",
    "RESET memory_limit",
    "PRAGMA threads = 2",
    "PRAGMA database_list",
    "CALL force_checkpoint()",
    "CALL enable_logging()",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "CHECKPOINT",
    "VACUUM",
    "PREPARE p AS SELECT 1",
    "EXPLAIN ANALYZE DELETE FROM t",
    "SELECT 1; DROP TABLE t",
    "SELECT 1; SELECT 2",
    "DROP TABLE t; SELECT 1",
    "SELECT 1 /* ; */; DROP TABLE t --",
    "SELECT 1) AS x; DROP TABLE t; SELECT * FROM (SELECT 1",
    "SELECT 1) UNION ALL (SELECT 2",
    "SELECT 1) --",
    "SELECT 1 /* never closed",
    "SELECT $q$ never closed",
    "SELECT 1\0; DROP TABLE t",
    "SELECT '\ud800'",
    "WITH gone AS (DELETE FROM t RETURNING *) SELECT * FROM gone",
    "WITH new AS (INSERT INTO t VALUES (4) RETURNING *) SELECT * FROM new",
    "SELECT * FROM query('DELETE FROM t')",
    "SELECT * FROM enable_logging()",
    "SELECT * FROM read_csv('{file}')",
    "SELECT * FROM '{file}'",
    'SELECT * FROM "{file}"',
    "SELECT * FROM read_text('{file}')",
    "SELECT * FROM read_blob('{file}')",
    "SELECT * FROM read_json('{file}')",
    "SELECT * FROM read_parquet('{parquet}')",
    "SELECT * FROM parquet_metadata('{parquet}')",
    "SELECT * FROM sniff_csv('{file}')",
    "SELECT * FROM glob('{folder}/*')",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM which_secret('s3://a', 's3')",
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM duckdb_settings",
    "SELECT * FROM duckdb_databases()",
    "SELECT * FROM pg_catalog.pg_settings",
    "SELECT * FROM system.information_schema.tables",
    "SELECT * FROM pragma_database_size()",
    "SELECT * FROM sqlite_master",
    "SELECT current_setting('allowed_directories')",
    "SELECT getenv('HOME')",
    "SELECT main.getenv('HOME')",
    "SELECT system.main.getenv('HOME')",
    "SELECT GetEnv('HOME')",
    "SELECT getvariable('x')",
    "SELECT write_log('x')",
    "SELECT pg_sleep(1)",
    "SELECT sleep_ms(1000)",
    "SELECT a FROM t WHERE a = (SELECT COUNT(*) FROM glob('/*'))",
    "WITH x AS (SELECT * FROM read_text('{file}')) SELECT * FROM x",
    "SELECT (SELECT content FROM read_text('{file}'))",
    "FROM t JOIN read_csv('{file}') AS c USING (a)",
    "FROM '{file}'",
    "FROM 'http://localhost/x.parquet'",
    "SELECT * FROM arrow_scan(1, 2, 3)",
    "SELECT * FROM pandas_scan(1)",
    "SELECT * FROM python_map_function(1)",
    "SELECT * FROM seq_scan('t')",
    "SELECT * FROM query_table('t')",
    "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
    "SELECT * FROM checkpoint()",
    "SELECT * FROM force_checkpoint()",
    "SELECT * FROM truncate_duckdb_logs()",
    "SELECT * FROM register_external_resource('a', 'b')",
    "SELECT * FROM test_all_types()",
    "SELECT * FROM repeat_row(1, num_rows = 9)",
    "SELECT repeat('x', 2000000000)",
    "SELECT REPEAT('x', 2000000000) FROM t",
    "SELECT length(lpad('x', 2000000000, 'y'))",
    "SELECT a FROM t ORDER BY rpad('x', 2000000000, 'y')",
    "SELECT range(2000000000)",
    "SELECT unnest(generate_series(1, 2000000000))",
    "SELECT list_resize([1], 2000000000)",
    "SELECT printf('%2000000000d', 1)",
    "SELECT format('{:>2000000000}', 1)",
    "SELECT bitstring('1', 2000000000)",
    "SELECT list_transform([1], lambda x: repeat('x', 2000000000))",
    "SELECT finalize('x'::BLOB)",
    "SELECT " + "(" * 101 + "1" + ")" * 101,
    "SELECT * FROM " + "(" * 30_000 + "t" + ")" * 30_000,
    "SELECT '" + ")" * 30_000 + "', " + "(" * 30_000,
    "SELECT 1" + " + (1)" * 1_001,
    "SELECT " + "union_value(a := " * 500 + "1" + ")" * 500,
    "SELECT 1" + ", 1" * 1_000,
    "SELECT 1" + " + 1" * 3_000,
    "SELECT " + "NOT " * 9_000 + "true",
    "SELECT 1 --" + "-" * 65_536,
    "SELECT nothing FROM t",
    "SELECT error('wrong')",
    "SELECT ?",
    "SELECT",
    "not SQL",
    "-- nothing",
    ";",
    "",
]


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalogue]:
    """One for all attacks: each leaves it as it was for the next."""
    one = Catalogue(tmp_path_factory.mktemp("attacked") / "store.duckdb")
    one.create("t", SCHEMA)
    yield one
    one.close()


@pytest.mark.parametrize("query", REFUSED, ids=lambda query: ascii(query)[:40])
def test_a_question_changes_nothing_and_reads_no_file(
    attacked: Catalogue, tmp_path: Path, query: str
) -> None:
    before = rows(attacked)
    folder = tmp_path / "secret"
    folder.mkdir()
    file, parquet = folder / "real.csv", folder / "real.parquet"
    file.write_text("a\n1\n")
    pa.parquet.write_table(pa.table({"a": [1]}), parquet)
    for name, value in (("folder", folder), ("file", file), ("parquet", parquet)):
        query = query.replace(f"{{{name}}}", str(value))
    with pytest.raises(HeadraceError) as refused:
        attacked.select(query)
    assert refused.value.asked
    assert refused.value.found
    assert refused.value.do
    assert len(refused.value.asked) < 300
    assert "LIMIT" not in refused.value.found  # only what was asked is shown
    assert {path.name for path in folder.iterdir()} == {"real.csv", "real.parquet"}
    assert attacked.select("SELECT a FROM t ORDER BY a")["a"].to_pylist() == before
    with attacked.transaction():
        attacked.append("t", pa.table({"a": [len(before)]}))
    assert rows(attacked) == [*before, len(before)]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT a FROM t ORDER BY a DESC",
        "  SELECT a FROM t ORDER BY a DESC ;\n",
        "SELECT a FROM t ORDER BY a DESC -- a comment",
        "FROM t ORDER BY a DESC",
        "WITH s AS (SELECT * FROM t) SELECT a FROM s ORDER BY a DESC",
        "SELECT a /* ) ; DROP TABLE t */ FROM t ORDER BY a DESC",
        "WITH RECURSIVE r AS (SELECT 3 AS a UNION ALL SELECT a - 1 FROM r WHERE a > 1) FROM r",
        "SELECT T.A FROM Main.T AS T WHERE T.a IN (SELECT range FROM range(4)) ORDER BY ALL DESC",
        "SELECT unnest([3, 2, 1]) AS a",
        "VALUES (3), (2), (1)",
    ],
)
def test_one_select_is_answered_in_its_order(catalogue: Catalogue, query: str) -> None:
    assert catalogue.select(query).columns[0].to_pylist() == [3, 2, 1]


@pytest.mark.parametrize(
    ("query", "limits", "found"),
    [
        ("SELECT * FROM range(1000000000)", Limits(rows=7), "more than 7 rows; .* add a LIMIT"),
        ("SELECT * FROM range(1000000000)", Limits(size_bytes=3 << 20), "more than 3 MiB"),
        (
            "SELECT SUM(hash(a.range)) FROM range(100000000000) AS a",
            Limits(seconds=0.2),
            r"it took more than 0\.2 seconds",
        ),
        (
            "WITH RECURSIVE r AS (SELECT 1 AS a UNION ALL SELECT a FROM r) SELECT COUNT(*) FROM r",
            Limits(seconds=0.2),
            r"it took more than 0\.2 seconds",
        ),
        (
            "WITH RECURSIVE r AS (SELECT 1 AS a, 'x' AS s UNION ALL SELECT a + 1, s || s FROM r "
            "WHERE a < 40) SELECT MAX(LENGTH(s)) FROM r",
            Limits(growth_bytes=64 << 20),
            "it took more than 64 MiB of memory",
        ),
    ],
)
def test_a_question_ends_at_its_limits(
    catalogue: Catalogue, query: str, limits: Limits, found: str
) -> None:
    with pytest.raises(StoreError, match=found):
        catalogue.select(query, limits)
    assert rows(catalogue) == [1, 2, 3]
    with catalogue.transaction():
        catalogue.append("t", pa.table({"a": [4]}))
    catalogue.checkpoint()  # nothing of it runs on
    assert catalogue.select("SELECT COUNT(*) AS n FROM t")["n"].to_pylist() == [4]
    assert catalogue.select("FROM range(7)", Limits(rows=7)).num_rows == 7


def test_long_questions_do_not_stop_commits(catalogue: Catalogue) -> None:
    slow = "SELECT SUM(hash(a.range)) AS s FROM range(100000000000) AS a, t"
    limits = Limits(seconds=3.0)
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(catalogue.select, slow, limits) for _ in range(READERS)]
        wait_until(lambda: catalogue._asking._value == 0, 10, "the questions to run")
        for a in range(50):
            with catalogue.transaction():
                catalogue.append("t", pa.table({"a": [a]}))
        assert not any(each.done() for each in asked), "they ended before the commits did"
        with pytest.raises(Busy, match="2 questions are running, as many as may; ask again later"):
            catalogue.select("SELECT 1", Limits(seconds=0.01))
        for each in asked:
            with pytest.raises(StoreError, match="it took more than 3 seconds"):
                each.result(30)
    assert len(rows(catalogue)) == 53
    catalogue.checkpoint()
    assert catalogue.select("SELECT 1 AS x")["x"].to_pylist() == [1]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("SELECT * FROM lat_rows", "asked for the table 'lat_rows'; .*did you mean 'late_rows'"),
        ("SELECT * FROM views.clicks", "asked for the table 'views.clicks'; .*'views.clocks'"),
        ("FROM features.clicks(7)", "view of features 'clicks'; known: 'clocks'; did you mean"),
        ("SELECT missing FROM t", 'Referenced column "missing" not found.*"a"'),
        ("SELECT summ(a) FROM t", "Function with name summ does not exist.*sum"),
    ],
)
def test_a_wrong_name_is_told_the_right_one(catalogue: Catalogue, query: str, found: str) -> None:
    catalogue.create("views.clocks", SCHEMA)
    catalogue.define("features.clocks", "t", "SELECT t AS at")
    assert catalogue.select("FROM features.clocks(7)").to_pylist() == [{"at": 7}]
    with pytest.raises((StoreError, UnknownName), match=found):
        catalogue.select(query)


def test_every_function_of_this_duckdb_was_looked_at(catalogue: Catalogue) -> None:
    """A new DuckDB may have new ones that reach out: review, then change the numbers."""
    found = catalogue.read(
        "SELECT function_type AS kind, COUNT(DISTINCT function_name) AS n FROM duckdb_functions() "
        "WHERE internal GROUP BY kind ORDER BY kind"
    )
    assert dict(zip(found["kind"].to_pylist(), found["n"].to_pylist(), strict=True)) == {
        **{"aggregate": 79, "macro": 121, "pragma": 38, "scalar": 814},
        **{"table": 105, "table_macro": 4, "window": 13},
    }


@pytest.mark.parametrize(
    ("query", "times"),
    [
        ("SELECT 'weights' AS weights", 0),
        ("SELECT n FROM weights, nowhere", 0),
        ("SELECT pg_sleep(1), n FROM weights", 0),
        ("SELECT n FROM Weights AS a JOIN main.weights USING (n)", 1),
    ],
)
def test_a_table_that_is_made_is_made_for_whom_names_it(
    catalogue: Catalogue, query: str, times: int
) -> None:
    made: list[pa.Table] = []

    def make() -> pa.Table:
        made.append(pa.table({"n": [7]}))
        return made[-1]

    catalogue.offer("weights", make)
    with contextlib.suppress(HeadraceError):
        assert catalogue.select(query).num_rows == 1
    assert len(made) == times


def test_making_a_table_takes_the_time_of_its_question(catalogue: Catalogue) -> None:
    def make() -> pa.Table:
        watching = {thread.name for thread in threading.enumerate()}
        assert "question" in watching
        return pa.table({"n": [7]})

    catalogue.offer("weights", make)
    assert catalogue.select("SELECT n FROM weights")["n"].to_pylist() == [7]


def test_a_question_sees_no_half_of_a_transaction(catalogue: Catalogue) -> None:
    with catalogue.transaction():
        catalogue.append("t", pa.table({"a": [4]}))
        assert catalogue.select("SELECT COUNT(*) AS n FROM t")["n"].to_pylist() == [3]
    assert catalogue.select("SELECT COUNT(*) AS n FROM t")["n"].to_pylist() == [4]
