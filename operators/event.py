"""What an event is to the oracle: one row of a source or a stream, with its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from headrace.operators.functions import Value
from headrace.operators.source import AT

__all__ = ["Event"]


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
