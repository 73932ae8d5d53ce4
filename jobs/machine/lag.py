"""How long a reader of a topic has been behind it."""

from __future__ import annotations

from collections.abc import Mapping

from headrace.jobs.transport import Place, Reader

__all__ = ["CONNECT_SECONDS", "waited"]

CONNECT_SECONDS = 3.0
"""How long those who only ask how far it is wait for the broker."""


def waited(bootstrap: str, waits: Mapping[Place, int], now: float) -> float:
    """Say since when the first message that is not done waits, by the broker's stamp."""
    if not waits:
        return 0.0
    with Reader(bootstrap, waits, max_records=1, connect_seconds=CONNECT_SECONDS) as reader:
        found = [m.timestamp for messages in reader.poll(2_000, 1).values() for m in messages]
    return max(0.0, round(now - min(found) / 1000, 3)) if found else 0.0
