"""The peer Bytewax: tiles or features by its own windows. `peer_job` loads it.

One worker, nothing kept for a recovery. A key's windows close when its own events pass them, and at
the end of the log. Tiles go to topics; features, windows longer than the step, to a file.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import bytewax.operators as op  # type: ignore[import-not-found]  # not in our environment
import bytewax.operators.windowing as win  # type: ignore[import-not-found]
import orjson
from bytewax.connectors.kafka import (  # type: ignore[import-not-found]
    KafkaSink,
    KafkaSinkMessage,
    KafkaSource,
)
from bytewax.dataflow import Dataflow  # type: ignore[import-not-found]
from bytewax.testing import TestingSink, run_main  # type: ignore[import-not-found]

__all__ = ["run"]

Event = dict[str, Any]
Tile = tuple[int, int, int, int]
"""Count, sum, least, greatest."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def run(task: dict[str, Any]) -> None:
    """Run the flow to the end of the log."""
    flow = Dataflow("tiles")
    brokers, step, window = [task["bootstrap"]], _ms(task["step_ms"]), _ms(task["window_ms"])
    messages = op.input("log", flow, KafkaSource(brokers, [task["topic"]], tail=False))
    events = op.filter_map("events", messages, _read)
    # Without these two its watermark also moves with the machine's clock, and a replay on a busy
    # machine loses rows: 15 of 5,000.
    clock = win.EventClock(_at, timedelta(0), now_getter=_still, to_system_utc=_never)
    if window == step:
        windower = win.TumblingWindower(length=step, align_to=_EPOCH)
    else:
        windower = win.SlidingWindower(length=window, offset=step, align_to=_EPOCH)
    kept: dict[str, list[Any]] = {}
    for key, topic in task["views"]:
        keyed = op.key_on(f"{key}_keyed", events, partial(_key, key))
        tiles = win.fold_window(
            f"{key}_tiles", keyed, clock, windower, _zero, _add, _merge, ordered=False
        )
        rows = op.map(f"{key}_rows", tiles.down, partial(_row, task["step_ms"], task["window_ms"]))
        if window == step:
            sink, rows = KafkaSink(brokers, topic), op.map(f"{key}_written", rows, _write)
        else:
            sink = TestingSink(kept.setdefault(key, []))
        op.output(f"{key}_out", rows, sink)
    run_main(flow)
    if kept:
        Path(task["folder"], "rows.json").write_bytes(orjson.dumps(kept))


def _ms(count: int) -> timedelta:
    return timedelta(milliseconds=count)


def _read(message: Any) -> Event | None:
    """Read an event; a progress event is none."""
    event: Event = orjson.loads(message.value)
    return event if len(event) > 1 else None


def _key(name: str, event: Event) -> str:
    key: str = event[name]
    return key


def _at(event: Event) -> datetime:
    return _EPOCH + _ms(event["at"])


def _still() -> datetime:
    return _EPOCH


def _never(_: datetime) -> None:
    return None


def _zero() -> Tile:
    return 0, 0, sys.maxsize, -sys.maxsize


def _add(tile: Tile, event: Event) -> Tile:
    count, total, least, most = tile
    value: int = event["value"]
    # Not min() and max(): a call costs as much as all the rest here.
    if value < least:
        least = value
    if value > most:
        most = value
    return count + 1, total + value, least, most


def _merge(a: Tile, b: Tile) -> Tile:
    return a[0] + b[0], a[1] + b[1], min(a[2], b[2]), max(a[3], b[3])


def _row(step_ms: int, window_ms: int, keyed: tuple[str, tuple[int, Tile]]) -> tuple[Any, ...]:
    key, (window, tile) = keyed
    return key, window * step_ms + window_ms, *tile


def _write(row: tuple[Any, ...]) -> Any:
    return KafkaSinkMessage(row[0].encode(), orjson.dumps(row))
