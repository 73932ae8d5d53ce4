"""A version with a deep part, as it is served: with its wide part, where it has one."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headrace.online_learning.deep.serving import Serving
from headrace.online_learning.deep.settings import Deep
from headrace.online_learning.models.factorised import FmServed
from headrace.online_learning.models.linear import LinearServed
from headrace.online_learning.models.losses import probabilities
from headrace.online_learning.models.model import Arrays, Inputs
from headrace.online_learning.settings import LearningError

__all__ = ["DeepServed"]


class DeepServed:
    """A version's deep part, and its wide part where it has one."""

    def __init__(
        self, settings: Deep, wide: LinearServed | FmServed | None, arrays: Arrays
    ) -> None:
        try:
            self._deep = Serving(settings, arrays)
        except KeyError as error:
            asked = "asked for the weights of a deep part"
            raise LearningError(asked, f"it lacks {error}", "keep the version you have") from error
        self._wide = wide

    def score(self, inputs: Inputs) -> NDArray[np.float64]:
        """Give the probabilities, of several tasks one each."""
        tasks = self._deep.settings.shape.tasks
        if not len(inputs):
            return np.empty((0, tasks) if tasks > 1 else 0)
        logits = self._deep.score(inputs.ids, inputs.numbers)
        if self._wide is not None:
            return self._wide.joint(inputs, logits)
        return probabilities(logits.ravel()).reshape(logits.shape)

    def contributions(self, inputs: Inputs) -> NDArray[np.float64]:
        """Give of each part of the row its gradient times itself, and what the wide part adds.

        Of several tasks it is that of the sum of their logits.
        """
        rows = torch.from_numpy(self._deep.rows.gather(inputs.ids)).requires_grad_()
        numbers = torch.from_numpy(inputs.numbers.astype(np.float32)).requires_grad_()
        logit = self._deep.net(rows, numbers).sum()
        # Of these alone: the net's own gradients would add up, over calls and threads.
        by_rows, by_numbers = torch.autograd.grad(logit, [rows, numbers], allow_unused=True)
        fields = inputs.ids.shape[1]
        tokens = _moved(rows, by_rows).reshape(fields, -1).sum(axis=1)
        bias = np.zeros(inputs.slots.shape[1] - fields)
        deep: NDArray[np.float64] = np.concatenate([tokens, bias, _moved(numbers, by_numbers)[0]])
        if self._wide is not None:
            deep += self._wide.contributions(inputs)
        return deep


def _moved(leaf: Tensor, gradient: Tensor | None) -> NDArray[np.float64]:
    gradient = torch.zeros_like(leaf) if gradient is None else gradient
    moved: NDArray[np.float64] = (gradient * leaf).detach().double().numpy()
    return moved
