"""Numba behind one typed name: loops that run as machine code, and are cached on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic
from numpy.typing import NDArray

__all__ = ["compiled", "inlined", "prefetched", "ready"]

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


def _prefetched(_typing: Any, array: Any, row: Any) -> Any:
    signature = types.void(array, row)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds, whole, word = signature.args, ir.IntType(64), ir.IntType(32)
        place = [context.cast(builder, arguments[1], kinds[1], types.intp)]
        place += [ir.Constant(whole, 0)] * (kinds[0].ndim - 1)
        made = context.make_array(kinds[0])(context, builder, arguments[0])
        find: Any = cgutils.get_item_pointer
        at = builder.bitcast(find(context, builder, kinds[0], made, place), cgutils.voidptr_t)
        takes = ir.FunctionType(ir.VoidType(), [at.type, word, word, word])
        ask = builder.module.declare_intrinsic("llvm.prefetch", [at.type], takes)
        # To be written, to be kept, and data.
        builder.call(ask, [at, *(ir.Constant(word, n) for n in (1, 3, 1))])
        return context.get_dummy_value()

    return signature, generate


def ready() -> None:
    """Load what numba loads at the first call of what is compiled: a half second of a CPU.

    >>> ready()
    """
    for context in (cpu_target.typing_context, cpu_target.target_context):
        context.refresh()


prefetched = cast("Callable[[NDArray[Any], int], None]", intrinsic(_prefetched))
"""Ask the processor for an array's row that will soon be changed, so that nobody waits for it.

Within what is compiled, for a row that is there. It changes nothing, and reads nothing that the
program sees.
"""
