"""A pipeline and a file of its examples: users that differ, labels late, some never."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from headrace.pipelines.load import load
from headrace.pipelines.pipeline import Pipeline

TEXT = """\
pipeline: small
every: 1m
sources:
  ask: {columns: {name: string required, user: string, hour: int64, x: float64}}
  click: {columns: {name: string required, user: string, y: int64}}
views:
  clicks: {source: click, key: user, features: {n: count() over 2m}}
decision: {source: ask, id: name}
outcome: {source: click, id: name, label: y >= 5, within: 1h}
model:
  kind: ftrl
  slots: 1024
  alpha: 0.01
  l2: 0.5
  tokens: [user, hour]
  numbers: x
"""
LABELS = ("at", "labelled", "label")


def small(folder: Path, more: str = "", *, kind: str = "ftrl") -> Pipeline:
    """Write the pipeline with lines of the model's section."""
    path = folder / "small.yaml"
    text = TEXT.replace("kind: ftrl", f"kind: {kind}")
    if kind == "dcn_v2":  # it has no linear part
        text = text.replace("  alpha: 0.01\n  l2: 0.5\n", "")
    path.write_text(text + more)
    return load(path)


def rows(count: int = 2_000, seed: int = 1) -> pa.Table:
    """Make decisions, two at an instant; a tenth has no label, a few have one too late."""
    rng = np.random.default_rng(seed)
    user, hour, x = rng.integers(0, 40, count), rng.integers(0, 24, count), rng.normal(size=count)
    logit = rng.normal(0, 1.2, 40)[user] + 0.7 * x - 0.5
    label = rng.random(count) < 1 / (1 + np.exp(-logit))
    at = np.arange(count) // 2 * 10_000
    never = rng.random(count) < 0.1
    late = rng.choice([0, 1_000, 60_000, 3_600_000, 3_600_001], count)
    return pa.table(
        {
            "at": at,
            "user": [f"u{each}" for each in user],
            "hour": hour,
            "x": pa.array(x, mask=rng.random(count) < 0.05),
            "labelled": pa.array(at + late, mask=never),
            "label": pa.array(label, mask=never),
        }
    )


def written(folder: Path, table: pa.Table | None = None) -> Path:
    """Write them to a file."""
    path = folder / "examples.parquet"
    pq.write_table(rows() if table is None else table, path)
    return path
