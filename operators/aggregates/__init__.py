"""The aggregates, one family to a file; a new one is its file and its table of cases.

What stands in this package is found by itself: every class of its modules that is an `Aggregate`
and has a name.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from types import ModuleType

from headrace.operators.aggregates.aggregate import (
    SCALE,
    Aggregate,
    Newest,
    Partial,
    Partials,
)
from headrace.operators.aggregates.bins import Bins
from headrace.operators.aggregates.ends import Ends
from headrace.operators.aggregates.merge import Merge
from headrace.operators.aggregates.of_rows import Gathered, OfRows

__all__ = [
    "AGGREGATES",
    "SCALE",
    "Aggregate",
    "Bins",
    "Ends",
    "Gathered",
    "Merge",
    "Newest",
    "OfRows",
    "Partial",
    "Partials",
    "found_in",
]


def found_in(package: ModuleType) -> dict[str, type[Aggregate]]:
    """Give the aggregates that the modules of a package define, by name, in the names' order."""
    found: dict[str, type[Aggregate]] = {}
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        for kind in vars(importlib.import_module(module.name)).values():
            if (
                inspect.isclass(kind)
                and issubclass(kind, Aggregate)
                and kind.__module__ == module.name
                and hasattr(kind, "name")
            ):
                found[kind.name] = kind
    return dict(sorted(found.items()))


AGGREGATES = found_in(sys.modules[__name__])
"""Every aggregate, by the name that a pipeline calls it."""
