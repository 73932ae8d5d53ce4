"""Kills, damaged files and full disks for the store process: ``make chaos ARGS="--seed 7"``.

Each part says what it did and what is wrong after it; the exit status is 1 if anything is::

    kills: 200, 0 wrong (before BEGIN 15, …; seed 7; 190 s)
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

SHOWN = 10

Part = Callable[[int, int, Path], tuple[int, list[str], str]]
"""Takes how many, the seed, a folder; gives how many there were, what is wrong, and the details."""


def _package() -> None:
    """Make this folder the package `tests`, without its parent on the import path."""
    folder = Path(__file__).parent
    spec = importlib.util.spec_from_file_location(
        "tests", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is not None:
        sys.modules["tests"] = importlib.util.module_from_spec(spec)


def main(arguments: list[str]) -> int:
    """Run each part that has a number above 0; give the exit status."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=210, help="by SIGKILL, on a real broker")
    parser.add_argument("--damages", type=int, default=500, help="of each kind of file")
    parser.add_argument("--disks", type=int, default=12, help="that are full")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6, help="of all dice")
    parser.add_argument("--kafka", help="a broker that runs; one is started unless given")
    asked = parser.parse_args(arguments)
    if asked.kills and asked.kafka is None:
        return _with_broker([*arguments, "--seed", str(asked.seed)])
    _package()
    from tests import chaos_damage, chaos_disk, chaos_kills

    parts: list[tuple[str, int, Part]] = [
        ("kills", asked.kills, lambda n, seed, at: chaos_kills.run(n, seed, asked.kafka, at)),
        ("damages", asked.damages, chaos_damage.run),
        ("full disks", asked.disks, chaos_disk.run),
    ]
    wrong = [_part(what, n, asked.seed, part) for what, n, part in parts if n > 0]
    return int(any(wrong) or not wrong)


def _with_broker(arguments: list[str]) -> int:
    """Run again, in a process that has no threads and can be forked, beside a broker."""
    from headrace.jobs.machine.broker import running

    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with (
        tempfile.TemporaryDirectory(prefix="headrace-chaos-") as folder,
        running(Path(folder)) as broker,
    ):
        argv = [sys.executable, __file__, *arguments, "--kafka", broker.address]
        return subprocess.run(argv, check=False, env=environment).returncode


def _part(what: str, count: int, seed: int, part: Part) -> int:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="headrace-chaos-") as folder:
        done, wrong, details = part(count, seed, Path(folder))
    took = time.monotonic() - began
    sys.stdout.write(
        f"{what}: {done:,}, {len(wrong)} wrong ({details}; seed {seed}; {took:.0f} s)\n"
    )
    for line in wrong[:SHOWN]:
        sys.stdout.write(f"  {line}\n")
    sys.stdout.flush()
    return len(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
