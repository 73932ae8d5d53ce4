"""A linear model that learns what a deep one says: far smaller, and read in a microsecond."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headrace.online_learning.models import ftrl
from headrace.online_learning.settings import Ftrl, LearningError

__all__ = ["distilled"]

Floats = NDArray[np.float64]


def distilled(
    logits: Floats,
    slots: NDArray[np.int32],
    numbers: Floats,
    *,
    size: int,
    settings: Ftrl,
    passes: int = 2,
) -> Floats:
    """Fit a linear model to the probabilities of another, which say more than labels do.

    Parameters
    ----------
    logits
        Of the teacher, for each row; no label is needed.
    slots
        The slots of each row among `size`, of shape (rows, tokens).
    numbers
        Of shape (rows, numbers).
    passes
        How often all rows are gone through, in their order.

    Returns
    -------
    The weights of the slots and, last, of the numbers: what `headrace.online_learning.models.ftrl`
    scores with.

    Examples
    --------
    >>> slots = np.array([[0], [1]] * 200, np.int32)
    >>> logits, none = np.array([2.0, -1.0] * 200), np.empty((400, 0))
    >>> quick = Ftrl(alpha=1.0, l2=0.0)
    >>> weights = distilled(logits, slots, none, size=2, settings=quick, passes=5)
    >>> weights.round(1).tolist()
    [2.0, -1.0]
    """
    rows = len(slots)
    fits = len(logits) == len(numbers) == rows and slots.min(initial=0) >= 0
    if not (fits and slots.max(initial=0) < size and np.isfinite(logits).all()):
        asked = f"asked to distil {len(logits)} logits over slots {list(slots.shape)} of {size}"
        found = "they do not fit, or a logit is not finite"
        raise LearningError(asked, found, "give a logit and slots below `size` for each row")
    state = ftrl.blank(size + numbers.shape[1])
    told = 1 / (1 + np.exp(-np.clip(logits, -35, 35)))
    for _ in range(passes):
        ftrl.advance(state, slots, np.arange(rows), told, settings, numbers=numbers)
    return ftrl.weights(state, settings)
