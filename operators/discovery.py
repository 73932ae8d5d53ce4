"""Operators found where they stand: the classes of a package's files that are of one kind."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from typing import TypeVar

__all__ = ["found_in"]

Kind = TypeVar("Kind")


def found_in(package: str, kind: type[Kind]) -> dict[str, type[Kind]]:
    """Give the classes with a name that the modules of a package define, in their names' order.

    A class that is not whole is none; of those of one name the first in its file counts. What the
    package itself is being made of is passed over.

    >>> from headrace.operators.aggregates import Aggregate
    >>> list(found_in("headrace.operators.aggregates", Aggregate))[:2]
    ['age', 'count']
    """
    found: dict[str, type[Kind]] = {}
    for module in pkgutil.iter_modules(sys.modules[package].__path__, f"{package}."):
        for each in vars(importlib.import_module(module.name)).values():
            own = inspect.isclass(each) and each.__module__ == module.name
            if (
                own
                and issubclass(each, kind)
                and not inspect.isabstract(each)
                and isinstance(getattr(each, "name", None), str)
            ):
                found.setdefault(each.name, each)
    return dict(sorted(found.items()))
