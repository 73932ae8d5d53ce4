"""The deep part of a model: a table and a net, which give logits and learn by their gradient."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headrace.online_learning.deep.delta import Delta
from headrace.online_learning.deep.layers import Layers
from headrace.online_learning.deep.scoring import given, measured
from headrace.online_learning.deep.settings import Deep
from headrace.online_learning.deep.table import Table
from headrace.online_learning.models.model import Arrays, State, under
from headrace.online_learning.settings import LearningError
from headrace.operators.errors import EnvironmentProblem

__all__ = ["DeepPart", "device_of"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def device_of(settings: Deep) -> torch.device:
    """Choose the device that the settings name.

    Raises
    ------
    EnvironmentProblem
        When an accelerator is asked for and none is found.

    Examples
    --------
    >>> from headrace.online_learning.deep.settings import Field
    >>> device_of(Deep((Field("a"),), device="cpu")).type
    'cpu'
    """
    found = torch.cuda.is_available()
    if settings.device == "cuda" and not found:
        asked = "asked for the device 'cuda'"
        raise EnvironmentProblem(asked, "torch finds no accelerator", "use 'auto' or 'cpu'")
    return torch.device("cuda" if found and settings.device != "cpu" else "cpu")


class DeepPart:
    """Embeddings and a net; one batch at a time: logits, then what their gradient teaches.

    The logits of a batch come from the weights at its start. On the CPU the same batches give the
    same weights bit for bit, with one thread or with the same number of them: the caller sets it
    (`torch.set_num_threads`).

    Parameters
    ----------
    settings
        What it is and how it learns.
    layers
        What computes, on the CPU, where that is not this process alone: see `divided`.

    Examples
    --------
    >>> from headrace.online_learning.deep.settings import Field
    >>> part = DeepPart(Deep((Field("user"), Field("item")), numerics=1, device="cpu"))
    >>> ids, numerics = np.array([[1, 7], [2, 7]]), np.array([[0.5], [-1.0]])
    >>> before = part.logits(ids, numerics)
    >>> part.learn(np.array([-0.5, -0.5]))  # both labels are 1, both probabilities were near 0.5
    >>> (part.score(ids, numerics) > before).tolist()
    [True, True]
    """

    def __init__(self, settings: Deep, layers: Layers | None = None) -> None:
        self.settings = settings
        self.device = torch.device("cpu") if layers else device_of(settings)
        self._layers = layers or Layers(settings, self.device)
        self.net, self.dense = self._layers.net, self._layers.dense
        self.table = Table(
            settings.fields,
            settings.width + self.net.linear,
            settings.rows,
            seed=settings.seed,
            memory_bytes=settings.memory_bytes,
            device=self.device,
        )
        self._pending: tuple[Tensor, torch.Size] | None = None

    def logits(
        self,
        ids: Ints,
        numerics: Floats,
        *,
        at: Ints | None = None,
        offsets: Ints | None = None,
    ) -> Floats:
        """Give the logits of a batch that is to be learned; its ids are counted and admitted.

        Parameters
        ----------
        ids
            Of shape (B, fields); any int64 is an id.
        numerics
            Of shape (B, numerics), standardised. NaN counts as 0; beyond ±10 they are cut.
        at, offsets
            Event time in ms and offset of each row, kept with its ids. Times are needed where a
            field expires.

        Returns
        -------
        Of shape (B,), or (B, tasks) where there are several.

        Raises
        ------
        LearningError
            When shapes do not fit, or the batch before was not learned.
        """
        if self._pending is not None:
            asked = "asked for the logits of a batch"
            raise LearningError(asked, "the one before was not learned", "call `learn` first")
        dense = self._numerics(ids, numerics)
        rows = self.table.sight(ids, at=at, offsets=offsets)
        out = self._layers.logits(self.table.gather(rows), dense)
        self._pending = rows, out.shape
        return given(out)

    def learn(self, gradient: Floats) -> None:
        """Learn the batch whose logits were given, by dLoss/dlogit of each.

        Raises
        ------
        LearningError
            When no batch is pending, the shape is not that of the logits, or one is not finite.
        """
        if self._pending is None:
            asked = "asked to learn"
            raise LearningError(asked, "no batch is pending", "ask for its logits first")
        rows, shape = self._pending
        asked = f"asked to learn by gradients {list(gradient.shape)}"
        if gradient.size != shape.numel() or len(gradient) != shape[0]:
            raise LearningError(asked, f"the logits were {list(shape)}", "give one a logit")
        if not np.isfinite(gradient).all():
            raise LearningError(asked, "one is not finite", "look at the loss that gave it")
        if not len(gradient):
            self._pending = None
            return
        signal = torch.from_numpy(gradient.astype(np.float32)).to(self.device)
        of_rows = self._layers.learn(signal.reshape(shape))
        self.dense.step(len(gradient))
        self.table.learn(rows, of_rows)
        self._pending = None

    def score(self, ids: Ints, numerics: Floats) -> Floats:
        """Give logits and change nothing; who is not known gets its field's default row.

        A row's logit is the same to the bit with whatever rows it is asked for.
        """
        dense = self._numerics(ids, numerics)
        return self._layers.score(self.table.gather(self.table.find(ids)), dense)

    def weights(self) -> Arrays:
        """Give what predicting takes, as `headrace.online_learning.deep.serving` reads it."""
        return self._served(self.table.rows())

    def delta(self, *, whole: bool = False) -> Arrays:
        """Give what predicting takes, of the rows only what changed since the delta before.

        The first one, and any other where `whole` is asked for, has all of them.
        """
        return self._served(self.table.delta(whole=whole))

    def state(self) -> State:
        """Give everything that decides how it goes on, as arrays and as facts that JSON can say.

        Raises
        ------
        LearningError
            Between the logits of a batch and its learning.
        """
        if self._pending is not None:
            asked = "asked for the state amid a batch"
            raise LearningError(
                asked, "its logits were given and not learned", "call `learn` first"
            )
        table = self.table.state()
        arrays = {f"table.{name}": array for name, array in table.arrays.items()}
        arrays |= {f"dense.{name}": array for name, array in self.dense.arrays().items()}
        facts = {
            **{"settings": self.settings.digest, "steps": self.dense.steps},
            "table": dict(table.facts),
        }
        return State(arrays, facts)

    def restore(self, state: State) -> None:
        """Go on from a state, bit for bit on the CPU.

        Raises
        ------
        LearningError
            When it was made under other settings.
        """
        if state.facts["settings"] != self.settings.digest:
            asked = "asked to go on from a deep part's state"
            raise LearningError(asked, "its settings are others", "use those it was made under")
        self._pending = None
        self.table.restore(State(under("table.", state.arrays), state.facts["table"]))
        self.dense.restore(under("dense.", state.arrays), state.facts["steps"])

    def _served(self, rows: Delta) -> Arrays:
        arrays = {f"rows.{name}": array for name, array in rows.arrays().items()}
        return {**arrays, "dense": self.dense.weights.cpu().numpy().copy()}

    def _numerics(self, ids: Ints, numerics: Floats) -> Tensor:
        return measured(numerics, len(ids), self.settings).to(self.device)
