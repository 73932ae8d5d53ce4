"""Random expressions and logs for all engines, wrong requests: ``make fuzz ARGS="--seed 7"``.

Prints for each part how many were tried and how many differ, made small, and exits 1 if any did::

    expressions: 10,000 tried, 0 differences (DuckDB = in process; seed 7; 95 s)
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests import fuzz_expressions, fuzz_flink, fuzz_logs, fuzz_poison, fuzz_requests

__all__ = ["main"]

SHOWN_DIFFERENCES = 20

Run = Callable[[int, int], tuple[int, Sequence[object]]]
"""Takes how many and the seed; gives how many were tried, and the differences."""


def main(arguments: list[str]) -> int:
    """Run each part that has a number above 0; give the exit status."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--expressions", type=int, default=10_000, help="in DuckDB")
    parser.add_argument("--logs", type=int, default=2_000, help="in DuckDB and the hot index")
    parser.add_argument("--flink-logs", type=int, default=200, help="in one Flink job, and DuckDB")
    parser.add_argument("--flink-expressions", type=int, default=250, help="in a job per 250")
    parser.add_argument("--poison", type=int, default=100_000, help="messages in one Flink job")
    parser.add_argument("--requests", type=int, default=100_000, help="malformed, HTTP and Flight")
    parser.add_argument("--seed", type=int, default=1, help="another one tries others")
    asked = parser.parse_args(arguments)

    def within(run: Callable[[int, int, Path], tuple[int, Sequence[object]]]) -> Run:
        """Give the run a folder that is removed after it."""

        def run_there(count: int, seed: int) -> tuple[int, Sequence[object]]:
            with tempfile.TemporaryDirectory(prefix="headrace-fuzz-") as folder:
                return run(count, seed, Path(folder))

        return run_there

    flink = within(fuzz_expressions.run_flink)
    parts: list[tuple[str, str, int, Run]] = [
        ("expressions", "DuckDB = in process", asked.expressions, fuzz_expressions.run),
        ("logs", "hot index = DuckDB = in process", asked.logs, fuzz_logs.run),
        ("logs", "Flink = DuckDB = in process", asked.flink_logs, within(fuzz_flink.run)),
        ("expressions", "Flink = in process", asked.flink_expressions, flink),
        (
            "poison",
            "all in the dead letters, good ones the same: Flink = DuckDB = in process",
            asked.poison,
            within(fuzz_poison.run),
        ),
        (
            "requests",
            "each answered or refused, good ones the same",
            asked.requests,
            within(fuzz_requests.run),
        ),
    ]
    differ = [
        _part(what, engines, count, asked.seed, run)
        for what, engines, count, run in parts
        if count > 0
    ]
    return int(any(differ) or not differ)


def _part(
    what: str,
    engines: str,
    count: int,
    seed: int,
    run: Run,
) -> int:
    """Run a part, say what came of it, and give the number of differences."""
    began = time.monotonic()
    tried, found = run(count, seed)
    took = time.monotonic() - began
    sys.stdout.write(
        f"{what}: {tried:,} tried, {len(found):,} differences "
        f"({engines}; seed {seed}; {took:.0f} s)\n"
    )
    for each in found[:SHOWN_DIFFERENCES]:
        sys.stdout.write(f"  {each}\n")
    sys.stdout.flush()
    return len(found)
