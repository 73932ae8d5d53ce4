"""How the partials of two tiles become one."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence

__all__ = ["Merge", "within_38_digits", "within_int64"]


class Merge(enum.Enum):
    """How two tiles' partials become one; null, which a tile without a value has, is neutral."""

    ADD = "add"
    MIN = "min"
    MAX = "max"

    def of(
        self, values: Sequence[float | None], within: Callable[[float], float] | None = None
    ) -> float | None:
        """Merge: the definition, never tuned; a sum is `within` int64 unless another is given.

        >>> Merge.ADD.of([1, None, 3]), Merge.MIN.of([3, 1]), Merge.MAX.of([None]), Merge.ADD.of([])
        (4, 1, None, None)
        """
        known = [value for value in values if value is not None]
        if not known:
            return None
        if self is Merge.ADD:
            return (within or within_int64)(sum(known))
        return min(known) if self is Merge.MIN else max(known)


def within_int64(total: float) -> float:
    """Give a sum, or an OverflowError where it leaves int64."""
    if not -(2**63) <= total < 2**63:
        raise OverflowError(total)
    return total


def within_38_digits(total: float) -> float:
    """Give a sum of 128 bits, or an OverflowError where it has more digits than Flink keeps."""
    if not abs(total) < 10**38:
        raise OverflowError(total)
    return total
