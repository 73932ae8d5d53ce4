"""Which decisions are worth a look: a value that a pipeline declares."""

from __future__ import annotations

import math
from dataclasses import dataclass

from headrace.operators.errors import HeadraceError

__all__ = ["BadCaseError", "Worth"]


class BadCaseError(HeadraceError):
    """Cases were asked for that cannot be."""


@dataclass(frozen=True, slots=True)
class Worth:
    """Which decisions are worth a look.

    Parameters
    ----------
    loss_above
        Where −ln of the probability that was given to what came is above it; None is nowhere.
    confidence_below
        Where the probability is nearer than this to ½; None is nowhere.
    most_per_day
        How many of each cause, by the day (UTC) of the event that made it one; the first ones.

    Examples
    --------
    >>> Worth(loss_above=0.7, confidence_below=0.1)
    Traceback (most recent call last):
    ...
    headrace.feature_store.worth.BadCaseError: asked for cases of a loss above 0.7; where p i...
    """

    loss_above: float | None = None
    confidence_below: float | None = None
    most_per_day: int = 100

    def __post_init__(self) -> None:
        if self.loss_above is None or self.confidence_below is None:
            return
        highest = (
            -math.log(0.5 - self.confidence_below) if self.confidence_below < 0.5 else math.inf
        )
        if self.loss_above < highest:
            asked = f"asked for cases of a loss above {self.loss_above:g}"
            found = (
                f"where p is within {self.confidence_below:g} of 0.5 it is {highest:.3f} at most"
            )
            raise BadCaseError(asked, found, f"give {highest:.3f} or more: no case is one twice")
