"""What every export to ONNX needs: its packages, the file's name, and ONNX Runtime at work."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.online_learning import durable
from headrace.operators.errors import EnvironmentProblem

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

__all__ = ["ONNX", "check_installed", "opened"]

ONNX = "model.onnx"


def check_installed(*packages: str) -> None:
    """Refuse where one of the packages is not there: an EnvironmentProblem."""
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        asked, found = "asked for ONNX", f"{' and '.join(missing)} not installed"
        raise EnvironmentProblem(asked, found, "install headrace[export]")


def opened(data: bytes, folder: Path) -> InferenceSession:
    """Write a model into a folder, and open it in ONNX Runtime, on one thread."""
    import onnxruntime

    durable.write(folder / ONNX, data)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
