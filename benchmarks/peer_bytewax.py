"""The peer Bytewax: the tiles by its own windows. It is loaded by `peer_job`, in its environment.

One worker, nothing kept for a recovery. A key's windows close when its own events pass them, and at
the end of the log.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from functools import partial
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
from bytewax.testing import run_main  # type: ignore[import-not-found]

__all__ = ["run"]

Event = dict[str, Any]
Tile = tuple[int, int, int, int]
"""Count, sum, least, greatest."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def run(task: dict[str, Any]) -> None:
    """Run the flow to the end of the log."""
    flow = Dataflow("tiles")
    brokers, step_ms = [task["bootstrap"]], task["step_ms"]
    messages = op.input("log", flow, KafkaSource(brokers, [task["topic"]], tail=False))
    events = op.filter_map("events", messages, _read)
    # Without these two its watermark also moves with the machine's clock, and a replay on a busy
    # machine loses rows: 15 of 5,000.
    clock = win.EventClock(_at, timedelta(0), now_getter=_still, to_system_utc=_never)
    windower = win.TumblingWindower(length=timedelta(milliseconds=step_ms), align_to=_EPOCH)
    for key, topic in task["views"]:
        keyed = op.key_on(f"{key}_keyed", events, partial(_key, key))
        tiles = win.fold_window(
            f"{key}_tiles", keyed, clock, windower, _zero, _add, _merge, ordered=False
        )
        rows = op.map(f"{key}_rows", tiles.down, partial(_write, step_ms))
        op.output(f"{key}_out", rows, KafkaSink(brokers, topic))
    run_main(flow)


def _read(message: Any) -> Event | None:
    """Read an event; a progress event is none."""
    event: Event = orjson.loads(message.value)
    return event if len(event) > 1 else None


def _key(name: str, event: Event) -> str:
    key: str = event[name]
    return key


def _at(event: Event) -> datetime:
    return _EPOCH + timedelta(milliseconds=event["at"])


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


def _write(step_ms: int, keyed: tuple[str, tuple[int, Tile]]) -> Any:
    key, (window, tile) = keyed
    return KafkaSinkMessage(key.encode(), orjson.dumps((key, (window + 1) * step_ms, *tile)))
