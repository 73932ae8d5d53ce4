"""What a setting may be when settings are searched: a range of numbers, or some values."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.online_learning.settings import LearningError

__all__ = ["Choice", "Dimension", "Range"]


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from `low` to `high`, both among them; `log`: evenly by their logarithm.

    >>> Range(0.1, 0.01)
    Traceback (most recent call last):
    ...
    headrace.online_learning.settings.LearningError: asked for a range from 0.1 to 0.01; it is em...
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def __post_init__(self) -> None:
        asked = f"asked for a range from {self.low:g} to {self.high:g}"
        if not self.low < self.high:
            raise LearningError(asked, "it is empty", "give the lower end first")
        if self.log and self.low <= 0:
            raise LearningError(asked, "it has no logarithm", "begin above 0, or leave `log` out")

    @property
    def ends(self) -> tuple[float | int, ...]:
        """Give both ends, as numbers of the setting's type."""
        return (int(self.low), int(self.high)) if self.whole else (self.low, self.high)

    def short(self, value: float) -> float:
        """Give a number of three digits near one, within the range: what is written is what was.

        >>> Range(0.0123456, 1.0).short(0.012349), Range(0.01, 1.0).short(0.0123456)
        (0.0123456, 0.0123)
        """
        return min(self.high, max(self.low, float(f"{value:.3g}")))


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some values.

    >>> Choice((8, 16)).ends
    (8, 16)
    """

    values: tuple[float | int | str, ...]

    def __post_init__(self) -> None:
        if len(self.values) < 2 or len(set(self.values)) < len(self.values):
            asked = f"asked to choose among {', '.join(map(str, self.values)) or 'nothing'}"
            raise LearningError(asked, "it takes two different values or more", "add one")

    @property
    def ends(self) -> tuple[float | int | str, ...]:
        """Give every value."""
        return self.values


Dimension = Range | Choice
