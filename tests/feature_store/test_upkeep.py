"""The file is checked, repaired, compacted, exported; what cannot be done is said."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.feature_store import export, upkeep
from headrace.feature_store.catalogue import Catalogue
from headrace.feature_store.export import Exported
from headrace.feature_store.store import Store
from headrace.operators.errors import CorruptError, EnvironmentProblem, StoreError
from tests.feature_store.made_up import EVERY, declared, examples

LISTS = pa.schema([("k", pa.string()), ("end", pa.int64()), ("l", pa.list_(pa.int64()))])
WIDE = pa.schema([("k", pa.string()), ("end", pa.int64()), ("s", pa.decimal128(38, 0))])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give a closed file with tiles in no order."""
    one = Catalogue(tmp_path / "store.duckdb")
    one.create("tiles.lists", LISTS)
    one.create("tiles.wide", WIDE)
    with one.transaction():
        rows = {"k": ["b", "a", None, "a"], "end": [2, 2, 1, 1], "l": [[1], [], None, [2, 3]]}
        one.append("tiles.lists", pa.table(rows, LISTS))
        far = [10**37, -(10**37), None]
        one.append("tiles.wide", pa.table({"k": list("xyz"), "end": [3, 1, 2], "s": far}, WIDE))
    one.close()
    return tmp_path / "store.duckdb"


@pytest.fixture
def opened(path: Path) -> Iterator[Catalogue]:
    one = Catalogue(path)
    yield one
    one.close()


def digests(path: Path) -> list[Exported]:
    folder = path.parent / "digests"
    folder.mkdir()
    one = Catalogue(path)
    found = export.digests(one, folder)
    one.close()
    shutil.rmtree(folder)
    return found


def test_an_export_is_sorted_and_the_same_for_the_same_rows(path: Path, tmp_path: Path) -> None:
    opened = Catalogue(path)
    files = export.export(opened, tmp_path / "out")
    again = export.export(opened, tmp_path / "again")
    opened.close()
    assert files == again == digests(path)
    rows = pq.read_table(tmp_path / "out" / "tiles.lists.parquet").to_pylist()
    assert [(row["end"], row["k"]) for row in rows] == [(1, "a"), (1, None), (2, "a"), (2, "b")]
    manifests = [(tmp_path / name / export.MANIFEST).read_bytes() for name in ("out", "again")]
    assert manifests[0] == manifests[1]
    assert export.check(tmp_path / "out") == []


def test_what_is_wrong_with_an_export_is_named(opened: Catalogue, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export.export(opened, out)
    with pytest.raises(StoreError, match="there already"):
        export.export(opened, out)
    with pytest.raises(EnvironmentProblem, match="nowhere"):
        export.export(opened, tmp_path / "nowhere" / "out")
    (out / "tiles.wide.parquet").unlink()
    (out / "other.parquet").write_bytes(b"")
    found = [str(problem) for problem in export.check(out)]
    assert len(found) == 2
    assert "other.parquet: " in found[0]
    assert "tiles.wide.parquet: " in found[1]
    (out / export.MANIFEST).unlink()
    (problem,) = export.check(out)
    assert "it has no manifest.json" in str(problem)


def test_a_compacted_file_has_the_same_rows_in_order(path: Path) -> None:
    before = digests(path)
    assert upkeep.compact(path)[0] > 0
    assert digests(path) == before
    one = Catalogue(path)
    assert one.read("SELECT k FROM tiles.lists")["k"].to_pylist() == ["a", None, "a", "b"]
    one.close()
    assert upkeep.check(path) == []
    assert not list(path.parent.glob(".*compact*"))


def test_a_file_that_was_not_closed_takes_nobodys_place(path: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.duckdb"
    new.write_bytes(b"")
    upkeep.wal(new).write_bytes(b"changes")
    with pytest.raises(StoreError, match="it was not closed"):
        upkeep.swap(new, path)
    assert upkeep.check(path) == []


def test_what_check_finds_is_said(path: Path) -> None:
    one = Catalogue(path)
    with one.transaction():
        one.append("tiles.wide", pa.table({"k": ["x"], "end": [3], "s": [10**37]}, WIDE))
    one.close()
    (problem,) = upkeep.check(path)
    assert "each row of tiles.wide is there once; it is not so" in str(problem)
    os.truncate(path, path.stat().st_size // 2)
    (problem,) = upkeep.check(path)
    assert "headrace store rebuild" in str(problem)
    path.write_bytes(b"no DuckDB file" * 1_000)
    with pytest.raises(CorruptError, match="headrace store rebuild"):
        upkeep.repair(path)
    path.unlink()
    (problem,) = upkeep.check(path)
    assert "it is not there" in str(problem)


def test_several_outcomes_of_a_decision_are_no_damage(tmp_path: Path) -> None:
    store = Store(tmp_path / "asked.duckdb", declared(tmp_path))
    with store.catalogue.transaction():
        store.add_examples([examples(3 * EVERY, (5, "d5", True), (5, "d5", False))])
    store.catalogue.close()
    assert upkeep.check(store.path) == []
