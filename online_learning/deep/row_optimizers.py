"""How rows of a table learn: only those that a batch touched, each once, by its summed gradient.

::

    gradient of every lookup ──`summed`, equal rows added in the order of the lookups──► per row
    adagrad   G += mean g²;  w −= rate · g / (√G + 1e-8)                          [^1]
    adam      per row t += 1;  m, v as ever;  w −= rate · m̂ / (√v̂ + 1e-8)          [^2]
    ftrl      n += mean g²;  z += g − (√n' − √n) / alpha · w;  w read off z, n       [^3]

On the CPU loops run in numba, float32 throughout, in a fixed order: the same bits each time. On an
accelerator the same is said in torch, with equal rows added by a sort.

[^1]: Gupta, Bengio, Weston, JMLR 2014. [^2]: Kingma, Ba, ICLR 2015. [^3]: McMahan et al., KDD 2013.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headrace.online_learning.deep.settings import RowOptimizer
from headrace.operators.compiled import compiled

__all__ = ["Adagrad", "Adam", "Ftrl", "RowLearner", "row_learner", "summed", "summed_by_sort"]

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

_EPSILON = 1e-8
_FIRST, _SECOND = 0.9, 0.999


def row_learner(settings: RowOptimizer, width: int, device: torch.device) -> RowLearner:
    """Make the optimizer that the settings name, with no rows yet.

    >>> row_learner(RowOptimizer("ftrl"), 4, torch.device("cpu")).columns
    {'z': 4, 'n': 1}
    """
    return {kind.kind: kind for kind in (Adagrad, Adam, Ftrl)}[settings.kind](
        settings, width, device
    )


def summed(rows: Tensor, gradient: Tensor, place: NDArray[np.int32]) -> tuple[Tensor, Tensor]:
    """Add the gradients of equal rows: the distinct rows, and the sum of each.

    Parameters
    ----------
    rows
        The row of every lookup.
    gradient
        One line a lookup.
    place
        Scratch, longer than every row's number and -1 throughout, before and after; so the cost is
        that of the lookups, however long the table.

    Examples
    --------
    >>> lookups, gradient = torch.tensor([7, 2, 7]), torch.tensor([[1.0], [2.0], [4.0]])
    >>> rows, sums = summed(lookups, gradient, np.full(8, -1, np.int32))
    >>> rows.tolist(), sums.tolist()
    ([7, 2], [[5.0], [2.0]])
    """
    if rows.device.type == "cpu":
        distinct = torch.empty(len(rows), dtype=torch.int64)
        sums = torch.empty_like(gradient)
        count = _summed(rows.numpy(), gradient.numpy(), place, distinct.numpy(), sums.numpy())
        return distinct[:count], sums[:count]
    return summed_by_sort(rows, gradient)


def summed_by_sort(rows: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Add the gradients of equal rows on an accelerator; torch sorts by row, then adds.

    >>> rows, sums = summed_by_sort(torch.tensor([7, 2, 7]), torch.tensor([[1.0], [2.0], [4.0]]))
    >>> rows.tolist(), sums.tolist()
    ([2, 7], [[2.0], [5.0]])
    """
    distinct, inverse = torch.unique(rows, return_inverse=True)
    sums = torch.zeros((len(distinct), gradient.shape[1]), device=rows.device)
    return distinct, sums.index_put_((inverse,), gradient, accumulate=True)


@compiled
def _summed(
    rows: Ints, gradient: Floats, place: NDArray[np.int32], distinct: Ints, sums: Floats
) -> int:
    count = 0
    for i in range(rows.shape[0]):
        at = place[rows[i]]
        if at < 0:
            place[rows[i]] = count
            distinct[count] = rows[i]
            for j in range(sums.shape[1]):
                sums[count, j] = gradient[i, j]
            count += 1
        else:
            for j in range(sums.shape[1]):
                sums[at, j] += gradient[i, j]
    for i in range(count):
        place[distinct[i]] = -1
    return count


class RowLearner:
    """What the optimizers share: named state with a line for each row.

    `columns` names the state and how many float32 a row has of it; `state` holds the tensors.
    """

    kind: ClassVar[str]

    def __init__(self, settings: RowOptimizer, width: int, device: torch.device) -> None:
        self.settings = settings
        self.columns = self._columns(width)
        self.state = {
            name: torch.zeros((0, columns), device=device) for name, columns in self.columns.items()
        }

    def _columns(self, width: int) -> dict[str, int]:
        raise NotImplementedError

    def begin(self, rows: Tensor, weights: Tensor) -> None:
        """Forget what `rows` had learned; their weights are `weights` now."""
        del weights
        for state in self.state.values():
            state[rows] = 0.0

    def learn(self, weights: Tensor, rows: Tensor, sums: Tensor) -> None:
        """Move the distinct `rows` of `weights` by the sums of their gradients."""
        state = self.state
        if weights.device.type == "cpu":
            arrays = {name: tensor.numpy() for name, tensor in state.items()}
            self._loop(weights.numpy(), arrays, rows.numpy(), sums.numpy())
            return
        lines = {name: tensor[rows] for name, tensor in state.items()}
        weights[rows] = self._torch(weights[rows], lines, sums)
        for name, line in lines.items():
            state[name][rows] = line

    def _loop(self, weights: Floats, state: Mapping[str, Floats], rows: Ints, sums: Floats) -> None:
        raise NotImplementedError

    def _torch(self, weights: Tensor, state: dict[str, Tensor], g: Tensor) -> Tensor:
        """Give the new weights, and put the new state into `state`."""
        raise NotImplementedError

    @property
    def _rate(self) -> Any:
        return np.float32(self.settings.rate)


