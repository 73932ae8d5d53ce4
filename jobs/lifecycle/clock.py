"""How an event time is written for people."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["clock"]


def clock(at: int | None) -> str:
    """Write an event time, ms; files alone are complete for ever.

    >>> from headrace.feature_store.backfill import FOREVER
    >>> clock(0), clock(1356998400000), clock(FOREVER), clock(None)
    ('never', '2013-01-01 00:00:00', 'ever', 'never')
    """
    from headrace.feature_store.backfill import ends_never

    if not at or at < 0:
        return "never"
    if ends_never(at):
        return "ever"
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
