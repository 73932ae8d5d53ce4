"""The DuckDB file: one writer, whole transactions, and questions that can change nothing."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet
import pytest

from headrace.feature_store.catalogue import Catalogue
from headrace.operators.errors import StoreError

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
    "SELECT getenv('HOME')",
    "SELECT nothing FROM t",
    "SELECT error('wrong')",
    "SELECT ?",
    "SELECT",
    "not SQL",
    "-- nothing",
    ";",
    "",
]


@pytest.mark.parametrize("query", REFUSED, ids=lambda query: ascii(query)[:40])
def test_a_question_changes_nothing_and_reads_no_file(
    catalogue: Catalogue, tmp_path: Path, query: str
) -> None:
    folder = tmp_path / "secret"
    folder.mkdir()
    file, parquet = folder / "real.csv", folder / "real.parquet"
    file.write_text("a\n1\n")
    pa.parquet.write_table(pa.table({"a": [1]}), parquet)
    for name, value in (("folder", folder), ("file", file), ("parquet", parquet)):
        query = query.replace(f"{{{name}}}", str(value))
    with pytest.raises(StoreError) as refused:
        catalogue.select(query)
    assert refused.value.asked
    assert refused.value.found
    assert refused.value.do
    assert "LIMIT" not in refused.value.found  # only what was asked is shown
    assert {path.name for path in folder.iterdir()} == {"real.csv", "real.parquet"}
    assert catalogue.select("SELECT a FROM t ORDER BY a")["a"].to_pylist() == [1, 2, 3]
    with catalogue.transaction():
        catalogue.append("t", pa.table({"a": [4]}))
    assert rows(catalogue) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT a FROM t ORDER BY a DESC",
        "  SELECT a FROM t ORDER BY a DESC ;\n",
        "SELECT a FROM t ORDER BY a DESC -- a comment",
        "FROM t ORDER BY a DESC",
        "WITH s AS (SELECT * FROM t) SELECT a FROM s ORDER BY a DESC",
        "SELECT a /* ) ; DROP TABLE t */ FROM t ORDER BY a DESC",
    ],
)
def test_one_select_is_answered_in_its_order(catalogue: Catalogue, query: str) -> None:
    assert catalogue.select(query)["a"].to_pylist() == [3, 2, 1]


def test_a_question_ends_at_its_limit_and_at_its_deadline(catalogue: Catalogue) -> None:
    assert catalogue.select("SELECT * FROM range(1000000000)", limit=7).num_rows == 7
    with pytest.raises(StoreError, match=r"it took more than 0\.2 seconds"):
        catalogue.select("SELECT SUM(hash(a.range)) FROM range(100000000000) AS a", seconds=0.2)
    assert rows(catalogue) == [1, 2, 3]
    with catalogue.transaction():
        catalogue.append("t", pa.table({"a": [4]}))
    assert catalogue.select("SELECT COUNT(*) AS n FROM t")["n"].to_pylist() == [4]


def test_a_question_sees_no_half_of_a_transaction(catalogue: Catalogue) -> None:
    with catalogue.transaction():
        catalogue.append("t", pa.table({"a": [4]}))
        assert catalogue.select("SELECT COUNT(*) AS n FROM t")["n"].to_pylist() == [3]
    assert catalogue.select("SELECT COUNT(*) AS n FROM t")["n"].to_pylist() == [4]