class Adagrad(RowLearner):
    """One accumulator a row: the mean square of its summed gradients."""

    kind = "adagrad"

    def _columns(self, width: int) -> dict[str, int]:
        del width
        return {"squares": 1}

    def _loop(self, weights: Floats, state: Mapping[str, Floats], rows: Ints, sums: Floats) -> None:
        _adagrad(weights, state["squares"], rows, sums, self._rate)

    def _torch(self, weights: Tensor, state: dict[str, Tensor], g: Tensor) -> Tensor:
        state["squares"] = state["squares"] + g.square().mean(1, keepdim=True)
        return weights - self.settings.rate * g / (state["squares"].sqrt() + _EPSILON)


@compiled
def _adagrad(weights: Floats, squares: Floats, rows: Ints, sums: Floats, rate: Any) -> None:
    width = sums.shape[1]
    for i in range(rows.shape[0]):
        row = rows[i]
        square = np.float32(0.0)
        for j in range(width):
            square += sums[i, j] * sums[i, j]
        squares[row, 0] += square / np.float32(width)
        step = rate / (np.sqrt(squares[row, 0]) + np.float32(_EPSILON))
        for j in range(width):
            weights[row, j] -= step * sums[i, j]


class Adam(RowLearner):
    """Both moments of each weight, and how often its row learned; idle rows are not touched."""

    kind = "adam"

    def _columns(self, width: int) -> dict[str, int]:
        return {"first": width, "second": width, "steps": 1}

    def _loop(self, weights: Floats, state: Mapping[str, Floats], rows: Ints, sums: Floats) -> None:
        _adam(weights, state["first"], state["second"], state["steps"], rows, sums, self._rate)

    def _torch(self, weights: Tensor, state: dict[str, Tensor], g: Tensor) -> Tensor:
        state["steps"] = steps = state["steps"] + 1
        state["first"] = _FIRST * state["first"] + (1 - _FIRST) * g
        state["second"] = _SECOND * state["second"] + (1 - _SECOND) * g.square()
        first = state["first"] / (1 - _FIRST**steps)
        second = state["second"] / (1 - _SECOND**steps)
        return weights - self.settings.rate * first / (second.sqrt() + _EPSILON)


@compiled
def _adam(
    weights: Floats,
    first: Floats,
    second: Floats,
    steps: Floats,
    rows: Ints,
    sums: Floats,
    rate: Any,
) -> None:
    a, b = np.float32(_FIRST), np.float32(_SECOND)
    rest_a, rest_b = np.float32(1 - _FIRST), np.float32(1 - _SECOND)
    for i in range(rows.shape[0]):
        row = rows[i]
        steps[row, 0] += np.float32(1.0)
        step = rate / np.float32(1.0 - _FIRST ** steps[row, 0])
        scale = np.float32(1.0 / np.sqrt(1.0 - _SECOND ** steps[row, 0]))
        for j in range(sums.shape[1]):
            g = sums[i, j]
            first[row, j] = a * first[row, j] + rest_a * g
            second[row, j] = b * second[row, j] + rest_b * g * g
            root = np.sqrt(second[row, j]) * scale + np.float32(_EPSILON)
            weights[row, j] -= step * first[row, j] / root


class Ftrl(RowLearner):
    """FTRL-proximal with one rate a row; a row begins so that its drawn weights are its weights."""

    kind = "ftrl"

    def _columns(self, width: int) -> dict[str, int]:
        return {"z": width, "n": 1}

    def begin(self, rows: Tensor, weights: Tensor) -> None:
        """Begin with n = 0 and the z that gives back the weights."""
        s = self.settings
        self.state["n"][rows] = 0.0
        self.state["z"][rows] = -weights * (s.beta / s.rate + s.l2) - weights.sign() * s.l1

    def _loop(self, weights: Floats, state: Mapping[str, Floats], rows: Ints, sums: Floats) -> None:
        s = self.settings
        rest = (np.float32(s.beta), np.float32(s.l1), np.float32(s.l2))
        _ftrl(weights, state["z"], state["n"], rows, sums, self._rate, *rest)

    def _torch(self, weights: Tensor, state: dict[str, Tensor], g: Tensor) -> Tensor:
        s, before = self.settings, state["n"]
        state["n"] = before + g.square().mean(1, keepdim=True)
        sigma = (state["n"].sqrt() - before.sqrt()) / s.rate
        state["z"] = z = state["z"] + g - sigma * weights
        beyond = z.sign() * (z.abs() - s.l1).clamp(min=0.0)
        return -beyond / ((s.beta + state["n"].sqrt()) / s.rate + s.l2)


@compiled
def _ftrl(
    weights: Floats,
    z: Floats,
    n: Floats,
    rows: Ints,
    sums: Floats,
    rate: Any,
    beta: Any,
    l1: Any,
    l2: Any,
) -> None:
    width = sums.shape[1]
    for i in range(rows.shape[0]):
        row = rows[i]
        square = np.float32(0.0)
        for j in range(width):
            square += sums[i, j] * sums[i, j]
        before = np.sqrt(n[row, 0])
        n[row, 0] += square / np.float32(width)
        after = np.sqrt(n[row, 0])
        sigma, shrink = (after - before) / rate, (beta + after) / rate + l2
        for j in range(width):
            z[row, j] += sums[i, j] - sigma * weights[row, j]
            beyond = max(abs(z[row, j]) - l1, np.float32(0.0))
            weights[row, j] = -np.copysign(beyond, z[row, j]) / shrink
