"""Training sets as tensors: every row once, in order, whoever reads it."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from headrace.online_learning.dataset import TensorBatch, TrainingTensors
from headrace.operators.errors import StoreError, UnknownName

ROWS = 1_000
HUGE = 2**53 + 1


def table(rows: int = ROWS) -> pa.Table:
    return pa.table(
        {
            "n": pa.array([None if at % 7 == 0 else at for at in range(rows)], pa.int64()),
            "x": pa.array([at / 4 for at in range(rows)], pa.float64()),
            "item": pa.array([HUGE + at for at in range(rows)], pa.int64()),
            "user": pa.array([f"u{at % 5}" if at % 3 else None for at in range(rows)]),
            "late": pa.array([None if at % 11 == 0 else at % 2 == 0 for at in range(rows)]),
        }
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files, with groups that no batch fits."""
    folder = tmp_path_factory.mktemp("training")
    pq.write_table(table().slice(0, 333), folder / "a.parquet", row_group_size=50)
    pq.write_table(table().slice(333), folder / "b.parquet", row_group_size=70)
    return folder


def made(source: pa.Table | Path, batch_rows: int = 64) -> TrainingTensors:
    return TrainingTensors(
        source, numbers=["n", "x"], ids=["item", "user"], label="late", batch_rows=batch_rows
    )


def same(ours: list[TensorBatch], theirs: list[TensorBatch]) -> bool:
    return len(ours) == len(theirs) and all(
        a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
        for a, b in zip(ours, theirs, strict=True)
    )


def joined(batches: list[TensorBatch], name: str) -> Tensor:
    return torch.cat([batch[name] for batch in batches])


def test_every_row_comes_once_in_order(folder: Path) -> None:
    batches = list(made(folder))
    rows = [row for row in table().to_pylist() if row["late"] is not None]
    assert joined(batches, "ids")[:, 0].tolist() == [row["item"] for row in rows]
    assert joined(batches, "label").tolist() == [float(row["late"]) for row in rows]
    numbers = [[float(row["n"] or 0), row["x"]] for row in rows]
    assert joined(batches, "numbers").tolist() == numbers
    assert joined(batches, "known")[:, 0].tolist() == [row["n"] is not None for row in rows]
    users = dict(zip(joined(batches, "ids")[:, 1].tolist(), (r["user"] for r in rows), strict=True))
    assert sorted(users.values(), key=str) == sorted({row["user"] for row in rows}, key=str)
    assert {name: tensor.dtype for name, tensor in batches[0].items()} == {
        "numbers": torch.float32,
        "known": torch.bool,
        "ids": torch.int64,
        "label": torch.float32,
    }


@pytest.mark.parametrize("batch_rows", [1, 50, 64, 999, 5_000])
def test_files_and_groups_do_not_show(folder: Path, batch_rows: int) -> None:
    assert same(list(made(folder, batch_rows)), list(made(table(), batch_rows)))


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_do_not_show(folder: Path, workers: int) -> None:
    loader = DataLoader(
        made(folder),
        batch_size=None,
        num_workers=workers,
        multiprocessing_context="forkserver" if workers else None,
    )
    assert same(list(loader), list(made(table())))


@pytest.mark.parametrize("of", [2, 3, 7])
def test_each_batch_is_one_workers(folder: Path, of: int) -> None:
    dataset = made(folder)
    parts = [list(dataset._batches(place, of)) for place in range(of)]
    whole = list(dataset._batches(0, 1))
    assert sum(map(len, parts)) == len(whole) == 16
    for number, rows in enumerate(whole):
        assert parts[number % of][number // of].equals(rows)


def test_a_group_is_read_when_it_is_needed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    groups: list[int] = []
    read = pq.ParquetFile.read_row_group

    def counted(file: pq.ParquetFile, group: int, **more: object) -> pa.Table:
        groups.append(group)
        return read(file, group, **more)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    next(iter(made(folder)))
    assert groups == [0, 1]
    groups.clear()
    next(iter(made(folder)._batches(3, 4)))  # rows 192 to 255
    assert groups == [3, 4, 5]


def test_without_a_label_all_rows_come() -> None:
    (batch,) = TrainingTensors(table(3), ids=["user"], batch_rows=10)
    assert batch["numbers"].shape == (3, 0)
    assert "label" not in batch
    assert len(batch["ids"]) == 3


def test_one_value_has_one_id_in_any_form() -> None:
    words = pa.array(["a", None, "b"])
    numbers = pa.array([1, 2, 3])
    forms = [
        pa.table({"w": words, "n": numbers}),
        pa.table({"w": words.dictionary_encode(), "n": numbers.cast(pa.int8())}),
        pa.table({"w": words.cast(pa.large_string()), "n": numbers.cast(pa.uint16())}),
    ]
    (first,), *others = (list(TrainingTensors(form, ids=["w", "n"])) for form in forms)
    assert all(same([first], other) for other in others)


def test_what_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no Parquet file"):
        made(tmp_path)
    with pytest.raises(StoreError, match="there is no Parquet file"):
        made(tmp_path / "none.parquet")
    with pytest.raises(UnknownName, match=r"the column 'nn'.*did you mean 'n'"):
        TrainingTensors(table(1), numbers=["nn"])
    with pytest.raises(StoreError, match="'user' as a number; it is string; name it among ids"):
        TrainingTensors(table(3), numbers=["user"])
