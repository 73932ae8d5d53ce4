"""What a version is held to, and what was said of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from headrace.online_learning.settings import LearningError

__all__ = ["VERDICTS", "Limits", "Verdict"]

VERDICTS = ("promoted", "waits", "held", "rolled_back")


@dataclass(frozen=True, slots=True)
class Limits:
    """When a version is not served.

    Parameters
    ----------
    tolerance
        By how much its log loss may lie above the champion's, or the base rate's.
    alpha
        How likely a version that is within it may be called worse; a watch may rise falsely once
        in 1 / alpha² labels.
    least
        How many labels there must be before a version is judged.
    calibration
        How many times the positives p may sum to, or they p.
    patience
        How many versions in a row may be held for what the labels alone say.
    most_bytes
        How large its arrays may be; None sets no limit.

    Examples
    --------
    >>> Limits(calibration=1.0)
    Traceback (most recent call last):
    ...
    headrace.online_learning.settings.LearningError: asked for the limit calibration = 1.0; it is...
    """

    tolerance: float = 0.001
    alpha: float = 0.01
    least: int = 50
    calibration: float = 3.0
    patience: int = 2
    most_bytes: int | None = None

    def __post_init__(self) -> None:
        right = {
            "tolerance": 0 <= self.tolerance < math.inf,
            "alpha": 0 < self.alpha < 1,
            "least": self.least >= 1,
            "calibration": 1 < self.calibration < math.inf,
            "patience": self.patience >= 0,
            "most_bytes": self.most_bytes is None or self.most_bytes >= 1,
        }
        for name, good in right.items():
            if not good:
                asked = f"asked for the limit {name} = {getattr(self, name)}"
                raise LearningError(asked, "it is out of its range", "see `Limits`")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a version: one of `VERDICTS`, and a sentence for each cause.

    Parameters
    ----------
    champion, previous
        Those from now on; None where there is none.
    labels, paired
        On how many labels it was judged; of how many decisions the champion said a probability.
    evidence
        Of each mean that is bet on the logarithm of the wealth.
    log_loss
        On the labels that are paired, by who predicted.
    """

    verdict: str
    causes: Mapping[str, str]
    champion: int | None
    previous: int | None
    labels: int
    paired: int
    evidence: Mapping[str, float]
    log_loss: Mapping[str, float]

    @property
    def facts(self) -> dict[str, Any]:
        """Say it in words of JSON."""
        return asdict(self)

    def __str__(self) -> str:
        causes = "; ".join(self.causes.values())
        return self.verdict.replace("_", " ") + (f": {causes}" if causes else "")
