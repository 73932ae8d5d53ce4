"""Models with a deep part: a net over embeddings, learned by batches, and maybe the wide part, too.

::

    step ─► deep logit, with the weights of the last batch ─┐
         ─► wide sum, with all labels before it ────────────┴─► p = σ(both) ─► g = p − y
    g ─► the wide part learns at once; every `batch` labels the deep part learns all of their g

A batch is the next `batch` labels in event time: not what had arrived. Between two batches the deep
weights stand still, so that what is predicted does not depend on how the steps were cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from headrace.online_learning.deep.settings import Deep, Field, RowOptimizer, Shape
from headrace.online_learning.models import losses
from headrace.online_learning.models.factorised import Ffm, Fm
from headrace.online_learning.models.linear import Logistic
from headrace.online_learning.models.model import (
    Arrays,
    Inputs,
    Kind,
    Served,
    State,
    Steps,
    under,
    within,
)
from headrace.online_learning.settings import Encoding, Ftrl, LearningError
from headrace.operators.errors import UnknownName

if TYPE_CHECKING:
    from headrace.online_learning.deep.part import DeepPart

__all__ = ["Batched", "BatchedModel", "DcnV2", "DeepFm", "Dlrm", "Hybrid", "WideAndDeep"]

_PAIRS: Mapping[str, type[Fm]] = {kind.name: kind for kind in (Fm, Ffm)}


@dataclass(frozen=True)
class Batched(Kind):
    """What a model with a deep part is told.

    Parameters
    ----------
    batch
        After how many labels the deep part learns them.
    width
        Weights of an embedding.
    rate
        Of the embeddings, by row-wise Adagrad.
    dense_rate
        Of the layers, by Adam, at 256 labels a batch.
    hidden
        The layers of the perceptron.
    cross_layers, cross_rank
        Of `dcn_v2`: how many crosses there are, and of which rank.
    admit
        How often an id is seen before it has an embedding of its own.
    expire_ms
        After how long without being seen an id is forgotten; None never.
    memory_bytes
        What the embeddings may take; None sets no limit.
    seed
        What the first weights are drawn by.
    device
        `cpu`, `cuda`, or `auto`; only on the CPU equal logs give equal bits.
    threads
        How many threads the layers use on the CPU; the bits depend on it.
    ranks
        How many processes share the layers' part of a batch, on the CPU; the bits depend on it.
    rank_timeout_ms
        How long one of them may take to answer; then the learner ends with an error.
    """

    deep = True
    wide: ClassVar[bool] = False
    batch: int = 1024
    width: int = 16
    rate: float = 0.05
    dense_rate: float = 2e-3
    hidden: tuple[int, ...] = (128, 64)
    cross_layers: int = 2
    cross_rank: int = 32
    admit: int = 1
    expire_ms: int | None = None
    memory_bytes: int | None = None
    seed: int = 1
    device: str = "auto"
    threads: int = 1
    ranks: int = 1
    rank_timeout_ms: int = 60_000

    def __post_init__(self) -> None:
        for name in ("batch", "threads", "ranks", "rank_timeout_ms"):
            if getattr(self, name) < 1:
                asked = f"asked for {name} = {getattr(self, name)}"
                raise LearningError(asked, "it is too small", "give 1 or more")
        asked = f"asked for {self.ranks} ranks"
        if self.batch < self.ranks:
            found = f"a batch has {self.batch} labels, and each rank learns a part of it"
            raise LearningError(asked, found, "give larger batches, or fewer ranks")
        if self.ranks > 1 and self.device == "cuda":
            found = "they share a batch on the CPU, and the device is 'cuda'"
            raise LearningError(asked, found, "give 1, or the device 'cpu'")

    @property
    def net_name(self) -> str:
        """Name the net."""
        return self.name

    @property
    def row_wise(self) -> Logistic | Fm:
        """Give the settings of the wide part."""
        return Logistic()

    @property
    def facts(self) -> Mapping[str, Any]:
        """Say the settings; on which device it learns decides no more than bits.

        One rank is not said, for it is what was before there could be more.
        """
        unsaid = {"device", "rank_timeout_ms"} | ({"ranks"} if self.ranks == 1 else set())
        told = {name: value for name, value in asdict(self).items() if name not in unsaid}
        return {"kind": self.name, **told, "hidden": list(self.hidden)}

    def net(self, encoding: Encoding) -> Deep:
        """Give the settings of the deep part for rows of this encoding."""
        return Deep(
            fields=tuple(
                Field(token.name, admit=self.admit, expire_ms=self.expire_ms)
                for token in encoding.tokens
            ),
            numerics=len(encoding.numbers),
            net=self.net_name,
            shape=Shape(self.hidden, self.cross_layers, self.cross_rank),
            width=self.width,
            rows=RowOptimizer("adagrad", rate=self.rate),
            dense_rate=self.dense_rate,
            memory_bytes=self.memory_bytes,
            seed=self.seed,
            device=self.device,
        )

    def blank(self, encoding: Encoding) -> BatchedModel:
        """Make a model that has seen nothing; this loads torch."""
        return BatchedModel(self, encoding)

    def serves(self, encoding: Encoding, arrays: Arrays) -> Served:
        """Make what predicts with a version; without one every probability is 0.5."""
        row_wise = self.row_wise
        if not arrays:
            return row_wise.serves(encoding, {})
        from headrace.online_learning.models.deep_served import DeepServed

        wide = row_wise.serves(encoding, under("wide/", arrays)) if self.wide else None
        _use_threads(self.threads)
        return DeepServed(self.net(encoding), wide, under("deep/", arrays))


@dataclass(frozen=True)
class Hybrid(Batched):
    """A wide part that learns every row at once, and a net beside it that learns by batches.

    Parameters
    ----------
    ftrl
        The rate and the penalties of the wide part.
    deep_net
        The net: `dcn_v2`, `deep_fm`, `dlrm` or `wide_and_deep`.
    pairs
        `fm` or `ffm`: the wide part has vectors, too, whose products say what pairs add.
    """

    name = "hybrid"
    refreshes = True
    wide = True
    ftrl: Ftrl = field(default_factory=Ftrl)
    deep_net: str = "dcn_v2"
    pairs: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pairs not in (None, *_PAIRS):
            raise UnknownName(kind="kind of pairs", name=str(self.pairs), known=_PAIRS)

    @property
    def net_name(self) -> str:
        """Name the net."""
        return self.deep_net

    @property
    def row_wise(self) -> Logistic | Fm:
        """Give the settings of the wide part."""
        return Logistic(self.ftrl) if self.pairs is None else _PAIRS[self.pairs](self.ftrl)


@dataclass(frozen=True)
class DcnV2(Batched):
    """Crosses of low rank beside a perceptron."""

    name = "dcn_v2"


@dataclass(frozen=True)
class DeepFm(Batched):
    """A factorisation machine beside a perceptron."""

    name = "deep_fm"


@dataclass(frozen=True)
class Dlrm(Batched):
    """Products of embeddings below a perceptron."""

    name = "dlrm"


@dataclass(frozen=True)
class WideAndDeep(Batched):
    """One weight an id beside a perceptron, all learned by batches."""

    name = "wide_and_deep"


class BatchedModel:
    """The weights of a model with a deep part, and the labels of the batch that is not yet full."""

    def __init__(self, kind: Batched, encoding: Encoding) -> None:
        self.kind = kind
        self._settings, self._slots = kind.net(encoding), encoding.slots
        self.deep = _part(self._settings, kind)
        self.wide = kind.row_wise.blank(encoding) if kind.wide else None
        self._batch: list[Arrays] = []
        self._filled = 0

    def advance(self, inputs: Inputs, steps: Steps) -> NDArray[np.float64]:
        """Take the steps in order; give the prediction at each."""
        # Of all at once: a batch is a small part of the rows.
        steps.check(inputs, self._slots)
        self.check(steps.labels)
        learned = np.cumsum(~np.isnan(steps.labels)) + self._filled
        predicted = self.kind.room(len(steps))
        start = 0
        while start < len(steps):
            # Up to and with the label that fills the batch.
            stop = int(np.searchsorted(learned, self.kind.batch, side="left")) + 1
            predicted[start:stop] = self._between(inputs, steps.part(start, stop))
            if self._filled == self.kind.batch:
                self._learn()
                learned -= self.kind.batch
            start = stop
        return predicted

    def _between(self, inputs: Inputs, steps: Steps) -> NDArray[np.float64]:
        """Take steps between which the deep weights stand still."""
        rows = steps.rows
        logits = self.deep.score(inputs.ids[rows], inputs.numbers[rows])
        predicted, gradients = self.learned(inputs, steps, logits)
        learned = np.flatnonzero(~np.isnan(steps.labels))
        if len(learned):
            at = np.zeros(len(steps), np.int64) if steps.at is None else steps.at
            told = {"ids": inputs.ids[rows[learned]], "numbers": inputs.numbers[rows[learned]]}
            more = {"gradients": gradients[learned], "at": at[learned]}
            self._batch.append(told | more)
            self._filled += len(learned)
        return predicted

    def check(self, labels: NDArray[np.float64]) -> None:
        """Refuse labels that are none that the kind learns, nor PREDICT."""
        losses.check(losses.LOGISTIC, labels)

    def learned(
        self, inputs: Inputs, steps: Steps, logits: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Give what is predicted at each step, and the gradient of its loss by the logit."""
        if self.wide is not None:
            return self.wide.joint(inputs, steps, logits)
        learned_at = losses.probabilities(logits + steps.offset)
        gradients = (learned_at - steps.targets) * inputs.weights[steps.rows]
        return losses.probabilities(logits), gradients

    def _learn(self) -> None:
        """Let the deep part learn the batch."""
        batch = self._whole()
        self.deep.logits(batch["ids"], batch["numbers"], at=batch["at"])
        self.deep.learn(batch["gradients"])
        self._batch, self._filled = [], 0

    def _whole(self) -> Arrays:
        fields, numbers = len(self._settings.fields), self._settings.numerics
        none = {"ids": np.empty((0, fields), np.int64), "numbers": np.empty((0, numbers))}
        none |= {"gradients": self.kind.room(0), "at": np.empty(0, np.int64)}
        parts = [none, *self._batch]
        return {name: np.concatenate([part[name] for part in parts]) for name in none}

    def refresh(self, slots: NDArray[np.int64]) -> None:
        """Let the wide part's weights of slots learn as if they were new."""
        if self.wide is not None:
            self.wide.refresh(slots)

    def state(self) -> State:
        """Give both parts, and the labels since the last batch."""
        deep = self.deep.state()
        arrays = within("deep/", deep.arrays) | within("batch/", self._whole())
        if self.wide is not None:
            arrays |= within("wide/", self.wide.state().arrays)
        return State(arrays, {"deep": dict(deep.facts)})

    def restore(self, state: State) -> None:
        """Take them up."""
        self.deep.restore(State(under("deep/", state.arrays), state.facts["deep"]))
        self._batch = [under("batch/", state.arrays)]
        self._filled = len(self._batch[0]["gradients"])
        if self.wide is not None:
            self.wide.restore(State(under("wide/", state.arrays), {}))

    def weights(self) -> Arrays:
        """Give the weights of both parts; the rows of embeddings with the ids they are of."""
        arrays = within("deep/", self.deep.weights())
        if self.wide is not None:
            arrays |= within("wide/", self.wide.weights())
        return arrays


def _part(settings: Deep, kind: Batched) -> DeepPart:
    from headrace.online_learning.deep.part import DeepPart

    _use_threads(kind.threads)
    if kind.ranks == 1:
        return DeepPart(settings)
    from headrace.online_learning.deep.divided import Divided
    from headrace.online_learning.deep.ranks import ranks_of

    seconds = kind.rank_timeout_ms / 1000
    ranks = ranks_of(kind.ranks, threads=kind.threads, timeout_seconds=seconds)
    return DeepPart(settings, Divided(settings, ranks))


def _use_threads(threads: int) -> None:
    """Let torch compute with so many: set by a process' first model, which its other threads take.

    torch keeps one number for all: who serves a later version finds it there and sets nothing.
    """
    import torch

    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
