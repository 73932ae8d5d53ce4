"""What every model is told: how rows become ids, and the rate at which weights learn.

Values only. They are checked when they are made; the pipeline that made them knows the line.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType

import orjson

from headrace.operators.errors import HeadraceError, UnknownName
from headrace.operators.types import Type

__all__ = ["Encoding", "Ftrl", "LearningError", "Token", "digest"]

_MOST_SLOTS = 2**31 - 1  # slots are int32: half the memory traffic of int64


class LearningError(HeadraceError):
    """The learner was given what it cannot learn from or must refuse.

    >>> print(LearningError("asked for prediction 7", "the topic goes on with 9", "restore it"))
    asked for prediction 7; the topic goes on with 9; restore it
    """


@dataclass(frozen=True, slots=True)
class Token:
    """One weight's place in a row: the value of an input, or a cross of several.

    >>> Token(("origin", "hour")).name
    'origin*hour'
    """

    parts: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name the token after its parts."""
        return "*".join(self.parts)


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a row of inputs becomes one slot per token.

    Parameters
    ----------
    inputs
        The columns that a row must have, with their types.
    buckets
        For numbers: the edges, increasing. The bucket of a value is the number of edges <= it; null
        is bucket len(edges) + 1. An int64, bool or string without edges is taken as it is, null
        being a value of its own. A float64 needs edges: its values rarely repeat.
    tokens
        In the order in which their weights are summed.
    slots
        How many weights there are; tokens are hashed into [0, slots).
    bias
        Whether each row has one more slot, the same for all rows.
    numbers
        Numeric inputs that are taken as numbers, too, each with one weight; null is their mean.
    weight
        The numeric input that says how many times a row counts when it is learned; null is once.

    Raises
    ------
    UnknownName
        For a token's part or a bucketed column that is no input.
    LearningError
        For whatever else cannot be.

    Examples
    --------
    >>> hours = Encoding({"hour": Type.INT64}, {}, (Token(("hour",)),), slots=1 << 16, bias=True)
    >>> hours.width, hours.digest[:12]
    (2, 'd596ca1e7dbe')
    """

    inputs: Mapping[str, Type]
    buckets: Mapping[str, tuple[float, ...]]
    tokens: tuple[Token, ...]
    slots: int
    bias: bool
    numbers: tuple[str, ...] = ()
    weight: str | None = None

    def __post_init__(self) -> None:
        # The digest must go on being true, so nobody may change the mappings afterwards.
        object.__setattr__(self, "inputs", MappingProxyType(dict(self.inputs)))
        buckets = {name: tuple(map(float, edges)) for name, edges in self.buckets.items()}
        object.__setattr__(self, "buckets", MappingProxyType(buckets))
        for name, edges in buckets.items():
            self._check_edges(name, edges)
        for token in self.tokens:
            self._check_token(token)
        for name in (*self.numbers, *([self.weight] if self.weight else [])):
            self._check_number(name)
        if len(set(self.numbers)) < len(self.numbers):
            asked = "asked for numbers"
            raise LearningError(asked, "one is named twice", "remove it")
        if len(set(self.tokens)) < len(self.tokens):
            asked = "asked for tokens"
            raise LearningError(asked, "one is named twice", "remove it")
        if not 1 <= self.slots <= _MOST_SLOTS:
            found = f"there can be 1 to {_MOST_SLOTS}"
            asked = f"asked for {self.slots} slots"
            raise LearningError(asked, found, "choose among them")
        if not self.width and not self.numbers:
            asked = "asked for an encoding"
            raise LearningError(asked, "it has no token and no bias", "give one")

    def _check_number(self, name: str) -> None:
        if name not in self.inputs:
            raise UnknownName(kind="input", name=name, known=list(self.inputs))
        if not self.inputs[name].numeric:
            asked, found = f"asked for the number {name!r}", f"it is a {self.inputs[name].value}"
            raise LearningError(asked, found, "make it a token")

    def _check_edges(self, name: str, edges: tuple[float, ...]) -> None:
        if name not in self.inputs:
            raise UnknownName(kind="input", name=name, known=list(self.inputs))
        asked = f"asked for buckets of the input {name!r}"
        if not self.inputs[name].numeric:
            found = f"it is a {self.inputs[name].value}"
            raise LearningError(asked, found, "remove its buckets: its values are ids already")
        if not edges or not all(map(math.isfinite, edges)):
            found = f"the edges are {list(edges)}"
            raise LearningError(asked, found, "give one or more finite edges")
        if any(low >= high for low, high in pairwise(edges)):
            raise LearningError(asked, f"the edges {list(edges)} do not increase", "sort them")

    def _check_token(self, token: Token) -> None:
        asked = f"asked for the token {token.name!r}"
        if not token.parts:
            raise LearningError(asked, "it has no parts", "name the inputs that it is made of")
        if len(set(token.parts)) < len(token.parts):
            raise LearningError(asked, "a part is named twice", "name each input once")
        for part in token.parts:
            if part not in self.inputs:
                raise UnknownName(kind="input", name=part, known=list(self.inputs))
            if self.inputs[part] is Type.FLOAT64 and part not in self.buckets:
                found = f"{part!r} is a float64 without buckets, whose values rarely repeat"
                raise LearningError(asked, found, "give its buckets")

    @property
    def width(self) -> int:
        """Count the slots of a row."""
        return len(self.tokens) + self.bias

    @property
    def weights(self) -> int:
        """Count the weights: the slots, then one per number."""
        return self.slots + len(self.numbers)

    @property
    def names(self) -> list[str]:
        """Name what a row's prediction is made of: its tokens, the bias, its numbers."""
        tokens = [token.name for token in self.tokens]
        numbers = [f"{name} as a number" for name in self.numbers]
        return [*tokens, *["bias"] * self.bias, *numbers]

    @property
    def digest(self) -> str:
        """Hash everything that decides which slots a row has, and their order."""
        facts = {
            "hash": "blake2b-64, splitmix64: 1",
            "inputs": {name: type_.value for name, type_ in self.inputs.items()},
            "buckets": {name: list(edges) for name, edges in self.buckets.items()},
            "tokens": [list(token.parts) for token in self.tokens],
            "slots": self.slots,
            "bias": self.bias,
            **({"numbers": list(self.numbers)} if self.numbers else {}),
            **({"weight": self.weight} if self.weight else {}),
        }
        return digest(facts)


@dataclass(frozen=True, slots=True)
class Ftrl:
    """The settings of FTRL-proximal: the rate alpha / (beta + sqrt n), and two penalties.

    >>> Ftrl(alpha=0.0)
    Traceback (most recent call last):
    ...
    headrace.online_learning.settings.LearningError: asked for alpha = 0.0; it is a rate; give a...
    """

    alpha: float = 0.05
    beta: float = 1.0
    l1: float = 0.0
    l2: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.alpha) and self.alpha > 0):
            asked = f"asked for alpha = {self.alpha}"
            raise LearningError(asked, "it is a rate", "give a number above 0")
        for name, value in (("beta", self.beta), ("l1", self.l1), ("l2", self.l2)):
            if not (math.isfinite(value) and value >= 0):
                asked = f"asked for {name} = {value}"
                raise LearningError(asked, "it cannot be below 0", "give 0 or more")


def digest(facts: Mapping[str, object]) -> str:
    """Hash facts, whatever the order of their names."""
    return hashlib.sha256(orjson.dumps(facts, option=orjson.OPT_SORT_KEYS)).hexdigest()
