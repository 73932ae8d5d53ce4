"""What a learner does when its stream changes: which signals it watches, and the actions."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from headrace.online_learning.settings import LearningError

__all__ = ["Action", "Watching"]

_RAISE = re.compile(r"raise_rate ([0-9]{1,3}(?:\.[0-9]{1,3})?)x")


@dataclass(frozen=True, slots=True)
class Action:
    """What is done about a change, from the next version on.

    Parameters
    ----------
    kind
        `alert`: a line in the log. `raise_rate`: labels count `times` as often when they are
        learned, for `for_ms`. `reset`: the field's weights learn as if they were new. `promote`: a
        challenger that is better on average since then takes the lead; without any it is noted.
    """

    kind: Literal["alert", "raise_rate", "reset", "promote"]
    times: float = 1.0
    for_ms: int = 0

    def __post_init__(self) -> None:
        if self.kind == "raise_rate" and not (1 < self.times <= 100 and self.for_ms > 0):
            asked = f"asked to raise the rate {self.times:g} times for {self.for_ms} ms"
            raise LearningError(asked, "that is no rise", "give more than 1, up to 100, and a time")

    @classmethod
    def read(cls, text: str, for_ms: int = 0) -> Action:
        """Read an action, of which `for_ms` was read already.

        >>> Action.read("raise_rate 3x", 86_400_000)
        Action(kind='raise_rate', times=3.0, for_ms=86400000)
        """
        if not for_ms:
            if text == "alert":
                return cls("alert")
            if text == "reset":
                return cls("reset")
            if text == "promote":
                return cls("promote")
        match = _RAISE.fullmatch(text)
        if match is None or not for_ms:
            asked = f"asked for the action {text!r}"
            found = "known: alert, reset, promote, raise_rate 3x for 1d"
            raise LearningError(asked, found, "choose among them")
        return cls("raise_rate", float(match[1]), for_ms)


@dataclass(frozen=True, slots=True)
class Watching:
    """What is watched, and what is done when it changes.

    Parameters
    ----------
    delta
        How likely a false alarm may be, at each look at a signal.
    loss
        What is done when the trainer's loss rises; None does not watch it.
    fields
        What is done when the values of a token change, by its name.
    """

    delta: float = 0.002
    loss: tuple[Action, ...] | None = None
    fields: Mapping[str, tuple[Action, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", MappingProxyType(dict(self.fields)))
        if not (math.isfinite(self.delta) and 0 < self.delta < 1):
            asked = f"asked for delta = {self.delta}"
            raise LearningError(
                asked, "it is how likely an alarm may be", "give more than 0, below 1"
            )
        if any(action.kind == "reset" for action in self.loss or ()):
            asked, found = "asked for a reset when the loss rises", "that is of no field"
            raise LearningError(asked, found, "give it to fields")

    @property
    def actions(self) -> list[Action]:
        """List all actions."""
        return [*(self.loss or ()), *(each for some in self.fields.values() for each in some)]

    @property
    def facts(self) -> dict[str, object]:
        """Say it in words of JSON."""
        said = {
            name: [[each.kind, each.times, each.for_ms] for each in some]
            for name, some in self.fields.items()
        }
        loss = None if self.loss is None else [[a.kind, a.times, a.for_ms] for a in self.loss]
        return {"delta": self.delta, "loss": loss, "fields": said}
