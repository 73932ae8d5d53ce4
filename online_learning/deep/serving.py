"""A deep part that only predicts: a copy of its rows, and its net."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from headrace.online_learning.deep.catalogue import net_of
from headrace.online_learning.deep.delta import Delta
from headrace.online_learning.deep.net import Net
from headrace.online_learning.deep.replica import Replica
from headrace.online_learning.deep.scoring import measured, scored
from headrace.online_learning.deep.settings import Deep
from headrace.online_learning.models.model import Arrays, under
from headrace.online_learning.settings import LearningError

__all__ = ["Serving"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Serving:
    """Predicts as the part did of which it was made; it never changes, on the CPU.

    With `fp32` rows its logits are those of `DeepPart.score` to the bit.

    Parameters
    ----------
    settings
        Those of the part.
    arrays
        What `DeepPart.weights` or a whole `DeepPart.delta` gave.
    form
        How rows are kept: `fp32`, `fp16` or `int8`, as in `headrace.online_learning.deep.packing`.

    Examples
    --------
    >>> from headrace.online_learning.deep.part import DeepPart
    >>> from headrace.online_learning.deep.settings import Field
    >>> settings = Deep((Field("user"), Field("item")), device="cpu")
    >>> part, ids, none = DeepPart(settings), np.array([[1, 7], [2, 7]]), np.empty((2, 0))
    >>> before = part.logits(ids, none)
    >>> part.learn(np.array([-0.5, 0.5]))
    >>> serving = Serving(settings, part.weights())
    >>> serving.score(ids, none).tolist() == part.score(ids, none).tolist()
    True
    """

    def __init__(self, settings: Deep, arrays: Arrays, *, form: str = "fp32") -> None:
        self.settings = settings
        rows = Replica(settings.fields, Delta.of(under("rows.", arrays)), form=form)
        self._take(rows, arrays["dense"])

    def after(self, arrays: Arrays) -> Serving:
        """Give what predicts after a delta was taken up; this one goes on as it is."""
        after = object.__new__(Serving)
        after.settings = self.settings
        after._take(self.rows.after(Delta.of(under("rows.", arrays))), arrays["dense"])
        return after

    def score(self, ids: Ints, numerics: Floats) -> Floats:
        """Give logits, of shape (B,) or (B, tasks), as `DeepPart.score` does."""
        rows = torch.from_numpy(self.rows.gather(ids))
        return scored(self.net, rows, measured(numerics, len(ids), self.settings))

    def _take(self, rows: Replica, dense: NDArray[np.float32]) -> None:
        self.rows = rows
        self.net = filled(net_of(self.settings), dense)

    @property
    def size_bytes(self) -> int:
        """Give what rows and net take."""
        return self.rows.size_bytes + sum(4 * one.numel() for one in self.net.parameters())


def filled(net: Net, weights: NDArray[np.float32]) -> Net:
    """Give the net with its parameters read off one vector, as `Dense` lays them out."""
    parameters = list(net.parameters())
    if sum(one.numel() for one in parameters) != len(weights):
        asked = f"asked for a net with {len(weights)} weights"
        found = f"it has {sum(one.numel() for one in parameters)}"
        raise LearningError(asked, found, "use the settings it was made under")
    ends = np.cumsum([one.numel() for one in parameters])[:-1]
    with torch.no_grad():
        for one, part in zip(parameters, np.split(weights, ends), strict=True):
            one.copy_(torch.from_numpy(part).view(one.shape))
    return net
