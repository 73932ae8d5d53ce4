"""DeepFM: a factorisation machine and a perceptron over the same embeddings."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from headrace.online_learning.deep.net import Net, perceptron, stacked
from headrace.online_learning.deep.settings import Deep

__all__ = ["DeepFm"]


class DeepFm(Net):
    """Weights of ids, all products of two of their vectors, and a perceptron, added [^1].

    The sum of products is ((Σ v)² − Σ v²) / 2, over the fields and then the width.

    >>> import torch
    >>> from headrace.online_learning.deep.settings import Field
    >>> net = DeepFm(Deep((Field("a"), Field("b")), width=4))
    >>> net(torch.zeros(3, 10), torch.zeros(3, 0)).shape  # rows of 4 + 1 weights
    torch.Size([3, 1])

    [^1]: Guo et al., "DeepFM: a factorization-machine based neural network", IJCAI 2017.
    """

    linear = True

    def __init__(self, settings: Deep) -> None:
        super().__init__(settings)
        self.deep = perceptron(self.inputs, settings.shape.hidden, settings.shape.tasks)

    def forward(self, rows: Tensor, numerics: Tensor) -> Tensor:
        """Give the logits, as `Net` says."""
        vectors, linear = self.vectors(rows)
        products = (vectors.sum(1).square() - vectors.square().sum(1)).sum(1, keepdim=True) / 2
        deep = self.deep(stacked(torch.flatten(vectors, 1), numerics))
        return cast("Tensor", linear + products + deep)
