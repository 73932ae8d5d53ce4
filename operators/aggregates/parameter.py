"""What an aggregate is told besides its column: a number, a fraction, a span of time.

::

    quantile(delay, 0.95) over 1h        Parameter("quantile", "float", "0.95", least=0, most=1)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from headrace.operators.errors import HeadraceError

__all__ = ["Parameter", "ParameterError"]


class ParameterError(HeadraceError):
    """A parameter that an aggregate cannot be told."""


@dataclass(frozen=True)
class Parameter:
    """One value that an aggregate takes after its column.

    Parameters
    ----------
    name
        What it is, in the words of a sentence.
    kind
        How it is written: a whole number, a number, or a duration (which is a whole number of ms).
    like
        One, as it is written.
    least, most
        What it may be, the ends included.

    Examples
    --------
    >>> print(Parameter("number of items", "int", "5", least=1, most=1000).refuse("0"))
    asked for a number of items of 0; it is a whole number from 1 to 1000; write it like 5

    """

    name: str
    kind: Literal["int", "float", "duration"]
    like: str
    least: float
    most: float

    def check(self, value: float) -> None:
        """Refuse a value that it cannot be."""
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not (whole or self.kind == "float") or not self.least <= value <= self.most:
            raise self.refuse(self.said(value))

    def refuse(self, written: str) -> ParameterError:
        """Make the error for what was written in its place."""
        word = {"int": "a whole number", "float": "a number", "duration": "a duration"}[self.kind]
        found = f"it is {word} from {self.said(self.least)} to {self.said(self.most)}"
        do = f"write it like {self.like}"
        return ParameterError(f"asked for a {self.name} of {written}", found, do)

    def said(self, value: str | float) -> str:
        """Write a value as a pipeline does.

        >>> Parameter("half-life", "duration", "1h", least=1, most=10**9).said(5_400_000)
        '90m'
        """
        number = float(value)
        if self.kind != "duration":
            return f"{number:g}"
        units = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000))
        for unit, size in units:
            if number and not number % size:
                return f"{number / size:.0f}{unit}"
        return f"{number:.0f}ms"
