"""DCN-v2: explicit crosses of bounded degree beside a perceptron."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from headrace.online_learning.deep.net import Net, perceptron, stacked
from headrace.online_learning.deep.settings import Deep

__all__ = ["DcnV2"]


class DcnV2(Net):
    """Low-rank cross layers c ← h ⊙ V(U c) + c over the input h, and a perceptron, added [^1].

    >>> from headrace.online_learning.deep.settings import Field
    >>> net = DcnV2(Deep((Field("a"), Field("b")), numerics=1, width=4))
    >>> net(torch.zeros(3, 8), torch.zeros(3, 1)).shape
    torch.Size([3, 1])

    [^1]: Wang et al., "DCN V2: improved deep & cross network", WWW 2021, the parallel form.
    """

    def __init__(self, settings: Deep) -> None:
        super().__init__(settings)
        shape = settings.shape
        self.deep = perceptron(self.inputs, shape.hidden, shape.tasks)
        layers = range(shape.cross_layers)
        rank = shape.cross_rank
        self.down = nn.ModuleList(nn.Linear(self.inputs, rank, bias=False) for _ in layers)
        self.up = nn.ModuleList(nn.Linear(rank, self.inputs) for _ in layers)
        self.out = nn.Linear(self.inputs, shape.tasks)

    def forward(self, rows: Tensor, numerics: Tensor) -> Tensor:
        """Give the logits, as `Net` says."""
        crossed = inputs = stacked(rows, numerics)
        for down, up in zip(self.down, self.up, strict=True):
            crossed = torch.addcmul(crossed, inputs, up(down(crossed)))
        return cast("Tensor", self.deep(inputs) + self.out(crossed))
