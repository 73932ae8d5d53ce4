"""A linear model as ONNX: the sum of the weights of a row's slots, and of its numbers times theirs.

::

    slots    int64 (rows, tokens) ──► Gather ─► ReduceSum ─┐
    numbers  float32 (rows, m) ─────► MatMul ──────────────┴─► logits (rows,)
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.online_learning.onnx_file import check_installed, opened

__all__ = ["export_linear"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_OPSET, _IR = 18, 9  # what ONNX Runtime has read for years


def export_linear(
    weights: Floats, numbers: int, folder: Path
) -> tuple[int, Callable[[Ints, Floats], Floats]]:
    """Write `model.onnx`; give its size, and what asks ONNX Runtime for logits, on one thread.

    Parameters
    ----------
    weights
        Of the slots, and last of the `numbers`; float32 in the file.

    Raises
    ------
    EnvironmentProblem
        Where the extra `export` is not installed.
    """
    check_installed("onnx", "onnxruntime")
    data = _graph(weights.astype(np.float32), numbers)
    session = opened(data, folder)

    def score(slots: Ints, given: Floats) -> Floats:
        told = {"slots": slots}
        if numbers:
            told["numbers"] = given.astype(np.float32)
        [logits] = session.run(["logits"], told)
        whole: Floats = logits.astype(np.float64)
        return whole

    return len(data), score


def _graph(weights: NDArray[np.float32], numbers: int) -> bytes:
    from onnx import TensorProto, checker, helper, numpy_helper

    slots = len(weights) - numbers
    of_slots = [
        helper.make_node("Gather", ["weights", "slots"], ["each"]),
        helper.make_node("ReduceSum", ["each", "axis"], ["sum"], keepdims=0),
    ]
    of_numbers = [
        helper.make_node("MatMul", ["numbers", "of_numbers"], ["more"]),
        helper.make_node("Add", ["sum", "more"], ["logits"]),
    ]
    none = [helper.make_node("Identity", ["sum"], ["logits"])]
    inputs = [helper.make_tensor_value_info("slots", TensorProto.INT64, ["rows", "tokens"])]
    kept: dict[str, NDArray[Any]] = {"weights": weights[:slots], "axis": np.array([1])}
    if numbers:
        shape: list[str | int | None] = ["rows", numbers]
        inputs.append(helper.make_tensor_value_info("numbers", TensorProto.FLOAT, shape))
        kept["of_numbers"] = weights[slots:]
    graph = helper.make_graph(
        of_slots + (of_numbers if numbers else none),
        "linear",
        inputs,
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["rows"])],
        [numpy_helper.from_array(each, name) for name, each in kept.items()],
    )
    opset = [helper.make_opsetid("", _OPSET)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=_IR)
    checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data
