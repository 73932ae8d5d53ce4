"""Every example of every docstring runs; modules are found by name, so none loads twice."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from types import ModuleType

import pytest

import headrace

# Raise it as examples are added: a walk that finds nothing must fail.
FEWEST_EXAMPLES = 12


def module_names() -> list[str]:
    found = pkgutil.walk_packages(headrace.__path__, "headrace.")
    return sorted(module.name for module in found if not module.name.endswith(".__main__"))


def load(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        pytest.skip("no torch found: it comes with the extra 'deep'")


@pytest.mark.parametrize("name", module_names())
def test_examples(name: str) -> None:
    result = doctest.testmod(load(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0, f"{result.failed} of {result.attempted} examples failed, see above"


def test_there_are_examples() -> None:
    finder = doctest.DocTestFinder(exclude_empty=True)
    count = 0
    for name in module_names():
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            continue
        count += sum(len(found.examples) for found in finder.find(module))
    assert count >= FEWEST_EXAMPLES
