"""Numba behind one typed name: loops that run as machine code, and are cached on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import numba

__all__ = ["compiled", "inlined"]

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile at the first call, for the types it is then given.

    Without `fastmath`: every operation is done as written and in the order written, so the same
    input gives the same bits. The interpreter lock is released while it runs. The
    function must stand in a file, beside which its code is kept.

    >>> @compiled
    ... def twice(x: int) -> int:
    ...     return x + x
    Traceback (most recent call last):
    ...
    RuntimeError: cannot cache function 'twice': no locator available for file '<doctest ...
    """
    return cast("Callable[P, R]", numba.njit(cache=True, nogil=True)(function))


def inlined(function: Callable[P, R]) -> Callable[P, R]:
    """Compile into whoever calls it, as if it stood there: a loop within a hot loop.

    A call hides from the compiler that arrays are apart, which cost FTRL a sixth of its rows a
    second.

    >>> @inlined
    ... def twice(x: int) -> int:
    ...     return x + x
    >>> twice(4)
    8
    """
    return cast("Callable[P, R]", numba.njit(nogil=True, inline="always")(function))
