"""Kills, damaged files and full disks, part by part and over all processes: ``make chaos``.

Each part says what it did and what is wrong after it; the exit status is 1 if anything is::

    kills: 200, 0 wrong (before BEGIN 15, …; seed 7; 190 s)
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from headrace.jobs.machine.broker import running
from tests import (
    chaos_damage,
    chaos_disk,
    chaos_kills,
    chaos_learner,
    chaos_pipeline,
    chaos_snapshots,
)

__all__ = ["main"]

SHOWN = 10

Part = Callable[[int, int, Path], tuple[int, list[str], str]]
"""Takes how many, the seed, a folder; gives how many there were, what is wrong, and the details."""


def main(arguments: list[str]) -> int:
    """Run each part that has a number above 0; give the exit status."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=210, help="of the store, on a real broker")
    parser.add_argument("--learner-kills", type=int, default=210, help="of the learner, on it, too")
    parser.add_argument(
        "--damages", type=int, default=500, help="of each kind of the store's files"
    )
    parser.add_argument(
        "--learner-damages", type=int, default=500, help="of snapshots, of versions"
    )
    parser.add_argument("--disks", type=int, default=12, help="that are full")
    parser.add_argument("--pipeline-kills", type=int, default=300, help="of all its processes")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6, help="of all dice")
    parser.add_argument("--kafka", help="a broker that runs; one is started unless given")
    asked = parser.parse_args(arguments)
    at = asked.kafka
    if (asked.kills or asked.learner_kills) and at is None:
        return _with_broker([*arguments, "--seed", str(asked.seed)])
    parts: list[tuple[str, int, Part]] = [
        ("kills", asked.kills, lambda n, seed, folder: chaos_kills.run(n, seed, at, folder)),
        (
            "learner's kills",
            asked.learner_kills,
            lambda n, seed, folder: chaos_learner.run(n, seed, at, folder),
        ),
        ("damages", asked.damages, chaos_damage.run),
        ("learner's damages", asked.learner_damages, chaos_snapshots.run),
        ("full disks", asked.disks, chaos_disk.run),
        ("pipeline's kills", asked.pipeline_kills, chaos_pipeline.run),
    ]
    wrong = [_part(what, n, asked.seed, part) for what, n, part in parts if n > 0]
    return int(any(wrong) or not wrong)


def _with_broker(arguments: list[str]) -> int:
    """Run again, in a process that has no threads and can be forked, beside a broker."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with (
        tempfile.TemporaryDirectory(prefix="headrace-chaos-") as folder,
        running(Path(folder)) as broker,
    ):
        program = [sys.executable, str(Path(__file__).with_name("__main__.py")), "chaos"]
        argv = [*program, *arguments, "--kafka", broker.address]
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
