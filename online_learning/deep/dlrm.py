"""DLRM: dot products of every two vectors, the numerics being one of them."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from headrace.online_learning.deep.net import Net, perceptron
from headrace.online_learning.deep.settings import Deep

__all__ = ["Dlrm"]


class Dlrm(Net):
    """A perceptron over all dot products of two vectors, and over that of the numerics [^1].

    Numerics become a vector of the embeddings' width by a perceptron of their own. Without
    numerics only the embeddings meet.

    >>> import torch
    >>> from headrace.online_learning.deep.settings import Field
    >>> net = Dlrm(Deep((Field("a"), Field("b")), numerics=1, width=4))
    >>> net(torch.zeros(3, 8), torch.zeros(3, 1)).shape
    torch.Size([3, 1])

    [^1]: Naumov et al., "Deep learning recommendation model", arXiv 1906.00091.
    """

    pairs: Tensor

    def __init__(self, settings: Deep) -> None:
        super().__init__(settings)
        shape, some = settings.shape, settings.numerics > 0
        self.bottom = perceptron(settings.numerics, shape.bottom, self.width) if some else None
        met = self.fields + some
        self.top = perceptron(met * (met - 1) // 2 + self.width * some, shape.hidden, shape.tasks)
        one, other = torch.triu_indices(met, met, 1)
        self.register_buffer("pairs", one * met + other, persistent=False)

    def forward(self, rows: Tensor, numerics: Tensor) -> Tensor:
        """Give the logits, as `Net` says."""
        vectors, _ = self.vectors(rows)
        inputs = []
        if self.bottom is not None:
            dense = self.bottom(numerics)
            vectors = torch.cat([dense.unsqueeze(1), vectors], 1)
            inputs.append(dense)
        products = torch.bmm(vectors, vectors.transpose(1, 2))
        inputs.append(torch.flatten(products, 1).index_select(1, self.pairs))
        return cast("Tensor", self.top(torch.cat(inputs, 1)))
