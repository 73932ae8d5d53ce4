"""Rows in fewer bytes: half floats, or whole numbers of eight bits with a scale for each row.

::

    fp32  4 bytes a weight, as it is
    fp16  2                 off by at most 2^-11 of the weight (2^-25 near 0), refused above 65504
    int8  1, and 4 a row    off by at most half a step, 1/254 of the row's greatest weight
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from headrace.online_learning.settings import LearningError
from headrace.operators.errors import UnknownName

__all__ = ["FORMS", "bound", "pack", "unpack"]

FORMS = ("fp32", "fp16", "int8")

Floats = NDArray[np.float32]
Packed = Mapping[str, NDArray[np.float32] | NDArray[np.float16] | NDArray[np.int8]]


def pack(rows: Floats, form: str) -> Packed:
    """Pack rows (n, width) into arrays with a line for each.

    Raises
    ------
    LearningError
        Where a weight does not fit, or is not finite.

    Examples
    --------
    >>> packed = pack(np.array([[0.5, -1.27]], np.float32), "int8")
    >>> packed["rows"].tolist(), unpack(packed).round(3).tolist()
    ([[50, -127]], [[0.5, -1.2699999809265137]])
    """
    if form not in FORMS:
        raise UnknownName(kind="form of rows", name=form, known=FORMS)
    most = float(np.finfo(np.float16 if form == "fp16" else np.float32).max)
    if rows.size and not np.abs(rows).max() <= most:
        asked = f"asked for rows as {form}"
        raise LearningError(asked, f"a weight is not within ±{most:g}", "keep them as fp32")
    if form == "fp32":
        return {"rows": rows}
    if form == "fp16":
        return {"rows": rows.astype(np.float16)}
    # A smaller scale would be no normal number, and dividing by it not exact enough.
    scale = np.maximum(np.abs(rows).max(1, initial=0.0) / 127, np.finfo(np.float32).tiny)
    codes = np.clip(np.rint(rows / scale[:, None]), -127, 127).astype(np.int8)
    return {"rows": codes, "scale": scale.astype(np.float32)}


def unpack(packed: Packed) -> Floats:
    """Give the rows back, as near as the form allows."""
    rows: Floats = packed["rows"].astype(np.float32)
    if "scale" in packed:
        rows *= packed["scale"][:, None].astype(np.float32)
    return rows


def bound(rows: Floats, form: str) -> Floats:
    """Give how far off a weight of each row may be when it was packed and unpacked.

    >>> bound(np.array([[0.5, -1.27]], np.float32), "int8").round(4).tolist()
    [0.004999999888241291]
    """
    most: Floats = np.abs(rows).max(1, initial=0.0)
    if form == "fp32":
        return np.zeros(len(rows), np.float32)
    if form == "fp16":
        return np.maximum(most * 2.0**-11, 2.0**-25).astype(np.float32)
    # Half a step, and the last digits of the scale and of the product.
    step: Floats = most / np.float32(254) * np.float32(1 + 1e-5) + np.finfo(np.float32).tiny
    return step
