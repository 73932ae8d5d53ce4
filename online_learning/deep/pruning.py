"""A net without its smallest weights, and in fewer bytes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headrace.online_learning.deep.catalogue import net_of
from headrace.online_learning.deep.settings import Deep
from headrace.online_learning.models.model import Arrays
from headrace.online_learning.settings import LearningError

__all__ = ["packed", "pruned", "unpacked"]

Floats = NDArray[np.float32]


def pruned(settings: Deep, dense: Floats, share: float) -> Floats:
    """Set the smallest weights of each matrix of a net to 0; biases stay.

    Parameters
    ----------
    dense
        The dense weights of a version: `arrays["dense"]`.
    share
        Of each matrix, from 0 up to below 1; of weights of one size the first ones go.

    Examples
    --------
    >>> from headrace.online_learning.deep.part import DeepPart
    >>> from headrace.online_learning.deep.settings import Field
    >>> settings = Deep((Field("user"),), device="cpu")
    >>> dense = pruned(settings, DeepPart(settings).weights()["dense"], 0.5)
    >>> round(float((dense == 0).mean()), 2)
    0.49
    """
    if not 0 <= share < 1:
        asked = f"asked to prune {share} of the weights"
        raise LearningError(asked, "it is no share", "give 0 up to below 1")
    out, start = dense.copy(), 0
    for one in net_of(settings).parameters():
        part = out[start : start + one.numel()]
        if one.dim() > 1:
            smallest = np.argsort(np.abs(part), kind="stable")[: int(share * len(part))]
            part[smallest] = 0.0
        start += one.numel()
    return out


def packed(dense: Floats) -> Arrays:
    """Keep only the weights that are not 0, and a bit for each that says where they stand.

    >>> small = packed(np.array([0, 2, 0, 0, 5, 0, 0, 0, 1], np.float32))
    >>> small["mask"].tolist(), small["values"].tolist(), unpacked(small).tolist()
    ([72, 128], [2.0, 5.0, 1.0], [0.0, 2.0, 0.0, 0.0, 5.0, 0.0, 0.0, 0.0, 1.0])
    """
    stay = dense != 0
    return {"mask": np.packbits(stay), "values": dense[stay], "length": np.array([len(dense)])}


def unpacked(arrays: Arrays) -> Floats:
    """Give the weights back, to the bit."""
    out = np.zeros(int(arrays["length"][0]), np.float32)
    out[np.unpackbits(arrays["mask"], count=len(out)).astype(bool)] = arrays["values"]
    return out
