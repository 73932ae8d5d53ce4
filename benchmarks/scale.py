"""What more cores and more keys do: to the views job, and to the hot index.

::

    1.5 M events of a thousand a second ─► views job, parallelism 1 | 2      the same tiles
    the same, of 10 k … 10 M users      ─► views job                         CPU, memory
    10 M tiles, of 10 k … 10 M users    ─► hot index                         CPU, memory, reads

What a job keeps are the panes that are open: how many keys there are in all is nothing to it, only
how many come in a pane. The index has them all. Of each the cost is told and its fit, a line over
the tenfold of keys; `docs/scale.md` says what follows.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from benchmarks.by_hand import DENSE
from benchmarks.measure import alternate, apart, say, store
from benchmarks.views import Bench, Case, dense
from headrace.jobs.machine import broker
from headrace.pipelines.load import load

__all__ = ["run"]

KEYS = (10_000, 100_000, 1_000_000, 10_000_000)
TILES = 10_000_000
_PARALLELISMS = ("1", "2")
_HERE = Path(__file__).parent
_DEADLINE_SECONDS = 600


def run(rounds: int) -> list[str]:
    """Measure both; give a line for each."""
    jobs = {str(keys): _jobs(keys, rounds) for keys in KEYS}
    indexes = {str(keys): _index(keys) for keys in KEYS}
    costs = {
        "views job, CPU of an event in us": [each["cpu_us"] for each in jobs.values()],
        "views job, memory in MiB": [each["peak_mib"] for each in jobs.values()],
        "index, CPU of a tile in us": [each["append_us"] for each in indexes.values()],
        "index, memory of a tile in bytes": [each["bytes_a_tile"] for each in indexes.values()],
        "index, a read of 1,000 keys in ms": [each["read_ms"] for each in indexes.values()],
    }
    fits = {name: _fit(cost) for name, cost in costs.items()}
    store("scale", rounds=rounds, keys=KEYS, tiles=TILES, jobs=jobs, indexes=indexes, fits=fits)
    rates = jobs[str(KEYS[0])]["rates"]
    told = ", ".join(f"{n} {rate:,} events/s" for n, rate in rates.items())
    lines = [f"views job, by parallelism: {told}"]
    for name, cost in costs.items():
        grown = ", ".join(f"{each:,.2f}" for each in cost)
        first, more = fits[name]["at_first"], fits[name]["a_tenfold"]
        lines.append(f"{name}, 10 k to 10 M keys: {grown}; fit {first:,.2f} {more:+,.2f} a tenfold")
    for line in lines:
        say(f"   {line}")
    return lines


def _jobs(keys: int, rounds: int) -> dict[str, Any]:
    """Run the views job over events of so many users; of the fewest at each parallelism."""
    declared = load(_HERE / "dense.yaml")
    # A reader without a partition would hold up the panes of all.
    sources = {
        name: replace(source, partitions=len(_PARALLELISMS))
        for name, source in declared.sources.items()
    }
    chosen = _PARALLELISMS if keys == KEYS[0] else _PARALLELISMS[:1]
    with (
        tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder,
        broker.running(Path(folder) / "broker") as kafka,
    ):
        case = Case(replace(declared, sources=sources), DENSE, dense(keys), 10_000)
        bench = Bench(case, kafka.address, Path(folder))
        idle = {n: bench.run("ours", empty=True, parallelism=int(n)) for n in chosen}
        forms = {n: partial(bench.run, "ours", parallelism=int(n)) for n in chosen}
        found = alternate(forms, rounds)
    net = {
        what: {n: min(each[what] for each in found[n]) - idle[n][what] for n in chosen}
        for what in ("cpu", "wall")
    }
    return {
        "events": bench.events,
        "rates": {n: round(bench.events / wall) for n, wall in net["wall"].items()},
        "cpu_us": net["cpu"]["1"] / bench.events * 1e6,
        "peak_mib": min(each["peak_bytes"] for each in found["1"]) / 2**20,
        "runs": found,
        "empty": idle,
    }


def _index(keys: int) -> dict[str, float]:
    """Fill and read an index of so many users, in a process of its own."""
    argv = [sys.executable, str(_HERE / "scale_job.py"), str(keys), str(TILES)]
    found: dict[str, float] = orjson.loads(apart(f"{keys} keys", argv, _DEADLINE_SECONDS))
    say(f"   index, {keys:,} keys: {found}")
    return found


def _fit(costs: Sequence[float]) -> Mapping[str, float]:
    """Fit a line over the tenfolds of keys."""
    slope, first = np.polyfit(np.arange(len(costs)), costs, 1)
    return {"at_first": float(first), "a_tenfold": float(slope)}
