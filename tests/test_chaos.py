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
NONE = ("kills", "learner-kills", "damages", "learner-damages", "disks", "pipeline-kills")


def chaos(**parts: int | str) -> list[str]:
    """Run these parts as ``make chaos`` does, and no other; give their lines."""
    asked = {**dict.fromkeys(NONE, 0), **{k.replace("_", "-"): v for k, v in parts.items()}}
    arguments = [f"--{name}={value}" for name, value in {**asked, "seed": SEED}.items()]
    argv = [sys.executable, str(Path(__file__).with_name("__main__.py")), "chaos", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(argv, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.mark.kafka
def test_a_store_that_is_killed_comes_to_what_it_would_have_come_to(broker: Broker) -> None:
    (line,) = chaos(kafka=broker.address, kills=12)
    assert line.startswith("kills: 12, 0 wrong")


@pytest.mark.kafka
def test_a_learner_that_is_killed_comes_to_what_it_would_have_come_to(broker: Broker) -> None:
    (line,) = chaos(kafka=broker.address, learner_kills=20)
    assert line.startswith("learner's kills: 20, 0 wrong")


def test_a_damaged_snapshot_or_version_is_never_taken_and_the_learner_ends_the_same() -> None:
    (line,) = chaos(learner_damages=16)
    assert line.startswith("learner's damages: 32, 0 wrong")
    assert "WRONG" not in line
    for outcome in ("fell back", "refused, learned anew", "named"):
        assert outcome in line


def test_damage_is_named_or_repaired_and_a_full_disk_loses_nothing() -> None:
    damages, disks = chaos(damages=8, disks=2)
    assert damages.startswith("damages: 40, 0 wrong")
    kinds = ("store.duckdb", "store.duckdb.wal", "Parquet", "manifest", "address.json")
    assert all(f"{kind}: " in damages for kind in kinds)
    if "SKIPPED" in disks:
        pytest.skip(disks)
    assert re.match(r"full disks: 2, 0 wrong \((full, named, gone on)", disks)
