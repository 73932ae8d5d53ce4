"""MMoE: several tasks that share experts, each weighing them by a gate of its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from headrace.online_learning.deep.net import Net, perceptron, stacked
from headrace.online_learning.deep.settings import Deep

__all__ = ["Mmoe"]


class Mmoe(Net):
    """Experts over the input, mixed for each task by a softmax over the input, then a tower [^1].

    The last of the hidden layers is the tower's, those before are the experts'.

    >>> import torch
    >>> from headrace.online_learning.deep.settings import Field, Shape
    >>> net = Mmoe(Deep((Field("a"), Field("b")), width=4, shape=Shape(tasks=2)))
    >>> net(torch.zeros(3, 8), torch.zeros(3, 0)).shape
    torch.Size([3, 2])

    [^1]: Ma et al., "Modeling task relationships in multi-task learning", KDD 2018.
    """

    def __init__(self, settings: Deep) -> None:
        super().__init__(settings)
        shape = settings.shape
        *inner, last = shape.hidden
        between = inner[-1] if inner else last
        self.experts = nn.ModuleList(
            perceptron(self.inputs, tuple(inner[:-1]), between) for _ in range(shape.experts)
        )
        self.gates = nn.ModuleList(
            nn.Linear(self.inputs, shape.experts) for _ in range(shape.tasks)
        )
        self.towers = nn.ModuleList(perceptron(between, (last,), 1) for _ in range(shape.tasks))

    def forward(self, rows: Tensor, numerics: Tensor) -> Tensor:
        """Give the logits, as `Net` says."""
        inputs = stacked(rows, numerics)
        experts = torch.stack([torch.relu(expert(inputs)) for expert in self.experts], 1)
        logits = []
        for gate, tower in zip(self.gates, self.towers, strict=True):
            shares = torch.softmax(gate(inputs), 1).unsqueeze(1)
            logits.append(tower(torch.bmm(shares, experts).squeeze(1)))
        return torch.cat(logits, 1)
