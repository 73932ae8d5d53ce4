"""Run the benchmarks that are named, or all: ``make bench ARGS="views --rounds 5"``."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
from pathlib import Path

ROUNDS = {
    "clicks": 5,
    "deep": 1,
    "feast": 3,
    "gpu": 20,
    "history": 5,
    "index": 3,
    "learner": 5,
    "materialise": 3,
    "peers": 1,
    "ranks": 5,
    "scale": 1,
    "serving": 3,
    "stream": 1,
    "swaps": 1,
    "views": 2,
    "windows": 1,
}
"""Each benchmark, and the rounds that fit into a quarter of an hour for all."""


def _package() -> None:
    """Make this folder the package `benchmarks`, without its parent on the import path."""
    folder = Path(__file__).parent
    spec = importlib.util.spec_from_file_location(
        "benchmarks", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is not None:
        sys.modules["benchmarks"] = importlib.util.module_from_spec(spec)


def main(arguments: list[str]) -> int:
    """Run them one after the other, then say each in one line."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(ROUNDS))
    parser.add_argument("--rounds", type=int, help="of every comparison, each in turn")
    asked = parser.parse_args(arguments)
    unknown = [name for name in asked.names if name not in ROUNDS]
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; there are {', '.join(ROUNDS)}")
    _package()
    lines = []
    for name in asked.names or ROUNDS:
        sys.stdout.write(f"== {name}\n")
        sys.stdout.flush()
        benchmark = importlib.import_module(f"benchmarks.{name}")
        told = benchmark.run(asked.rounds or ROUNDS[name])
        lines += [f"{name}: {line}" for line in told]
    sys.stdout.writelines(f"{line}\n" for line in ["== in short", *lines])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
