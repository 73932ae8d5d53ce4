"""The peer Quix Streams: tiles or features by its windows. `peer_job` loads it.

One process, no change log of its state. The log is keyed as the first view is; for another key Quix
itself writes the log anew to a topic of its own. The last event of the log closes all windows
before it. Tiles go to topics; features, windows longer than the step, to a file.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import orjson
from quixstreams import Application  # type: ignore[import-not-found]  # not in our environment

__all__ = ["run"]

Event = dict[str, Any]
Tile = list[int]
"""Count, sum, least, greatest."""


def run(task: dict[str, Any]) -> None:
    """Run the windows until the last message of the log has passed all of them."""
    with tempfile.TemporaryDirectory(prefix="quix-") as folder:
        app = Application(
            broker_address=task["bootstrap"],
            consumer_group=task["name"],
            auto_offset_reset="earliest",
            state_dir=folder,
            use_changelog_topics=False,
            loglevel="WARNING",
        )
        _Windows(app, task).run()


class _Windows:
    """The views of one log, and which of them have not seen its last event."""

    def __init__(self, app: Any, task: dict[str, Any]) -> None:
        self._app = app
        self._step_ms: int = task["step_ms"]
        self._window_ms: int = task["window_ms"]
        self._folder = Path(task["folder"])
        self._kept: dict[str, list[Any]] = {}
        self._last: str = task["last"]
        self._running = {key for key, _ in task["views"]}
        log = app.topic(task["topic"], key_deserializer="str", timestamp_extractor=_at)
        events = app.dataframe(log).filter(_is_event)
        for place, (key, topic) in enumerate(task["views"]):
            self._view(events.group_by(key) if place else events, key, topic)

    def run(self) -> None:
        """Run to the end of the log."""
        self._app.run()
        if self._kept:
            (self._folder / "rows.json").write_bytes(orjson.dumps(self._kept))

    def _view(self, events: Any, key: str, topic: str) -> None:
        if self._window_ms == self._step_ms:
            windows = events.tumbling_window(duration_ms=self._step_ms)
        else:
            windows = events.hopping_window(duration_ms=self._window_ms, step_ms=self._step_ms)
        tiles = windows.reduce(reducer=_add, initializer=_first).final("partition")
        rows = tiles.apply(_write, metadata=True)
        if self._window_ms == self._step_ms:
            rows.to_topic(self._app.topic(topic, key_serializer="str"))
        else:
            rows.update(self._kept.setdefault(key, []).append)
        events.update(lambda event: self._seen(event[key], key))

    def _seen(self, name: str, key: str) -> None:
        if name == self._last:
            self._running.discard(key)
            if not self._running:
                self._app.stop()


def _at(event: Event, *_: object) -> int:
    at: int = event["at"]
    return at


def _is_event(event: Event) -> bool:
    """Say whether it is no progress event."""
    return len(event) > 1


def _first(event: Event) -> Tile:
    value = event["value"]
    return [1, value, value, value]


def _add(tile: Tile, event: Event) -> Tile:
    count, total, least, most = tile
    value: int = event["value"]
    # Not min() and max(): a call costs as much as all the rest here.
    if value < least:
        least = value
    if value > most:
        most = value
    return [count + 1, total + value, least, most]


def _write(tile: dict[str, Any], key: str, *_: object) -> list[Any]:
    return [key, tile["end"], *tile["value"]]
