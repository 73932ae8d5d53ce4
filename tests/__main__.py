"""Run one of the tests' own programs: ``.venv/bin/python tests/__main__.py chaos --seed 7``.

This folder becomes the package `tests` here, without its parent on the import path.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

PROGRAMS = ("chaos", "chaos_disk", "fuzz", "fuzz_requests")


def _package() -> None:
    folder = Path(__file__).parent
    spec = importlib.util.spec_from_file_location(
        "tests", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is not None:
        sys.modules["tests"] = importlib.util.module_from_spec(spec)


def main(arguments: list[str]) -> int:
    """Run the program that is named first, with the other arguments; give its exit status."""
    if not arguments or arguments[0] not in PROGRAMS:
        sys.stderr.write(f"asked for no program; there are {', '.join(PROGRAMS)}\n")
        return 2
    _package()
    program = importlib.import_module(f"tests.{arguments[0]}")
    status: int = program.main(arguments[1:])
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
