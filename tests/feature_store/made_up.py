"""A small made-up pipeline, and panes of it as the stream writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson

from headrace.feature_store.store import Declared
from headrace.jobs import assembly
from headrace.pipelines.load import load
from headrace.pipelines.pipeline import Pipeline

__all__ = ["EVERY", "TEXT", "clicks", "decisions", "declared", "examples", "pages", "pipeline"]

EVERY = 60_000
TEXT = """\
pipeline: small
every: 1m
sources:
  ask: {columns: {name: string required, user: string, page: string, hour: int64, wind: float64}}
  click: {columns: {name: string required, user: string, page: string, x: int64}}
views:
  clicks:
    source: click
    key: user
    features: {n: count() over 2m, total: sum(x) over 1h}
  pages:
    source: click
    key: page
    shards: 2
    features: {last_x: latest(x)}
decision: {source: ask, id: name}
outcome: {source: click, id: name, label: x >= 5, within: 1h}
model:
  kind: ftrl
  alpha: 0.05
  beta: 1.0
  l1: 0.0
  l2: 1.0
  slots: 1024
  bias: true
  buckets: {n: [1, 2]}
  tokens: [hour, n]
  publish_every: 1m
  keep: 3
"""


def pipeline(folder: Path, more: str = "") -> Pipeline:
    """Load it, with more lines under `model`."""
    path = folder / "small.yaml"
    path.write_text(TEXT + more)
    return load(path)


def declared(folder: Path) -> Declared:
    """Give the store's share of it."""
    return assembly.declared(pipeline(folder))


def _pane(end: int, name: str, items: Sequence[Mapping[str, object]]) -> bytes:
    return orjson.dumps({"end": end, "rows": len(items), "unkeyed": 0, name: items})


def clicks(end: int, **users: int) -> bytes:
    """Write a pane of the view `clicks`: one click of value x for each user."""
    return _pane(end, "tiles", [{"k0": user, "p0": 1, "p1": x} for user, x in users.items()])


def pages(end: int, **values: int) -> bytes:
    """Write a pane of the view `pages`: the latest x of each page, at the pane's last ms."""
    place = f"{end - 1:015}{0:05}{end:019}"
    tiles = [{"k0": page, "newest": place + f'{{"v0":{x}}}'} for page, x in values.items()]
    return _pane(end, "tiles", tiles)


def decisions(end: int, *rows: tuple[int, int, int, str], user: str = "u") -> bytes:
    """Write a pane of decisions: (at, partition, offset, id)."""
    items = [
        {"partition": p, "offset": o, "at": at, "name": name, "user": user, "page": "a", "hour": 7}
        for at, p, o, name in rows
    ]
    return _pane(end, "decisions", items)


def examples(end: int, *rows: tuple[int, str, bool]) -> bytes:
    """Write a pane of examples: (seq, id, label)."""
    items = [
        {"at": end - 1, "label": label, "prediction": {"seq": seq, "id": name, "p": 0.5}}
        for seq, name, label in rows
    ]
    return _pane(end, "examples", items)
