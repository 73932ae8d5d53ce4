"""Weights of which most are 0, as a version keeps them: where they are, and what they are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headrace.online_learning.models.model import Arrays
from headrace.online_learning.settings import LearningError

__all__ = ["dense", "visited"]


def visited(ids: NDArray[np.int64], weights: NDArray[np.float64]) -> Arrays:
    """Give the weights that are not 0, of the slots `ids`, which increase.

    >>> visited(np.array([2, 5, 7]), np.array([0.5, 0.0, -1.0]))["ids"].tolist()
    [2, 7]
    """
    kept = weights != 0
    return {"ids": ids[kept].astype(np.int64), "weights": weights[kept]}


def dense(arrays: Arrays, name: str, slots: int) -> NDArray[np.float64]:
    """Give the weight of every slot; 0 of all where there are no arrays.

    Raises
    ------
    LearningError
        Where the arrays are none that `visited` gives.

    Examples
    --------
    >>> dense({"ids": np.array([1]), "weights": np.array([0.5])}, "weights", 3).tolist()
    [0.0, 0.5, 0.0]
    """
    weights = np.zeros(slots)
    if not arrays:
        return weights
    if fault := _fault(arrays, name, slots):
        asked = "asked for weights"
        raise LearningError(asked, fault, "keep the version you have")
    weights[arrays["ids"]] = arrays[name]
    return weights


def _fault(arrays: Arrays, name: str, slots: int) -> str | None:
    if not {"ids", name} <= set(arrays):
        return f"it holds {sorted(arrays)}"
    ids, values = arrays["ids"], arrays[name]
    if ids.dtype != np.int64 or values.dtype != np.float64 or ids.shape != values.shape:
        return "ids and weights do not fit"
    if len(ids) and not (ids[0] >= 0 and ids[-1] < slots and (np.diff(ids) > 0).all()):
        return f"the ids do not increase within {slots} slots"
    return None
