"""The aggregates, one family to a file; a new one is its file and its table of cases.

What stands in this package is found by itself: every class of its modules that is an `Aggregate`
and has a name.
"""

from __future__ import annotations

from headrace.operators.aggregates.aggregate import (
    SCALE,
    Aggregate,
    Newest,
    Partial,
    Partials,
)
from headrace.operators.aggregates.bins import Bins
from headrace.operators.aggregates.ends import Ends
from headrace.operators.aggregates.merge import Merge
from headrace.operators.aggregates.of_rows import Gathered, OfRows
from headrace.operators.discovery import found_in

__all__ = [
    "AGGREGATES",
    "SCALE",
    "Aggregate",
    "Bins",
    "Ends",
    "Gathered",
    "Merge",
    "Newest",
    "OfRows",
    "Partial",
    "Partials",
]


AGGREGATES = found_in(__name__, Aggregate)
"""Every aggregate, by the name that a pipeline calls it."""
