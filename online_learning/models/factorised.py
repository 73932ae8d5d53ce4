"""Factorisation machines: a weight per slot, and vectors whose products say what pairs of them add.

fm    one vector a slot: its product with any other's
ffm   a vector for each member of a row that a slot meets, so that each pair has products of its own

A member is a token or a number. Both learn row by row; `factors.py` says how.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from headrace.online_learning.models import factors, losses
from headrace.online_learning.models.factors import Factors
from headrace.online_learning.models.linear import LinearServed, Logistic
from headrace.online_learning.models.model import Arrays, Inputs, Kind, State, Steps
from headrace.online_learning.models.sparse import dense
from headrace.online_learning.settings import Encoding, Ftrl, LearningError

__all__ = ["Ffm", "Fm", "FmModel", "FmServed"]

_VECTORS = ("owners", "vectors", "squares")


@dataclass(frozen=True)
class Fm(Kind):
    """The probability of a bool, from weights and one vector a slot.

    Parameters
    ----------
    ftrl
        The rate and the penalties of the weights.
    width
        Of a vector.
    rate
        Of the vectors, by Adagrad.
    seed
        What vectors begin with.

    Examples
    --------
    >>> Fm(width=0)
    Traceback (most recent call last):
    ...
    headrace.online_learning.settings.LearningError: asked for width = 0; it is too small; give 1...
    """

    name = "fm"
    refreshes = True
    aware: ClassVar[bool] = False
    ftrl: Ftrl = field(default_factory=Ftrl)
    width: int = 8
    rate: float = 0.03
    seed: int = 1

    def __post_init__(self) -> None:
        if self.width < 1:
            asked = f"asked for width = {self.width}"
            raise LearningError(asked, "it is too small", "give 1 or more")

    @property
    def facts(self) -> Mapping[str, Any]:
        """Say the settings."""
        return {"kind": self.name, **asdict(self)}

    @property
    def ftrl_alone(self) -> Logistic:
        """Give the settings of the weights alone."""
        return Logistic(self.ftrl)

    def blank(self, encoding: Encoding) -> FmModel:
        """Make a model that has seen nothing."""
        return FmModel(self, encoding)

    def serves(self, encoding: Encoding, arrays: Arrays) -> FmServed:
        """Make what predicts with the weights and the vectors of a version."""
        return FmServed(self, encoding, arrays)

    def factors(self, encoding: Encoding) -> Factors:
        """Make the vectors of rows of this encoding: none yet."""
        members = len(encoding.tokens) + len(encoding.numbers)
        if members < 2:
            asked, found = f"asked for the kind {self.name!r}", f"a row has {members} to multiply"
            raise LearningError(asked, found, "give two tokens or numbers, or take the kind 'ftrl'")
        return Factors(encoding.weights, members, self.width, self.aware)


@dataclass(frozen=True)
class Ffm(Fm):
    """The same with a vector for each other member, which costs as many times the memory."""

    name = "ffm"
    aware = True
    width: int = 4


class FmModel:
    """The weights, as a linear model has them, and the vectors.

    >>> encoding = Encoding({}, {}, (), slots=4, bias=True, numbers=())
    >>> Fm().blank(encoding)
    Traceback (most recent call last):
    ...
    headrace.online_learning.settings.LearningError: asked for the kind 'fm'; a row has 0 to mult...
    """

    def __init__(self, kind: Fm, encoding: Encoding) -> None:
        self.kind = kind
        self.factors = kind.factors(encoding)
        self.linear = kind.ftrl_alone.blank(encoding)

    @property
    def zr(self) -> NDArray[np.float64]:
        """Give the state of the weights."""
        return self.linear.zr

    def advance(self, inputs: Inputs, steps: Steps) -> NDArray[np.float64]:
        """Take the steps in order; give the prediction at each."""
        steps.check(inputs, self.linear.slots)
        losses.check(losses.LOGISTIC, steps.labels)
        return self.joint(inputs, steps, None)[0]

    def joint(
        self, inputs: Inputs, steps: Steps, offsets: NDArray[np.float64] | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Take steps with what another model adds to each sum; give the gradients, too.

        Rows and labels are not checked here.
        """
        return factors.advance(
            *(self.zr, self.factors, inputs.slots, inputs.numbers, steps.rows, steps.targets),
            *(inputs.weights, self.kind.ftrl),
            rate=self.kind.rate,
            seed=self.kind.seed,
            offsets=offsets,
            learned_offset=steps.offset,
            touched=self.linear.touched,
        )

    def refresh(self, slots: NDArray[np.int64]) -> None:
        """Forget what weights and vectors of slots learned of their rate; they stay as they are."""
        self.linear.refresh(slots)
        rows = self.factors.index[slots]
        self.factors.squares[rows[rows >= 0]] = factors.BEGINS

    def state(self) -> State:
        """Give z and r of the slots that learned, and all vectors with their accumulators."""
        own = {name: getattr(self.factors, name)[: self.factors.used] for name in _VECTORS}
        return State({**self.linear.state().arrays, **own}, {})

    def restore(self, state: State) -> None:
        """Take them up."""
        self.linear.restore(state)
        self.factors.take(*(state.arrays[name] for name in _VECTORS))

    def weights(self) -> Arrays:
        """Give the weights that are not 0, and the vectors with the slots that they are of."""
        found, used = self.factors, self.factors.used
        own = {name: getattr(found, name)[:used].copy() for name in ("owners", "vectors")}
        return {**self.linear.weights(), **own}


