"""The laws of aggregates: what must hold whatever the values are.

Each takes an aggregate and values, and raises AssertionError where its law is broken. That the
order of arrival and the cut into batches do not matter are laws of whole logs, in
`tests/test_differential.py`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import cast

from headrace.operators.aggregates import Aggregate, Bins, Ends, Partial
from headrace.operators.functions import Value

__all__ = ["LAWS"]

Values = Sequence[object]


def _partials(aggregate: Aggregate) -> list[Partial]:
    return [partial for partial in aggregate.partials if isinstance(partial, Partial)]


def merge_of_halves_is_whole(aggregate: Aggregate, values: Values) -> None:
    for partial in _partials(aggregate):
        for cut in range(len(values) + 1):
            halves = [partial.of(values[:cut]), partial.of(values[cut:])]
            assert partial.merged(halves) == partial.of(values)


def zero_is_neutral(aggregate: Aggregate, values: Values) -> None:
    for partial in _partials(aggregate):
        whole = partial.of(values)
        assert partial.merged([partial.of([]), whole]) == whole
        assert partial.merged([whole, None]) == whole


def _of(aggregate: Aggregate, values: Values) -> object:
    """Give the result, of rows with the value in each column, and of one tile where it decays."""
    names = [partial.column for partial in aggregate.partials if partial.column]
    rows = [aggregate.row(dict.fromkeys(names, value)) for value in values]
    return aggregate.of(rows if aggregate.half_life_ms is None else [(1.0, rows)])


def several_rows_merge_as_one_does(aggregate: Aggregate, values: Values) -> None:
    """Of partials of several rows: halves make the whole, and what a tile leaves out never counts.

    Half of a tile is a tile: so it holds for tiles and for windows.
    """
    plain = cast("Sequence[Value]", values)
    for partial in aggregate.partials:
        for cut in range(len(values) + 1):
            if isinstance(partial, Bins):
                parts = [partial.gather(plain[:cut]), partial.gather(plain[cut:])]
                assert partial.merged(parts) == partial.gather(plain)
                assert len(parts[0]) <= (partial.most_rows or len(values))
            if isinstance(partial, Ends):
                entries = [(0, 0, offset, value) for offset, value in enumerate(plain)]
                kept = [*partial.kept(entries[cut:]), *partial.kept(entries[:cut])]
                assert partial.kept(kept) == partial.kept(entries)
                assert len(partial.kept(entries)) <= partial.most_rows


def order_does_not_matter(aggregate: Aggregate, values: Values) -> None:
    """Of a windowed aggregate; the others take the newest row, by (at, partition, offset)."""
    if aggregate.windowed and not aggregate.ordered:
        assert _of(aggregate, values[::-1]) == _of(aggregate, values)
    elif not aggregate.windowed:
        assert aggregate.of(values) == (values[-1] if values else None)


def nulls_are_skipped(aggregate: Aggregate, values: Values) -> None:
    """Of an aggregate of a column's values; one of rows, or of the newest row, minds them."""
    skipped = [value for value in values if value is not None]
    if aggregate.windowed and aggregate.column:
        assert _of(aggregate, values) == _of(aggregate, skipped)
    elif aggregate.windowed:
        assert _of(aggregate, values) == _of(aggregate, [1] * len(values))


def inputs_are_not_changed(aggregate: Aggregate, values: Values) -> None:
    before = copy.copy(values)
    _of(aggregate, values)
    assert values == before


LAWS: tuple[Callable[[Aggregate, Values], None], ...] = (
    merge_of_halves_is_whole,
    several_rows_merge_as_one_does,
    zero_is_neutral,
    order_does_not_matter,
    nulls_are_skipped,
    inputs_are_not_changed,
)
