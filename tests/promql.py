"""As much of PromQL as the alerts have, over two moments; `promql_parser` reads it.

A moment is the value of each series before and now: what takes a range takes their difference.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

import promql_parser as parsed

__all__ = ["Series", "evaluate", "names"]

Labels = frozenset[tuple[str, str]]
Series = Mapping[tuple[str, Labels], tuple[float, float]]
"""By name and labels: the value before, the value now."""
Vector = dict[Labels, float]
_COMPARED: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "==": operator.eq,
}


def evaluate(text: str, series: Series) -> Vector:
    """Give what an expression has now; of an alert, what it fires for."""
    found = _value(parsed.parse(text), series)
    assert isinstance(found, dict)
    return found


def names(text: str) -> set[str]:
    """Name the metrics of an expression."""
    found: set[str] = set()

    def look(node: Any) -> None:
        if isinstance(node, parsed.MatrixSelector):
            look(node.vector_selector)
        elif isinstance(node, parsed.VectorSelector):
            found.add(str(node.name))
        else:
            for part in ("lhs", "rhs", "expr"):
                if getattr(node, part, None) is not None:
                    look(getattr(node, part))
            for each in getattr(node, "args", ()):
                look(each)

    look(parsed.parse(text))
    return found


def _value(node: Any, series: Series) -> Vector | float:
    if isinstance(node, parsed.NumberLiteral):
        return float(node.val)
    if isinstance(node, parsed.ParenExpr):
        return _value(node.expr, series)
    if isinstance(node, parsed.VectorSelector):
        return {labels: now for labels, (_, now) in _chosen(node, series).items()}
    if isinstance(node, parsed.Call):
        (ranged,) = node.args
        seconds = ranged.range.total_seconds() if node.func.name == "rate" else 1.0
        assert node.func.name in ("rate", "increase", "delta")
        of_range = _chosen(ranged.vector_selector, series)
        return {labels: (now - was) / seconds for labels, (was, now) in of_range.items()}
    if isinstance(node, parsed.AggregateExpr):
        return _summed(node, series)
    assert isinstance(node, parsed.BinaryExpr), type(node)
    return _joined(node, _value(node.lhs, series), _value(node.rhs, series))


def _chosen(selector: Any, series: Series) -> dict[Labels, tuple[float, float]]:
    def fits(labels: Labels) -> bool:
        own = dict(labels)
        return all(
            own.get(each.name, "") == each.value
            if str(each.op) == "MatchOp.Equal"
            else re.fullmatch(each.value, own.get(each.name, ""))
            for each in selector.matchers.matchers
        )

    return {
        labels: values
        for (name, labels), values in series.items()
        if name == selector.name and fits(labels)
    }


def _summed(node: Any, series: Series) -> Vector:
    assert str(node.op) == "sum"
    found: Vector = {}
    inner = _value(node.expr, series)
    assert isinstance(inner, dict)
    for labels, value in inner.items():
        kept = _only(labels, node.modifier.labels)
        found[kept] = found.get(kept, 0.0) + value
    return found


def _only(labels: Labels, names: Collection[str]) -> Labels:
    return frozenset((name, value) for name, value in labels if name in names)


def _joined(node: Any, left: Vector | float, right: Vector | float) -> Vector | float:
    op = str(node.op).split(" ")[0]
    if op == "*":
        assert isinstance(left, float)
        assert isinstance(right, dict)
        return {labels: left * value for labels, value in right.items()}
    assert isinstance(left, dict)
    if isinstance(right, float):
        return {labels: value for labels, value in left.items() if _COMPARED[op](value, right)}
    on = node.modifier.matching if node.modifier is not None else None

    def key(labels: Labels) -> Labels:
        return labels if on is None else _only(labels, on.labels)

    others = {key(labels): value for labels, value in right.items()}
    assert len(others) == len(right), "one of a side for each of the other"
    if op == "and":
        return {labels: value for labels, value in left.items() if key(labels) in others}
    if op == "or":
        return {**right, **left}
    return {
        labels: value
        for labels, value in left.items()
        if key(labels) in others and _COMPARED[op](value, others[key(labels)])
    }