class FmServed:
    """The weights and the vectors of a version."""

    def __init__(self, kind: Fm, encoding: Encoding, arrays: Arrays) -> None:
        own = {name: array for name, array in arrays.items() if name not in _VECTORS}
        self._linear = LinearServed(kind.ftrl_alone, dense(own, "weights", encoding.weights))
        self._slots, self._tokens = encoding.slots, len(encoding.tokens)
        self._factors = kind.factors(encoding)
        if arrays:
            _take(self._factors, arrays)

    def score(self, inputs: Inputs) -> NDArray[np.float64]:
        """Predict rows."""
        return self.joint(inputs, None)

    def joint(self, inputs: Inputs, offsets: NDArray[np.float64] | None) -> NDArray[np.float64]:
        """Predict rows with what another model adds to each sum."""
        sums = self._pairs(inputs)[0]
        return self._linear.joint(inputs, sums if offsets is None else sums + offsets)

    def contributions(self, inputs: Inputs) -> NDArray[np.float64]:
        """Give each weight, and to either of a pair the half of its product."""
        shares = self._pairs(inputs, shared=True)[1][0]
        bias = np.zeros(inputs.slots.shape[1] - self._tokens)
        pairs = [shares[: self._tokens], bias, shares[self._tokens :]]
        added: NDArray[np.float64] = self._linear.contributions(inputs) + np.concatenate(pairs)
        return added

    def _pairs(
        self, inputs: Inputs, *, shared: bool = False
    ) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        Steps(np.empty(0, np.int64), np.empty(0)).check(inputs, self._slots)
        return factors.pairs(self._factors, inputs.slots, inputs.numbers, shared=shared)


def _take(found: Factors, arrays: Arrays) -> None:
    """Take up the vectors of a version, if they are such."""
    asked, do = "asked for vectors", "keep the version you have"
    if not {"owners", "vectors"} <= set(arrays):
        raise LearningError(asked, f"it holds {sorted(arrays)}", do)
    owners, vectors = arrays["owners"], arrays["vectors"]
    fits = owners.dtype == np.int64 and vectors.dtype == np.float32
    if not fits or vectors.shape != (len(owners), *found.vectors.shape[1:]):
        raise LearningError(asked, f"they are {vectors.dtype}{list(vectors.shape)}", do)
    if len(np.unique(owners)) < len(owners) or ((owners < 0) | (owners >= found.slots)).any():
        raise LearningError(asked, f"their slots are not {len(owners)} of {found.slots}", do)
    found.take(owners, vectors, np.zeros(vectors.shape, np.float32))
