"""What the nets share: embeddings and numerics in, one logit a task out; and their perceptron."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from headrace.online_learning.deep.settings import Deep

__all__ = ["Net", "perceptron", "stacked"]


class Net(nn.Module):
    """A function of the rows of a table and of numerics; it holds the dense weights.

    `linear` says whether a row of the table has one more weight, which the net adds to its logit
    as it is: the weight of the id alone.
    """

    linear: ClassVar[bool] = False

    def __init__(self, settings: Deep) -> None:
        super().__init__()
        self.fields = len(settings.fields)
        self.width = settings.width
        self.inputs = self.fields * self.width + settings.numerics

    def forward(self, rows: Tensor, numerics: Tensor) -> Tensor:
        """Give the logits, of shape (B, tasks).

        Parameters
        ----------
        rows
            Of shape (B, fields · row width), the fields side by side.
        numerics
            Of shape (B, numerics).
        """
        raise NotImplementedError

    def vectors(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Split rows into vectors (B, fields, width) and, where `linear`, their sum of weights."""
        table = rows.reshape(-1, self.fields, self.width + self.linear)
        return table[:, :, : self.width], table[:, :, self.width :].sum(1)

    def __call__(self, rows: Tensor, numerics: Tensor) -> Tensor:
        """Run `forward`; said here for its types."""
        return cast("Tensor", super().__call__(rows, numerics))


def perceptron(inputs: int, hidden: tuple[int, ...], outputs: int) -> nn.Sequential:
    """Make layers with ReLU between them, and none after the last.

    >>> [tuple(weight.shape) for weight in perceptron(5, (3,), 1).parameters()]
    [(3, 5), (3,), (1, 3), (1,)]
    """
    sizes = (inputs, *hidden, outputs)
    layers: list[nn.Module] = []
    for i, (before, after) in enumerate(pairwise(sizes)):
        layers += [nn.ReLU()] * (i > 0) + [nn.Linear(before, after)]
    return nn.Sequential(*layers)


def stacked(rows: Tensor, numerics: Tensor) -> Tensor:
    """Put numerics beside the rows.

    >>> stacked(torch.zeros(2, 3), torch.ones(2, 1)).tolist()
    [[0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 1.0]]
    """
    return torch.cat([rows, numerics], 1) if numerics.shape[1] else rows
