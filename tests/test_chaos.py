"""Some kills, damages and full disks in every run of the tests; ``make chaos`` has the many."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.jobs.machine.broker import Broker

SEED = 11


def chaos(*arguments: str) -> list[str]:
    """Run it as ``make chaos`` does; give its lines."""
    argv = [sys.executable, str(Path(__file__).with_name("chaos.py")), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(argv, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.mark.kafka
def test_a_store_that_is_killed_comes_to_what_it_would_have_come_to(broker: Broker) -> None:
    argv = f"--kafka {broker.address} --kills 12 --damages 0 --disks 0 --seed {SEED}"
    (line,) = chaos(*argv.split())
    assert line.startswith("kills: 12, 0 wrong")


def test_damage_is_named_or_repaired_and_a_full_disk_loses_nothing() -> None:
    damages, disks = chaos(*f"--kills 0 --damages 8 --disks 2 --seed {SEED}".split())
    assert damages.startswith("damages: 40, 0 wrong")
    kinds = ("store.duckdb", "store.duckdb.wal", "Parquet", "manifest", "address.json")
    assert all(f"{kind}: " in damages for kind in kinds)
    if "SKIPPED" in disks:
        pytest.skip(disks)
    assert re.match(r"full disks: 2, 0 wrong \((full, named, gone on)", disks)
