"""Adam over all dense weights of a net, which lie in one vector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

__all__ = ["Dense"]

_EPSILON = 1e-8
_FIRST, _SECOND = 0.9, 0.999
_ROWS = 256  # the batch at which the rate is the one given


class Dense:
    """The weights of a net, side by side, with Adam's two moments.

    The net's own tensors become views of the vector, so that a step is a few operations whatever
    the number of layers, and a snapshot three arrays.

    Parameters
    ----------
    net
        Its parameters and their gradients are moved into the vectors.
    rate
        Adam's, for 256 rows; at B rows it is that times sqrt(B / 256), the gradient divided by B.

    Examples
    --------
    >>> net = nn.Linear(2, 1, bias=False)
    >>> dense = Dense(net, rate=0.5)
    >>> dense.weights.zero_().shape, net.weight.tolist()
    (torch.Size([2]), [[0.0, 0.0]])
    >>> net(torch.ones(256, 2)).sum().backward()
    >>> dense.step(256)
    >>> net.weight.round(decimals=6).tolist()
    [[-0.5, -0.5]]
    """

    def __init__(self, net: nn.Module, *, rate: float) -> None:
        parameters = list(net.parameters())
        with torch.no_grad():
            self.weights = torch.cat([one.detach().reshape(-1) for one in parameters])
        self.gradient = torch.zeros_like(self.weights)
        self.first, self.second = torch.zeros_like(self.weights), torch.zeros_like(self.weights)
        self.steps = 0
        self.moved = 0
        """How often the weights became others, by a step or by going on from arrays."""
        self.rate = rate
        start = 0
        for one in parameters:
            end = start + one.numel()
            one.data = self.weights[start:end].view(one.shape)
            one.grad = self.gradient[start:end].view(one.shape)
            start = end

    def step(self, rows: int) -> None:
        """Take one step by the gradients of `rows` rows, summed; they are zero afterwards."""
        self.steps += 1
        self.moved += 1
        g = self.gradient.div_(rows)
        self.first.lerp_(g, 1 - _FIRST)
        self.second.mul_(_SECOND).addcmul_(g, g, value=1 - _SECOND)
        rate = self.rate * (rows / _ROWS) ** 0.5 / (1 - _FIRST**self.steps)
        root = self.second.sqrt().div_((1 - _SECOND**self.steps) ** 0.5).add_(_EPSILON)
        self.weights.addcdiv_(self.first, root, value=-rate)
        self.gradient.zero_()

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Give the weights and both moments; `steps` is the other part of the state."""
        named = {"weights": self.weights, "first": self.first, "second": self.second}
        return {name: tensor.cpu().numpy().copy() for name, tensor in named.items()}

    def restore(self, arrays: Mapping[str, NDArray[Any]], steps: int) -> None:
        """Go on from arrays and the number of steps."""
        for name, tensor in vars(self).items():
            if name in arrays:
                tensor.copy_(torch.from_numpy(arrays[name]))
        self.gradient.zero_()
        self.steps = steps
        self.moved += 1
