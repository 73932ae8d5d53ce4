"""A bounded part of what `make fuzz` sends: the process stays up, good requests are answered."""

from __future__ import annotations

import random
from pathlib import Path

from tests import fuzz_requests


def test_malformed_requests_are_refused_and_the_process_stays_up(tmp_path: Path) -> None:
    sent, failures = fuzz_requests.run(2_000, 1, tmp_path)
    assert list(failures) == []
    assert sent > 1_900


def test_a_mutation_depends_on_its_seed_and_changes_something() -> None:
    data = b'{"rows": [{"user": "u"}]}'
    made = [fuzz_requests.mutated(data, random.Random(seed)) for seed in range(200)]  # noqa: S311  # no secret
    assert made == [fuzz_requests.mutated(data, random.Random(seed)) for seed in range(200)]  # noqa: S311  # the same
    assert sum(each != data for each in made) > 180
