"""The deep part on an accelerator beside the CPU: `make bench-gpu`; `--rounds` counts batches.

::

    ids ─► entries (host) ─► rows ─► gather ─► net ─► backward ─► Adam, row-wise Adagrad (device)

Two models, DCN-v2 with 20 rows of 16 an example and DLRM with 26 of 128, at batches of 4 k to 64 k.
Told for each: examples a second; the share of the time in which the device waits for the host; the
bytes of embeddings that were moved a second, 5 · 4 · lookups · width an example, and which share
that is of what the device copies; and how many times the rate of one thread of the CPU it is. With
the device's name it is kept in ``results/gpu.json``. Without an accelerator it says so and runs few
and small batches on the CPU: that it runs is all that this shows.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.measure import say, store
from headrace.online_learning.deep.part import DeepPart
from headrace.online_learning.deep.settings import Deep, Field, Shape

__all__ = ["run"]

MODELS = {
    "dcn_v2": Deep(tuple(Field(f"f{i}") for i in range(20)), 5),
    "dlrm": Deep(
        tuple(Field(f"f{i}") for i in range(26)),
        13,
        net="dlrm",
        width=128,
        shape=Shape(hidden=(1024, 512, 256), bottom=(512, 256)),
    ),
}
Batch = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]

VALUES = 200_000
WARM = 3


def run(batches: int) -> list[str]:
    """Measure every model at every batch; without a device, small ones on the CPU."""
    torch.set_num_threads(1)  # the CPU's: two that share a busy core wait for each other
    found = torch.cuda.is_available()
    device = torch.cuda.get_device_name() if found else None
    sizes = (4096, 16384, 65536) if found else (256, 1024)
    batches = batches if found else min(batches, 4)
    copy = _copied_bytes_a_second() if found else None
    if not found:
        say("   no accelerator was found: few and small batches on the CPU, as a smoke test")
    told: list[str] = []
    results = []
    for name, settings in MODELS.items():
        for size in sizes:
            measured = _measured(settings, size, batches, copy)
            results.append({"model": name, "batch": size, **measured})
            told.append(_line(f"{name} at {size}", measured))
            say(f"   {told[-1]}")
    if found:
        facts = {"device": device, "torch": torch.__version__, "copy_bytes_a_second": copy}
        store("gpu", **facts, batches=batches, results=results)
    return [f"device: {device or 'none was found'}", *told]


def _measured(settings: Deep, size: int, batches: int, copy: float | None) -> dict[str, float]:
    on_cpu = _rate(_on(settings, "cpu"), size, min(batches, 4))[0]
    if copy is None:
        return {"cpu_examples_a_second": on_cpu}
    rate, waiting = _rate(_on(settings, "cuda"), size, batches)
    moved = rate * 5 * 4 * len(settings.fields) * settings.width
    return {
        "cpu_examples_a_second": on_cpu,
        "examples_a_second": rate,
        "times_the_cpu": rate / on_cpu,
        "device_waiting_share": waiting,
        "bytes_a_second": moved,
        "share_of_copy_speed": moved / copy,
    }


def _on(settings: Deep, device: str) -> DeepPart:
    return DeepPart(replace(settings, device=device))


def _rate(part: DeepPart, size: int, batches: int) -> tuple[float, float]:
    """Give examples a second, and the share of the time in which the device had nothing to do."""
    stream = [_batch(part.settings, size, seed) for seed in range(WARM + batches)]
    for batch in stream[:WARM]:
        _learn(part, *batch)
    on_device = part.device.type == "cuda"
    if not on_device:
        return size * batches / _seconds(part, stream[WARM:]), 0.0
    rate = size * batches / _seconds(part, stream[WARM:])
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        seconds = _seconds(part, stream[WARM:])
    busy = sum(one.self_device_time_total for one in profile.key_averages()) / 1e6
    return rate, max(0.0, 1 - busy / seconds)


def _seconds(part: DeepPart, stream: list[Batch]) -> float:
    start = time.perf_counter()
    for batch in stream:
        _learn(part, *batch)
    if part.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _learn(
    part: DeepPart,
    ids: NDArray[np.int64],
    numerics: NDArray[np.float64],
    labels: NDArray[np.float64],
) -> None:
    logits = part.logits(ids, numerics)
    part.learn(1 / (1 + np.exp(-np.clip(logits, -35, 35))) - labels)


def _batch(settings: Deep, size: int, seed: int) -> Batch:
    rng = np.random.default_rng(seed)
    ids = np.minimum(rng.zipf(1.2, (size, len(settings.fields))), VALUES).astype(np.int64)
    numerics = rng.normal(size=(size, settings.numerics))
    return ids, numerics, (rng.random(size) < 0.2).astype(np.float64)


def _copied_bytes_a_second(times: int = 20) -> float:
    """Measure the device's own copy, bytes read and written."""
    one = torch.empty(1 << 28, dtype=torch.float32, device="cuda")
    other = torch.empty_like(one)
    other.copy_(one)
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(times):
        other.copy_(one)
    torch.cuda.synchronize()
    return 2 * 4 * one.numel() * times / (time.perf_counter() - start)


def _line(what: str, result: dict[str, float]) -> str:
    said = f"{what}: CPU {result['cpu_examples_a_second']:,.0f} examples/s"
    if "examples_a_second" not in result:
        return said
    return said + (
        f", device {result['examples_a_second']:,.0f} ({result['times_the_cpu']:.1f} times), "
        f"waiting {result['device_waiting_share']:.0%}, "
        f"{result['share_of_copy_speed']:.1%} of its copy speed"
    )
