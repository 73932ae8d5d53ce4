"""Which rows of a share are kept: a hash of their number, so that every run keeps the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headrace.operators.compiled import compiled
from headrace.operators.hashing import mixed, seed

__all__ = ["kept"]

_SEED = seed(["kept"])


def kept(numbers: NDArray[np.int64], share: float) -> NDArray[np.bool_]:
    """Say of each number whether it is among the share, from 0 to 1.

    >>> int(kept(np.arange(1_000), 0.25).sum())
    244
    >>> bool(kept(np.arange(8), 1.0).all())
    True
    """
    hashes = np.empty(len(numbers), np.uint64)
    _hash(numbers.view(np.uint64), _SEED, hashes)
    below: NDArray[np.bool_] = (hashes >> np.uint64(11)) < np.uint64(share * (1 << 53))
    return below


@compiled
def _hash(numbers: NDArray[np.uint64], start: np.uint64, out: NDArray[np.uint64]) -> None:
    for i in range(numbers.shape[0]):
        out[i] = mixed(start, numbers[i])
