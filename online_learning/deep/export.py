"""A version for others to run: ONNX, or a program of torch.export. Needs the extra `export`.

::

    id ──its row, or its field's number──► rows   int64 (batch, fields) ─┐
    what the caller standardised ────────► numerics float32 (batch, m) ──┴─► logits (batch, tasks)

The table is within the file; which row an id has is in `ids.safetensors` beside it, as `ids`,
`fields` and `rows`. Who is not there has the default row: the field's own number.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import numpy as safetensors
from torch import Tensor, nn

from headrace.online_learning import durable
from headrace.online_learning.deep.replica import Replica
from headrace.online_learning.deep.scoring import CUT
from headrace.online_learning.deep.serving import Serving
from headrace.online_learning.onnx_file import check_installed, opened

__all__ = ["Exported", "export_onnx", "export_program"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

IDS, PROGRAM = "ids.safetensors", "model.pt2"


class _Whole(nn.Module):
    """The table, what is done to numerics, and the net."""

    table: Tensor

    def __init__(self, serving: Serving) -> None:
        super().__init__()
        self.net = serving.net
        self.register_buffer("table", torch.from_numpy(serving.rows.weights.copy()))

    def forward(self, rows: Tensor, numerics: Tensor) -> Tensor:
        flat = self.table.index_select(0, rows.reshape(-1)).reshape(rows.shape[0], -1)
        cut = torch.nan_to_num(numerics, nan=0.0).clamp(-CUT, CUT)
        return self.net(flat, cut)


@dataclass(frozen=True)
class Exported:
    """What was written, at work: `score` asks it as `Serving.score` asks its own net.

    Parameters
    ----------
    size_bytes
        Of the files.
    rows
        Knows the row of each id.
    run
        Gives logits of rows and numerics.
    """

    size_bytes: int
    rows: Replica
    run: Callable[[Ints, NDArray[np.float32]], NDArray[np.float32]]

    def score(self, ids: Ints, numerics: Floats) -> Floats:
        """Give logits, as `Serving.score` does."""
        logits = self.run(self.rows.find(ids), numerics.astype(np.float32)).astype(np.float64)
        return logits[:, 0] if logits.shape[1] == 1 else logits


def export_onnx(serving: Serving, folder: Path) -> Exported:
    """Write `model.onnx` and `ids.safetensors` into a folder, and open them in ONNX Runtime.

    Any number of rows may be asked for at once. Logits are those of `serving.score` but for the
    last digits: sums are added in another order. It runs on one thread.

    Raises
    ------
    EnvironmentProblem
        When the extra `export` is not installed.
    """
    check_installed("onnx", "onnxruntime", "onnxscript")
    with _quiet():
        made = torch.onnx.export(
            _program(serving),
            input_names=["rows", "numerics"],
            output_names=["logits"],
            dynamo=True,
            verbose=False,
        )
    data = cast("torch.onnx.ONNXProgram", made).model_proto.SerializeToString()
    session = opened(data, folder)

    def run(rows: Ints, numerics: NDArray[np.float32]) -> NDArray[np.float32]:
        [logits] = session.run(["logits"], {"rows": rows, "numerics": numerics})
        return cast("NDArray[np.float32]", logits)

    return Exported(len(data) + _ids(serving, folder), serving.rows, run)


def export_program(serving: Serving, folder: Path) -> Exported:
    """Write `model.pt2`, a program of torch.export, and `ids.safetensors`; as `export_onnx` else.

    No sample inputs are kept in it, for torch writes them in a form that can run code. Whoever
    reads it with `torch.export.load` should trust where it came from, and what runs here is the
    program that was written, not the file.
    """
    program = _program(serving)
    program.example_inputs = None
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    durable.write(folder / PROGRAM, buffer.getvalue())
    module = program.module()

    def run(rows: Ints, numerics: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.no_grad():
            out: Tensor = module(torch.from_numpy(rows), torch.from_numpy(numerics))
        return out.numpy()

    size_bytes = len(buffer.getvalue()) + _ids(serving, folder)
    return Exported(size_bytes, serving.rows, run)


def _program(serving: Serving) -> torch.export.ExportedProgram:
    fields, numerics = len(serving.settings.fields), serving.settings.numerics
    batch = torch.export.Dim("batch", min=1)
    sample = torch.zeros(2, fields, dtype=torch.int64), torch.zeros(2, numerics)
    shapes = {"rows": {0: batch}, "numerics": {0: batch}}
    return torch.export.export(_Whole(serving).eval(), sample, dynamic_shapes=shapes)


def _ids(serving: Serving, folder: Path) -> int:
    data = safetensors.save(dict(serving.rows.places()))
    durable.write(folder / IDS, data)
    return len(data)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back the exporter's warnings that torchvision, which nothing here uses, is missing."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
