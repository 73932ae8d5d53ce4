"""The natural logarithm of a whole number, with the same bits in every engine.

The engines' own LN come from different libraries. Additions, multiplications and divisions of
float64 do not, so the logarithm is made of these, in one stated order: of n = m · 2^e, with m near
1, it is e · ln 2 + 2 · artanh((m − 1) / (m + 1)), by ten terms of the series. It is within 1e-15 of
the true one, relative to it.
"""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
import numpy.typing as npt

__all__ = ["Floats", "ln", "ln_of", "ln_sql"]

_LN_2 = 0.6931471805599453
_ROOT_2 = 1.4142135623730951
_TERMS = tuple(1 / (2 * k + 1) for k in range(10))
Floats = npt.NDArray[np.float64]
_Number = TypeVar("_Number", float, Floats)


def ln_of(n: int) -> float:
    """Give the logarithm of a whole number from 1 up to 2^53.

    >>> ln_of(1), ln_of(2), ln_of(1000)
    (0.0, 0.6931471805599453, 6.907755278982137)
    """
    part, power = math.frexp(n)
    m, e = part * 2, power - 1
    return _series(m / 2, e + 1.0) if m > _ROOT_2 else _series(m, float(e))


def ln(n: npt.NDArray[np.int64]) -> Floats:
    """Give the logarithms of many.

    >>> bool(ln(np.array([7]))[0] == ln_of(7))
    True
    """
    part, power = np.frexp(n.astype(np.float64))
    m, e = part * 2, power - 1
    above = m > _ROOT_2
    return _series(np.where(above, m / 2, m), np.where(above, e + 1, e).astype(np.float64))


def _series(m: _Number, e: _Number) -> _Number:
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    total = z * 0.0 + _TERMS[-1]
    for term in _TERMS[-2::-1]:
        total = total * z + term
    return e * _LN_2 + 2.0 * s * total


def ln_sql(n: str, named: str) -> str:
    """Print the columns of a SELECT that end with `named`, the logarithm of the column `n`."""
    e, m, up, s, z = (f"{named}_{part}" for part in ("e", "m", "up", "s", "z"))
    total = f"{_TERMS[-1]!r}e0"
    for term in _TERMS[-2::-1]:
        total = f"({total} * {z} + {term!r}e0)"
    return (
        f"length(bin({n})) - 1 AS {e}, "
        f"CAST({n} AS DOUBLE) / CAST(CAST(1 AS BIGINT) << {e} AS DOUBLE) AS {m}, "
        f"{m} > {_ROOT_2!r}e0 AS {up}, "
        f"CASE WHEN {up} THEN ({m} / 2e0 - 1e0) / ({m} / 2e0 + 1e0) "
        f"ELSE ({m} - 1e0) / ({m} + 1e0) END AS {s}, {s} * {s} AS {z}, "
        f"CAST(CASE WHEN {up} THEN {e} + 1 ELSE {e} END AS DOUBLE) * {_LN_2!r}e0 "
        f"+ 2e0 * {s} * {total} AS {named}"
    )
