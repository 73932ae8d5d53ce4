"""The stream operators by name, found in the files of this package: a new one is its file."""

from __future__ import annotations

import importlib
import pkgutil

from headrace.operators import streams
from headrace.operators.streams.operator import Operator

__all__ = ["OPERATORS"]


def _found() -> dict[str, type[Operator]]:
    """Find the operators; of those of one name the first in its file counts."""
    operators: dict[str, type[Operator]] = {}
    for module in pkgutil.iter_modules(streams.__path__, f"{streams.__name__}."):
        if module.name == __name__:
            continue
        for kind in vars(importlib.import_module(module.name)).values():
            own = isinstance(kind, type) and kind.__module__ == module.name
            if own and issubclass(kind, Operator) and hasattr(kind, "name"):
                operators.setdefault(kind.name, kind)
    return dict(sorted(operators.items()))


OPERATORS = _found()
