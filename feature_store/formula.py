"""An aggregate's result as a few steps over registers, for the kernel that reads the index.

An aggregate says once, over arrays, what it makes of its merged partials. Here it is given
registers instead of arrays, and what it does with them is written down: the same operations in the
same order, so the same bits. What it does beyond these operations stays with NumPy.

::

    mean:  total.astype(float64) / where(count > 0, count, 1).astype(float64)
           r0 ─► FLOAT r2 ─────────────────────────────► DIVIDE r5
           r1 ─► GREATER 0 r3 ─► WHERE r1, 1 ─► FLOAT r4 ──┘
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from headrace.feature_store.kernel import Op

__all__ = ["Formula", "Register"]


_WHOLE: Mapping[np.ufunc, Op] = {
    np.add: Op.ADD,
    np.subtract: Op.SUBTRACT,
    np.multiply: Op.MULTIPLY,
    np.greater: Op.GREATER,
    np.greater_equal: Op.GREATER_EQUAL,
    np.equal: Op.EQUAL,
    np.not_equal: Op.NOT_EQUAL,
}
_REAL: Mapping[np.ufunc, Op] = {
    np.add: Op.ADD_REAL,
    np.subtract: Op.SUBTRACT_REAL,
    np.multiply: Op.MULTIPLY_REAL,
    np.true_divide: Op.DIVIDE_REAL,
    np.greater: Op.GREATER_REAL,
    np.greater_equal: Op.GREATER_EQUAL_REAL,
    np.equal: Op.EQUAL_REAL,
    np.not_equal: Op.NOT_EQUAL_REAL,
}
_TURNED: Mapping[np.ufunc, np.ufunc] = {np.less: np.greater, np.less_equal: np.greater_equal}
_LOGIC: Mapping[np.ufunc, Op] = {
    np.bitwise_and: Op.AND,
    np.logical_and: Op.AND,
    np.bitwise_or: Op.OR,
    np.logical_or: Op.OR,
}
_TRUTHS = {Op.GREATER, Op.GREATER_EQUAL, Op.EQUAL, Op.NOT_EQUAL}
_TRUTHS |= {Op.GREATER_REAL, Op.GREATER_EQUAL_REAL, Op.EQUAL_REAL, Op.NOT_EQUAL_REAL}


@dataclass
class Formula:
    """Steps over two files of registers: int64 (bools are 0 and 1) and float64.

    A register is written once; `wholes` and `reals` say what each holds at first, which is a
    constant's value.
    """

    wholes: list[int] = field(default_factory=list)
    reals: list[float] = field(default_factory=list)
    steps: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    """Op, the register it writes, up to three that it reads."""

    def whole(self, value: int = 0, *, truth: bool = False) -> Register:
        """Give a new register of whole numbers."""
        self.wholes.append(value)
        return Register(self, len(self.wholes) - 1, np.dtype(np.bool_ if truth else np.int64))

    def real(self, value: float = 0.0) -> Register:
        """Give a new register of float64s."""
        self.reals.append(value)
        return Register(self, len(self.reals) - 1, np.dtype(np.float64))

    def step(self, op: Op, *read: Register, real: bool = False, truth: bool = False) -> Register:
        """Append a step; give what it writes."""
        written = self.real() if real else self.whole(truth=truth)
        places = [register.place for register in read]
        a, b, c = (*places, 0, 0, 0)[:3]
        self.steps.append((op, written.place, a, b, c))
        return written

    def traced(self, result: Callable[[], tuple[Any, Any]]) -> tuple[Register, Register] | None:
        """Write down what `result` does with registers; None where it does what none can."""
        kept = len(self.wholes), len(self.reals), len(self.steps)
        try:
            value, valid = result()
            return self.of(value), self.of(valid)
        except (TypeError, AttributeError):
            del self.wholes[kept[0] :], self.reals[kept[1] :], self.steps[kept[2] :]
            return None

    def of(self, value: object) -> Register:
        """Give a value's register: its own, or one for a constant."""
        if isinstance(value, Register):
            return value
        array = np.asarray(value)
        if array.size != 1 or array.dtype.kind not in "biuf":
            message = f"no register holds {value!r}"
            raise TypeError(message)
        if array.dtype.kind == "f":
            return self.real(float(array.item()))
        return self.whole(int(array.item()), truth=array.dtype.kind == "b")


class Register(NDArrayOperatorsMixin):
    """A register in the place of an array of one value."""

    def __init__(self, formula: Formula, place: int, dtype: np.dtype[Any]) -> None:
        self.formula, self.place, self.dtype = formula, place, dtype

    def __len__(self) -> int:
        return 1

    def __bool__(self) -> bool:
        message = "what a register holds is not known yet"
        raise TypeError(message)

    def __array__(self, *_: object, **__: object) -> None:
        message = "a register is no array"
        raise TypeError(message)

    @property
    def is_real(self) -> bool:
        """Say whether it is among the float64s."""
        return self.dtype.kind == "f"

    def real(self) -> Register:
        """Give it as a float64."""
        return self if self.is_real else self.formula.step(Op.FLOAT, self, real=True)

    def astype(self, dtype: Any, *, copy: bool = True) -> Register:
        """Convert as an array does; a float64 becomes no whole number."""
        del copy
        wanted = np.dtype(dtype)
        if wanted == np.float64:
            return self.real()
        if self.is_real or wanted.kind not in "bi" or (wanted.kind == "b" != self.dtype.kind):
            message = f"no step makes {wanted} of {self.dtype}"
            raise TypeError(message)
        return Register(self.formula, self.place, wanted)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **more: Any) -> Any:
        if method != "__call__" or more:
            return NotImplemented
        if ufunc in _TURNED:
            ufunc, inputs = _TURNED[ufunc], inputs[::-1]
        read = [self.formula.of(value) for value in inputs]
        step = self.formula.step
        truths = all(register.dtype.kind == "b" for register in read)
        if ufunc in _LOGIC and truths:
            return step(_LOGIC[ufunc], *read, truth=True)
        if ufunc in (np.invert, np.logical_not) and truths:
            return step(Op.NOT, *read, truth=True)
        if ufunc is np.sqrt:
            return step(Op.ROOT_REAL, read[0].real(), real=True)
        if ufunc is np.true_divide or (ufunc in _REAL and any(each.is_real for each in read)):
            op = _REAL[ufunc]
            read = [register.real() for register in read]
            return step(op, *read, real=op not in _TRUTHS, truth=op in _TRUTHS)
        if ufunc in _WHOLE and not truths:
            op = _WHOLE[ufunc]
            return step(op, *read, truth=op in _TRUTHS)
        return NotImplemented

    def __array_function__(self, function: Any, _: Any, inputs: Any, more: Any) -> Any:
        if function is not np.where or more or len(inputs) != 3:
            return NotImplemented
        where, *read = (self.formula.of(value) for value in inputs)
        if where.dtype.kind != "b":
            return NotImplemented
        if any(register.is_real for register in read):
            read = [register.real() for register in read]
            return self.formula.step(Op.WHERE_REAL, where, *read, real=True)
        truth = all(register.dtype.kind == "b" for register in read)
        return self.formula.step(Op.WHERE, where, *read, truth=truth)
