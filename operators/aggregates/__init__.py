"""The aggregates, one family to a file; a new one is its file, its cases and its line here."""

from headrace.operators.aggregates.aggregate import (
    SCALE,
    Aggregate,
    Merge,
    Newest,
    Partial,
    Partials,
)
from headrace.operators.aggregates.count import Count
from headrace.operators.aggregates.extreme import Max, Min
from headrace.operators.aggregates.latest import Age, Latest
from headrace.operators.aggregates.mean import Mean
from headrace.operators.aggregates.sum import Sum

__all__ = [
    "AGGREGATES",
    "SCALE",
    "Age",
    "Aggregate",
    "Count",
    "Latest",
    "Max",
    "Mean",
    "Merge",
    "Min",
    "Newest",
    "Partial",
    "Partials",
    "Sum",
]

AGGREGATES: dict[str, type[Aggregate]] = {
    kind.name: kind for kind in (Age, Count, Latest, Max, Mean, Min, Sum)
}
