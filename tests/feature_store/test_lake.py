"""The store's tables as Delta Lake's and Iceberg's, read by those libraries: all rows, no doubt."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from pyiceberg.catalog.sql import SqlCatalog
from typer.testing import CliRunner

from headrace.feature_store.catalogue import Catalogue
from headrace.feature_store.export import synced
from headrace.feature_store.lake import Form, Laid, lay
from headrace.jobs.cli.main import application
from headrace.operators.errors import EnvironmentProblem, StoreError

TILES = pa.schema(
    [
        ("k", pa.string()),
        ("end", pa.int64()),
        ("n", pa.int32()),
        ("s", pa.decimal128(38, 0)),
        ("x", pa.float64()),
        ("b", pa.binary()),
        ("ok", pa.bool_()),
        ("l", pa.list_(pa.int64())),
    ]
)
FAR = 10**38 - 1
ROWS = [
    ("b", 2, 1, FAR, 1.5, b"", True, [1, None]),
    (None, 1, None, -FAR, None, None, None, None),
    ("a\x00ü", -1, -(2**31), None, 1e308, b"\x00\xff", False, []),
]
forms = pytest.mark.parametrize("form", ["delta", "iceberg"])


def rows(*of: tuple[object, ...]) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(TILES.names, row, strict=True)) for row in of], TILES)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Catalogue]:
    one = Catalogue(tmp_path / "store.duckdb")
    one.create("tiles.wide", TILES)
    with one.transaction():
        one.append("tiles.wide", rows(*ROWS))
    yield one
    one.close()


def read(folder: Path, form: Form, table: str, *, back: int = 0) -> pa.Table:
    """Read a table by its format's own library, some versions back, as the newest has them."""
    if form == "delta":
        told = DeltaTable(str(folder / table))
        told.load_as_version(told.version() - back)
        return told.to_pyarrow_table()
    with_it = SqlCatalog(
        "headrace", uri=f"sqlite:///{folder / 'iceberg.db'}", warehouse=folder.as_uri()
    )
    space, _, name = table.rpartition(".")
    found = with_it.load_table((space or "store", name))
    # A version that replaces another is two: all is removed, then it is added.
    version = found.history()[-1 - 2 * back].snapshot_id
    with_it.close()
    return found.scan(snapshot_id=version).to_arrow()


def same(found: pa.Table, path: Path, schema: pa.Schema = TILES) -> bool:
    """Say whether it is what the store has of it, by the file that was exported beside it."""
    return bool(found.select(schema.names).cast(schema).equals(pq.read_table(path).cast(schema)))


def newest(laid: list[Laid], folder: Path, table: str) -> Path:
    (one,) = (each.file for each in laid if each.file.table == table)
    return folder / table / f"{one.sha256}.parquet"


@forms
def test_its_own_library_reads_what_the_store_has(
    opened: Catalogue, tmp_path: Path, form: Form
) -> None:
    folder = tmp_path / "lake"
    laid = lay(opened, folder, form)
    assert all(each.new for each in laid)
    assert {each.file.table for each in laid} == set(opened.tables())
    found = read(folder, form, "tiles.wide")
    assert found.num_rows == len(ROWS)
    assert same(found, newest(laid, folder, "tiles.wide"))
    kept = opened.read('SELECT * FROM tiles.wide ORDER BY "end"').to_pylist()
    assert found.sort_by("end").to_pylist() == kept
    assert read(folder, form, "offsets").num_rows == 0  # no rows are a table, too


@forms
def test_the_next_version_has_the_new_rows_and_the_one_before_stays(
    opened: Catalogue, tmp_path: Path, form: Form
) -> None:
    folder = tmp_path / "lake"
    lay(opened, folder, form)
    assert not any(each.new for each in lay(opened, folder, form))
    with opened.transaction():
        opened.append("tiles.wide", rows(("c", 9, 0, 0, 0.0, b"", True, [7])))
    laid = lay(opened, folder, form)
    assert [each.file.table for each in laid if each.new] == ["tiles.wide"]
    assert read(folder, form, "tiles.wide").num_rows == len(ROWS) + 1
    assert read(folder, form, "tiles.wide", back=1).num_rows == len(ROWS)


@forms
def test_a_column_that_is_new_is_there_from_then_on(
    opened: Catalogue, tmp_path: Path, form: Form
) -> None:
    folder = tmp_path / "lake"
    lay(opened, folder, form)
    wider = TILES.append(pa.field("more", pa.int64()))
    opened.create("tiles.wide", wider)
    laid = lay(opened, folder, form)
    assert same(read(folder, form, "tiles.wide"), newest(laid, folder, "tiles.wide"), wider)


@forms
def test_a_kill_before_the_version_leaves_the_one_before(
    opened: Catalogue, tmp_path: Path, form: Form, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "lake"
    lay(opened, folder, form)
    with opened.transaction():
        opened.append("tiles.wide", rows(("c", 9, 0, 0, 0.0, b"", True, [7])))

    class Killed(BaseException):
        pass

    def killed(path: Path) -> None:
        if path.name == "tiles.wide":
            raise Killed
        synced(path)

    with monkeypatch.context() as killing:
        killing.setattr("headrace.feature_store.lake.synced", killed)
        with pytest.raises(Killed):
            lay(opened, folder, form)
    assert read(folder, form, "tiles.wide").num_rows == len(ROWS)
    lay(opened, folder, form)
    assert read(folder, form, "tiles.wide").num_rows == len(ROWS) + 1


def test_both_formats_share_the_files(opened: Catalogue, tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    assert [each.file for each in lay(opened, folder, "delta")] == [
        each.file for each in lay(opened, folder, "iceberg")
    ]
    assert len(list((folder / "tiles.wide").glob("*.parquet"))) == 1
    assert read(folder, "delta", "tiles.wide").num_rows == len(ROWS)
    assert read(folder, "iceberg", "tiles.wide").num_rows == len(ROWS)


def test_what_iceberg_cannot_change_is_said(opened: Catalogue, tmp_path: Path) -> None:
    lay(opened, tmp_path / "lake", "iceberg")
    with closing(Catalogue(tmp_path / "other.duckdb")) as other:
        other.create("tiles.wide", pa.schema([("k", pa.int64()), ("end", pa.int64())]))
        with pytest.raises(StoreError, match=r"tiles.wide; Cannot change column type: k.*another"):
            lay(other, tmp_path / "lake", "iceberg")


@forms
def test_without_its_library_it_says_what_to_install(
    opened: Catalogue, tmp_path: Path, form: Form, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("deltalake", "pyiceberg.catalog.sql"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(EnvironmentProblem, match=r"is not installed; install headrace\[lake\]"):
        lay(opened, tmp_path / "lake", form)
    assert not (tmp_path / "lake").exists()


def test_the_command_writes_it(opened: Catalogue, tmp_path: Path) -> None:
    opened.close()
    (tmp_path / "store").mkdir()
    opened.path.rename(tmp_path / "store" / "store.duckdb")
    asked = ["store", "export", str(tmp_path / "lake"), "--as", "delta", "--state", str(tmp_path)]
    for _ in range(2):
        result = CliRunner().invoke(application, asked)
        assert result.exit_code == 0, result.output
    assert read(tmp_path / "lake", "delta", "tiles.wide").num_rows == len(ROWS)
