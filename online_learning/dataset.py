"""Training sets as tensors: batches of Parquet files, in their order, whoever reads them.

::

    rows     0 … 4095 │ 4096 … 8191 │ 8192 … 12287 │ …        batches, cut across files and groups
    worker       0    │      1      │      0       │ …        each makes those of its number

`torch.utils.data.DataLoader` takes a batch from each worker in turn, so what comes out is the same
for any number of them. A worker has one group of rows in memory (`TrainingSet.to_parquet` writes
65,536 to a group), and reads a group only where it makes a batch of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from headrace.operators.errors import StoreError, UnknownName
from headrace.operators.hashing import Codes, whole_array

__all__ = ["TensorBatch", "TrainingTensors"]

TensorBatch = dict[str, Tensor]
_Part = tuple[int, Callable[[], pa.Table]]
_NUMBERS = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean)


class TrainingTensors(IterableDataset[TensorBatch]):
    """The rows of a training set as tensors, batch by batch.

    A batch has ``numbers``, float32 of shape (rows, numbers), 0 where null; ``known``, bool of the
    same shape, false where null; ``ids``, int64 of shape (rows, ids): whole numbers as they are,
    texts and nulls by their hash; and ``label``, float32 of shape (rows,), where one is named.
    Rows without a label are left out, so a batch may have fewer.

    Give it to a ``DataLoader`` with ``batch_size=None``, for its items are batches.

    Parameters
    ----------
    source
        A Parquet file, a folder of such files, read in the order of their names, or a table.
    numbers, ids
        The columns that become numbers, and those that become ids.
    label
        The column of the label: a number or a bool; none unless given.
    batch_rows
        Rows a batch; the last one may have fewer.

    Raises
    ------
    StoreError, UnknownName
        Where there is no such file or column, or a column is no number.

    Examples
    --------
    >>> rows = pa.table({"n": [1, None, 3], "user": ["u", "v", "u"], "late": [True, False, None]})
    >>> [batch] = TrainingTensors(rows, numbers=["n"], ids=["user"], label="late")
    >>> batch["numbers"].tolist(), batch["known"].tolist(), batch["label"].tolist()
    ([[1.0], [0.0]], [[True], [False]], [1.0, 0.0])

    """

    def __init__(
        self,
        source: pa.Table | Path | str,
        *,
        numbers: Sequence[str] = (),
        ids: Sequence[str] = (),
        label: str = "",
        batch_rows: int = 4096,
    ) -> None:
        super().__init__()
        self._numbers, self._ids, self._label = list(numbers), list(ids), label
        self._columns = list(dict.fromkeys([*numbers, *ids, *([label] if label else [])]))
        numeric = [*numbers, *([label] if label else [])]
        self._files: list[Path] = []
        self._table: pa.Table | None = None
        if isinstance(source, str | Path):
            self._files = _files(Path(source))
            for file in self._files:
                _check(pq.read_schema(file), self._columns, numeric)
        else:
            _check(source.schema, self._columns, numeric)
            self._table = source.select(self._columns)
        self._batch_rows = batch_rows

    def __iter__(self) -> Iterator[TensorBatch]:
        """Give the batches of this worker, or all where there are no workers."""
        worker = get_worker_info()
        place, of = (worker.id, worker.num_workers) if worker else (0, 1)
        codes = Codes()
        for rows in self._batches(place, of):
            yield self._tensors(rows, codes)

    def _batches(self, place: int, of: int) -> Iterator[pa.Table]:
        number, count = 0, 0
        held: list[pa.Table] = []
        for rows, read in self._parts():
            start = 0
            part: pa.Table | None = None
            while start < rows:
                taken = min(rows - start, self._batch_rows - count)
                if number % of == place:
                    part = read() if part is None else part
                    held.append(part.slice(start, taken))
                start, count = start + taken, count + taken
                if count == self._batch_rows:
                    if held:
                        yield pa.concat_tables(held)
                    number, count, held = number + 1, 0, []
        if held:
            yield pa.concat_tables(held)

    def _parts(self) -> Iterator[_Part]:
        """Give groups of rows in order: how many, and what reads them."""
        if self._table is not None:
            table = self._table
            yield table.num_rows, lambda: table
        for path in self._files:
            with pq.ParquetFile(path) as file:
                for group in range(file.num_row_groups):
                    yield file.metadata.row_group(group).num_rows, self._reading(file, group)

    def _reading(self, file: pq.ParquetFile, group: int) -> Callable[[], pa.Table]:
        return lambda: file.read_row_group(group, columns=self._columns, use_threads=False)

    def _tensors(self, rows: pa.Table, codes: Codes) -> TensorBatch:
        if self._label:
            rows = rows.filter(pc.is_valid(rows[self._label]))
        columns = {name: whole_array(rows[name]) for name in self._columns}
        numbers = np.zeros((rows.num_rows, len(self._numbers)), np.float32)
        known = np.zeros(numbers.shape, np.bool_)
        ids = np.zeros((rows.num_rows, len(self._ids)), np.int64)
        for place, name in enumerate(self._numbers):
            numbers[:, place] = _floats(columns[name])
            known[:, place] = columns[name].is_valid().to_numpy(zero_copy_only=False)
        for place, name in enumerate(self._ids):
            ids[:, place] = codes.of(_plain(columns[name])).view(np.int64)
        found = {"numbers": numbers, "known": known, "ids": ids}
        if self._label:
            found["label"] = _floats(columns[self._label])
        return {name: torch.from_numpy(array) for name, array in found.items()}


def _files(path: Path) -> list[Path]:
    found = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not found or not found[0].exists():
        asked = f"asked for the training set '{path}'"
        raise StoreError(asked, "there is no Parquet file", "give one, or their folder")
    return found


def _check(schema: pa.Schema, columns: Sequence[str], numbers: Sequence[str]) -> None:
    for name in columns:
        if name not in schema.names:
            raise UnknownName(kind="column", name=name, known=schema.names)
        kind = schema.field(name).type
        if name in numbers and not any(is_of(kind) for is_of in _NUMBERS):
            asked = f"asked for the column {name!r} as a number"
            raise StoreError(asked, f"it is {kind}", "name it among ids, or cast it")


def _floats(column: pa.Array) -> NDArray[np.float32]:
    filled = column.cast(pa.float64()).fill_null(0)
    values: NDArray[np.float32] = filled.to_numpy(zero_copy_only=False).astype(np.float32)
    return values


def _plain(column: pa.Array) -> pa.Array:
    """Give whole numbers as int64 and texts as string, for one value has one id in any form."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column.cast(pa.int64() if pa.types.is_integer(column.type) else pa.string())
