"""What a new version costs those who ask meanwhile: 1,000 of them, one after the other.

::

    publisher ─► v1 v2 … v1000 ─► store process ◄─ four clients, who ask without a pause

All weights of a version are alike, and other than those of every other version: so the right
answer of each is known, and an answer from half a model would be none of them. Every client checks
every answer; one that failed or is wrong ends the run.

steady   requests before the first version and after the last
swap     those that overlap the time from when a version is named until an answer is of it
switch   of these, on each connection, the last of the old version and the first of the new one
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from benchmarks.measure import say, store
from benchmarks.serving import PANES, STARTS, USERS, Panes
from headrace.jobs import assembly
from headrace.jobs.machine.local import Local, running
from headrace.jobs.machine.waiting import wait_until
from headrace.online_learning.models.model import Inputs
from headrace.online_learning.registry import Registry
from headrace.pipelines.load import load
from headrace.pipelines.pipeline import Pipeline

__all__ = ["run"]

SWAPS, CLIENTS = 1_000, 4
STEADY_SECONDS = 10.0
_PIPELINE = Path(__file__).with_name("swaps.yaml")
_CLIENT = Path(__file__).with_name("swaps_client.py")

Floats = NDArray[np.float64]


def run(rounds: int) -> list[str]:
    """Measure so many times; store and tell the quantiles."""
    pipeline = load(_PIPELINE)
    found = []
    for _ in range(rounds):
        with (
            tempfile.TemporaryDirectory(prefix="headrace-bench-") as name,
            running(pipeline, Path(name) / "state", ("store",)) as local,
        ):
            Panes(local).fill()
            found.append(_measured(local, Path(name)))
        say(f"   {found[-1]}")
    store("swaps", swaps=SWAPS, clients=CLIENTS, rounds=found)
    return [
        f"{SWAPS} swaps under load: none of {each['requests']} requests failed; "
        + ", ".join(
            f"{name} p50 {each[name]['p50']:.2f} ms, p99 {each[name]['p99']:.2f} ms"
            for name in ("steady", "swap", "switch")
        )
        + f"; p99 of a swap {each['ratio']:.2f} times the steady one"
        for each in found
    ]


def _measured(local: Local, folder: Path) -> dict[str, Any]:
    """Ask, publish and ask on; give the quantiles of each."""
    pipeline = local.pipeline
    registry = Registry(local.state / "learner" / "versions")
    answers = folder / "answers.json"
    answers.write_bytes(orjson.dumps([_answer(pipeline, n) for n in range(SWAPS + 1)]))
    address = local.client.address().removeprefix("http://")
    asked = [address, USERS, STARTS + PANES * 1_000, answers]
    clients = [
        subprocess.Popen(
            [sys.executable, str(_CLIENT), *map(str, asked), str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for seed in range(CLIENTS)
    ]
    time.sleep(1 + STEADY_SECONDS)
    named: list[float] = []
    for number in range(1, SWAPS + 1):
        _publish(registry, pipeline, number)
        named.append(time.monotonic())
        _wait_served(local, number, clients)
    time.sleep(STEADY_SECONDS)
    told = [np.frombuffer(client.communicate()[0]).reshape(-1, 3) for client in clients]
    if failed := sum(client.returncode != 0 for client in clients):
        message = f"{failed} clients failed; see above"
        raise SystemExit(message)
    return _said(told, np.array(named))


def _wait_served(local: Local, number: int, clients: list[subprocess.Popen[bytes]]) -> None:
    def served() -> bool:
        if any(client.poll() for client in clients):
            message = "a client failed; see above"
            raise SystemExit(message)
        return bool(local.client.status()["model_version"] == number)

    wait_until(served, 30.0, f"version {number}", every_seconds=0.02)


def _weight(number: int) -> float:
    return (number - SWAPS // 2) / 10_000 if number else 0.0


def _answer(pipeline: Pipeline, number: int) -> float:
    """Give what a version predicts, whatever it is asked."""
    encoding = assembly.encoding(pipeline)
    served = pipeline.model.kind.serves(encoding, _arrays(pipeline, number))
    slots = np.zeros((1, encoding.width), np.int32)
    return float(served.score(Inputs.of(slots))[0])


def _arrays(pipeline: Pipeline, number: int) -> dict[str, NDArray[np.generic]]:
    slots = assembly.encoding(pipeline).slots
    return {"ids": np.arange(slots), "weights": np.full(slots, _weight(number))}


def _publish(registry: Registry, pipeline: Pipeline, number: int) -> None:
    registry.publish(
        number,
        _arrays(pipeline, number),
        encoding=assembly.encoding(pipeline).digest,
        model=pipeline.model.kind.facts,
        through_ms=number,
        offsets={},
        metrics={},
    )
    registry.judged(number, champion=number)
    registry.prune(3)


def _said(told: list[Floats], named: Floats) -> dict[str, Any]:
    """Sort the requests by what went on while they were asked."""
    first = np.full(len(named), np.inf)
    for each in told:
        for i in range(len(named)):
            of_it = np.searchsorted(each[:, 2], i + 1)
            first[i] = min(first[i], each[of_it, 1])
    steady, swap, switch = [], [], []
    for each in told:
        start, end, version = each.T
        took = (end - start) * 1_000
        overlapped = np.searchsorted(named, end) > np.searchsorted(first, start)
        began = each[0, 0] + 1.0
        quiet = ((start > began) & (end < named[0])) | (start > first[-1] + 1.0)
        steady.append(took[quiet])
        swap.append(took[overlapped])
        changes = np.flatnonzero(np.diff(version))
        switch.append(took[np.union1d(changes, changes + 1)])
    quantiles = {
        name: _quantiles(np.concatenate(each))
        for name, each in (("steady", steady), ("swap", swap), ("switch", switch))
    }
    return {
        "requests": sum(map(len, told)),
        **quantiles,
        "ratio": round(quantiles["swap"]["p99"] / quantiles["steady"]["p99"], 3),
        "switch_ratio": round(quantiles["switch"]["p99"] / quantiles["steady"]["p99"], 3),
    }


def _quantiles(took: Floats) -> dict[str, float]:
    p50, p99 = np.quantile(took, [0.5, 0.99])
    return {"p50": round(float(p50), 3), "p99": round(float(p99), 3), "n": len(took)}
