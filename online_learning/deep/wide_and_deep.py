"""Wide & Deep: a weight for each id, and a perceptron over their vectors."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from headrace.online_learning.deep.net import Net, perceptron, stacked
from headrace.online_learning.deep.settings import Deep

__all__ = ["WideAndDeep"]


class WideAndDeep(Net):
    """The weights of ids and of numerics, and a perceptron over both, added [^1].

    Crosses are fields of their own: name them among the fields.

    >>> import torch
    >>> from headrace.online_learning.deep.settings import Field
    >>> net = WideAndDeep(Deep((Field("a"), Field("a*b")), numerics=2, width=4))
    >>> net(torch.zeros(3, 10), torch.zeros(3, 2)).shape  # rows of 4 + 1 weights
    torch.Size([3, 1])

    [^1]: Cheng et al., "Wide & deep learning for recommender systems", DLRS 2016.
    """

    linear = True

    def __init__(self, settings: Deep) -> None:
        super().__init__(settings)
        tasks, numerics = settings.shape.tasks, settings.numerics
        self.wide = nn.Linear(numerics, tasks, bias=False) if numerics else None
        self.deep = perceptron(self.inputs, settings.shape.hidden, tasks)

    def forward(self, rows: Tensor, numerics: Tensor) -> Tensor:
        """Give the logits, as `Net` says."""
        vectors, linear = self.vectors(rows)
        logits = linear + self.deep(stacked(torch.flatten(vectors, 1), numerics))
        return cast("Tensor", logits if self.wide is None else logits + self.wide(numerics))
