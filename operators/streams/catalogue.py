"""The stream operators by name, found in the files of this package: a new one is its file."""

from __future__ import annotations

from headrace.operators.discovery import found_in
from headrace.operators.streams.operator import Operator

__all__ = ["OPERATORS"]

OPERATORS = found_in("headrace.operators.streams", Operator)
