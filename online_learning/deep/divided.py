"""Layers whose batches are cut into parts, one for each rank: data-parallel, and the same bits.

::

    rows of a batch ──┬─ part 0 ─► this process ─┐
                      ├─ part 1 ─► rank 1 ───────┼─► gradients of the weights, added in the order
                      └─ part 2 ─► rank 2 ───────┘   of the ranks; those of rows, side by side

A part is a range of the batch, which is a range of the log; so what is added to what depends on the
log and on the number of ranks alone. Embeddings, both optimizers and all state stay with the
learner: ranks are sent the rows and, when they have moved, the weights. Nothing of theirs can be
lost, and nothing drift apart.

To predict needs no sum over rows: those who do it change no bit, and few rows are not worth it.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor

from headrace.online_learning.deep.layers import Layers
from headrace.online_learning.deep.ranks import LEARN, LOGITS, SCORE, Ranks
from headrace.online_learning.deep.scoring import BLOCK, Floats
from headrace.online_learning.deep.settings import Deep

__all__ = ["Divided", "parts"]

_WORTH_ROWS = 256  # of each who predicts [a rank is asked and answers in about half a millisecond]
_number = itertools.count(1)


def parts(rows: int, ranks: int) -> list[slice]:
    """Give the part of each rank: ranges as equal as can be, the longer ones first.

    >>> [(part.start, part.stop) for part in parts(7, 3)]
    [(0, 3), (3, 5), (5, 7)]
    """
    sizes = [rows // ranks + (rank < rows % ranks) for rank in range(ranks)]
    ends = list(itertools.accumulate(sizes))
    return [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]


class Divided(Layers):
    """Layers that let ranks compute parts of a batch; on the CPU.

    Parameters
    ----------
    settings
        Which net.
    ranks
        Who computes, this process being the first of them.
    """

    def __init__(self, settings: Deep, ranks: Ranks) -> None:
        super().__init__(settings, torch.device("cpu"))
        self._ranks = ranks
        self._number = next(_number)
        self._parts: list[slice] = []

    def logits(self, rows: Tensor, numerics: Tensor) -> Tensor:
        """Give the logits of a batch that is to be learned, of shape (B, tasks)."""
        self._tell_weights()
        self._parts = parts(len(rows), self._ranks.count)
        out = torch.empty((len(rows), self.settings.shape.tasks))
        for rank, part in self._of_others():
            sent = rows[part], numerics[part]
            self._ranks.ask(rank, LOGITS, *sent, answer=(out[part],))
        own = self._parts[0]
        out[own] = super().logits(rows[own].clone(), numerics[own].clone())
        self._ranks.take()
        return out

    def learn(self, signal: Tensor) -> Tensor:
        """Give the gradient of each row by that of each logit; that of the weights is in `dense`.

        The weights do not move yet.
        """
        width = len(self.settings.fields) * (self.settings.width + self.net.linear)
        of_rows = torch.empty((len(signal), width))
        of_weights = [torch.empty_like(self.dense.gradient) for _ in self._of_others()]
        for (rank, part), into in zip(self._of_others(), of_weights, strict=True):
            self._ranks.ask(rank, LEARN, signal[part], answer=(of_rows[part], into))
        own = self._parts[0]
        of_rows[own] = super().learn(signal[own].clone())
        self._ranks.take()
        for gradient in of_weights:  # in the order of the ranks
            self.dense.gradient.add_(gradient)
        return of_rows

    def score(self, rows: Tensor, numerics: Tensor) -> Floats:
        """Give the logits of rows that are not learned now, as `scored` does."""
        those = min(self._ranks.count, len(rows) // _WORTH_ROWS)
        if those < 2:
            return super().score(rows, numerics)
        self._tell_weights()
        blocks = parts(-(-len(rows) // BLOCK), those)
        cuts = [slice(one.start * BLOCK, min(one.stop * BLOCK, len(rows))) for one in blocks]
        tasks = self.settings.shape.tasks
        shape = (len(rows),) if tasks == 1 else (len(rows), tasks)
        out = torch.empty(shape, dtype=torch.float64)
        for rank, cut in enumerate(cuts[1:], 1):
            self._ranks.ask(rank, SCORE, rows[cut], numerics[cut], answer=(out[cut],))
        out[cuts[0]] = torch.from_numpy(super().score(rows[cuts[0]], numerics[cuts[0]]))
        self._ranks.take()
        array: Floats = out.numpy()
        return array.astype(np.float64, copy=False)

    def _of_others(self) -> list[tuple[int, slice]]:
        """Give the ranks but this one with their parts; where rows are few some have none."""
        return [(r, part) for r, part in enumerate(self._parts) if r and part.stop > part.start]

    def _tell_weights(self) -> None:
        self._ranks.hold(self.settings, self.dense.weights, (self._number, self.dense.moved))
