"""Files that are damaged, and what came of it: trials by kind, told in one line."""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from headrace.operators.errors import HeadraceError
from tests.chaos_fork import Ended, forked

__all__ = ["Trial", "hurt_file", "tried"]

_BATCH = 20

Trial = Callable[[Path, str, random.Random], tuple[str, str]]
"""Takes a folder to make, its kind, dice; gives what was hurt, and what came of it."""


def hurt_file(path: Path, dice: random.Random) -> str:
    """Cut a file short, or flip a bit of it; say which."""
    size = path.stat().st_size
    at = dice.randrange(size)
    if dice.random() < 0.5:
        os.truncate(path, at)
        return f"cut at {at} of {size}"
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0] ^ (1 << dice.randrange(8))
        file.seek(at)
        file.write(bytes([byte]))
    return f"a bit of byte {at} of {size}"


def tried(
    trials: Mapping[str, Trial], count: int, seed: int, folder: Path
) -> tuple[int, list[str], str]:
    """Try each kind `count` times; give how many there were, what went wrong, and the outcomes.

    Some trials share a process, and are told of together where it breaks.
    """
    tally: dict[str, Counter[str]] = {name: Counter() for name in trials}
    wrong: list[str] = []
    for name, trial in trials.items():
        for start in range(0, count, _BATCH):
            numbers = range(start, min(start + _BATCH, count))
            ended = forked(lambda: _some(folder, name, trial, seed, numbers))  # noqa: B023 - run here
            for line in _lines(ended, len(numbers)):
                hurt, _, outcome = line.partition(": ")
                tally[name][outcome.partition(":")[0].partition(" after")[0]] += 1
                if "WRONG" in outcome:
                    wrong.append(f"{name}, {hurt}: {outcome}")
    details = "; ".join(
        f"{name}: {', '.join(f'{outcome} {n}' for outcome, n in sorted(found.items()))}"
        for name, found in tally.items()
    )
    return sum(map(Counter.total, tally.values())), wrong, details


def _some(base: Path, name: str, trial: Trial, seed: int, numbers: range) -> str:
    lines = []
    for number in numbers:
        dice = random.Random(f"{seed} {name} {number}")  # noqa: S311 - no secret
        folder = base / f"{name}-{number}"
        try:
            hurt, outcome = trial(folder, name, dice)
        except HeadraceError as error:
            hurt, outcome = "?", f"WRONG: {error}"
        lines.append(f"{hurt}: {outcome}".replace("\n", " "))
        shutil.rmtree(folder)
    return "\n".join(lines)


def _lines(ended: Ended, count: int) -> list[str]:
    if ended.broken or ended.killed or ended.refused:
        return [f"in these {count}: WRONG: {ended.said[-1500:]}"]
    return ended.said.splitlines()
