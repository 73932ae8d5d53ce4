"""What an event is to the oracle: one row of a source or a stream, with its place.

A log has two clocks. `at` says when an event happened; the broker's time stamp says when its
message became known. A message is known from its stamp on, and never before those that stand before
it in its partition, so what was known before a time is a prefix of each partition. One log has
three readings:

- *as decided* (``as_known_at=None``): late rows are in no view, as in the stream;
- *as corrected* (``as_known_at=EVER``): no row is late;
- *as known at T* (ms, UTC): as corrected, of the messages known before T alone.

References
----------
.. [1] R. T. Snodgrass, Developing Time-Oriented Database Applications in SQL (1999), chapter 10:
   valid time and transaction time.

"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from headrace.operators.functions import Value
from headrace.operators.source import AT

__all__ = ["EVER", "Event"]

EVER = (1 << 63) - 1
"""Later than any time stamp: everything is known."""


@dataclass(frozen=True)
class Event:
    """A row of a source or a stream: its place, and the value of `at` and of every column."""

    partition: int
    offset: int
    values: Mapping[str, Value]

    @property
    def at(self) -> int:
        """Give the event's time, ms."""
        return int(self.values[AT] or 0)

    @property
    def order(self) -> tuple[int, int, int]:
        """Give its place in the one total order."""
        return self.at, self.partition, self.offset
