"""The layers of a net with their weights: logits of rows, then what their gradient teaches."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from headrace.online_learning.deep.catalogue import net_of
from headrace.online_learning.deep.dense import Dense
from headrace.online_learning.deep.scoring import Floats, scored
from headrace.online_learning.deep.settings import Deep

__all__ = ["Layers"]


class Layers:
    """A net, its weights in one vector, and the batch whose logits were given.

    Parameters
    ----------
    settings
        Which net.
    device
        Where it computes.

    Examples
    --------
    >>> from headrace.online_learning.deep.settings import Field
    >>> layers = Layers(Deep((Field("a"),), width=2), torch.device("cpu"))
    >>> layers.logits(torch.ones(3, 2), torch.ones(3, 0)).shape
    torch.Size([3, 1])
    >>> layers.learn(torch.ones(3, 1)).shape, bool(layers.dense.gradient.any())
    (torch.Size([3, 2]), True)
    """

    def __init__(self, settings: Deep, device: torch.device) -> None:
        self.settings = settings
        self.net = net_of(settings).to(device)
        self.dense = Dense(self.net, rate=settings.dense_rate)
        self._given: tuple[Tensor, ...] = ()

    def logits(self, rows: Tensor, numerics: Tensor) -> Tensor:
        """Give the logits of a batch that is to be learned, of shape (B, tasks)."""
        inputs = rows.requires_grad_()
        out = self.net(inputs, numerics)
        self._given = inputs, out
        return out.detach()

    def learn(self, signal: Tensor) -> Tensor:
        """Give the gradient of each row by that of each logit; that of the weights is in `dense`.

        The weights do not move yet.
        """
        (inputs, out), self._given = self._given, ()
        torch.autograd.backward(out, signal)
        return cast("Tensor", inputs.grad)

    def score(self, rows: Tensor, numerics: Tensor) -> Floats:
        """Give the logits of rows that are not learned now, as `scored` does."""
        return scored(self.net, rows, numerics)
