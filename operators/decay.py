"""Weights that halve: how much a tile counts that ended n steps ago.

::

    n steps ago,  k steps a half-life:   2^-(n / k)  =  2^-q · 2^-(r / k),   n = q·k + r
                                                              └─ coarse[r // m] · fine[r % m]

The tables are computed with `decimal`, to more digits than a float64 has, so they are the same on
every machine; no engine's own power function is asked. m is near √k, so that they stay short: a
week in steps of a second has two tables of 778. Beyond 64 half-lives a weight is 0: such rows are
not read.

The product is taken in this order: (coarse · fine) · 2^-q, and the last is exact.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from decimal import Context, Decimal

__all__ = ["MOST_HALF_LIVES", "MOST_STEPS", "Decay"]

MOST_HALF_LIVES = 64
"""How many half-lives a row counts; at the last its weight is near 5e-20."""
MOST_STEPS = 10_000_000
"""How many steps a half-life may have, for the tables' sake: they then have 3163 entries each."""

_EXACT = Context(prec=40)


@dataclass(frozen=True)
class Decay:
    """A half-life in steps.

    >>> halving = Decay(2)
    >>> [halving.weight(steps) for steps in range(5)]
    [1.0, 0.7071067811865476, 0.5, 0.3535533905932738, 0.25]
    """

    half_life_steps: int

    @property
    def fine_steps(self) -> int:
        """Give m, the steps that the fine table has."""
        return math.isqrt(self.half_life_steps - 1) + 1

    @property
    def coarse(self) -> tuple[float, ...]:
        """Give 2^-(i·m / k), for every i that a remainder can have."""
        count = -(-self.half_life_steps // self.fine_steps)
        return _table(self.half_life_steps, self.fine_steps, count)

    @property
    def fine(self) -> tuple[float, ...]:
        """Give 2^-(j / k), for every j below m."""
        return _table(self.half_life_steps, 1, self.fine_steps)

    @property
    def halves(self) -> tuple[float, ...]:
        """Give 2^-q, for every whole number of half-lives."""
        return tuple(2.0**-q for q in range(MOST_HALF_LIVES))

    def weight(self, steps: int) -> float:
        """Give the weight of a tile that ended so many steps ago, less than 64 half-lives."""
        whole, rest = divmod(steps, self.half_life_steps)
        i, j = divmod(rest, self.fine_steps)
        return self.coarse[i] * self.fine[j] * self.halves[whole]

    def weight_sql(self, steps: str) -> str:
        """Print the same for DuckDB, over an SQL expression for the steps."""
        rest = f"({steps}) % {self.half_life_steps}"
        places = (
            (self.coarse, f"({rest}) // {self.fine_steps}"),
            (self.fine, f"({rest}) % {self.fine_steps}"),
            (self.halves, f"({steps}) // {self.half_life_steps}"),
        )
        return " * ".join(f"{_listed(table)}[{place} + 1]" for table, place in places)


@functools.lru_cache(maxsize=256)
def _table(half_life_steps: int, stride: int, count: int) -> tuple[float, ...]:
    """Give 2^-(i·stride / k) for the first `count` i, each rounded once."""
    steps = (Decimal(-i * stride) for i in range(count))
    exponents = (_EXACT.divide(each, Decimal(half_life_steps)) for each in steps)
    return tuple(float(_EXACT.power(Decimal(2), exponent)) for exponent in exponents)


def _listed(numbers: tuple[float, ...]) -> str:
    # An exponent makes a literal a double; without one it would be a decimal.
    return f"[{', '.join(f'{number:.17e}' for number in numbers)}]"
