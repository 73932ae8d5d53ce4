"""The features of a view as of each row's time: what a decision looks up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from headrace.operators.engines import in_process
from headrace.operators.engines.duckdb import features_sql
from headrace.operators.errors import Gap, NotYet
from headrace.operators.event import Event
from headrace.operators.streams.operator import Operator, Types
from headrace.operators.types import Type
from headrace.operators.view import View

__all__ = ["AsOf"]


@dataclass(frozen=True)
class AsOf(Operator):
    """Add a view's features to each row, as of the row's time, for the key in its columns `keys`.

    The one rule of time holds: of the view's events those before b = ⌊at / every⌋ · every count.
    Where a part of the key is null, or the key is unknown, the features are those of no rows.

    In a pipeline it is the decision that does this: a row waits until the view is complete to b,
    and the store looks it up in its index.

    >>> from headrace.operators.aggregates.count import Count
    >>> from headrace.operators.source import Column, Source
    >>> from headrace.operators.view import Feature
    >>> clicks = Source("clicks", "clicks", (Column("user", Type.STRING),))
    >>> view = View("by_user", clicks, ("user",), 10, (Feature("n", Count(), 20),))
    >>> events = [Event(0, n, {"at": at, "user": "u"}) for n, at in enumerate((1, 11, 29, 30))]
    >>> asked = [Event(0, n, {"at": at, "who": "u"}) for n, at in enumerate((9, 10, 35))]
    >>> [row["n"] for row in AsOf(view, ("who",)).of(asked, events)]
    [0, 1, 2]
    """

    name = "as_of"
    gaps: ClassVar[Mapping[str, Gap]] = {
        "flink": NotYet("the store looks decisions up, in its index of the view's tiles")
    }
    view: View
    keys: tuple[str, ...]

    def types(self, given: Types) -> dict[str, Type]:
        """Give the columns and the features."""
        return {**given, **{each.name: each.aggregate.type for each in self.view.features}}

    def sql(
        self, decisions: str, tiles: str, *, identity: str, rows: Mapping[str, str] | None = None
    ) -> str:
        """Print DuckDB's query for the features, a row of each of `decisions` by `identity`.

        `rows` names the view's companion tables by what they have rows of.
        """
        keys = self.keys
        return features_sql(self.view, tiles, decisions, keys=keys, identity=identity, rows=rows)

    def of(self, rows: Sequence[Event], events: Sequence[Event]) -> list[dict[str, object]]:
        """Give each row's values and features, from the events of what the view is made of."""
        found = []
        for row in rows:
            key = [row.values[name] for name in self.keys]
            values: dict[str, object] = dict(row.values)
            for each in self.view.features:
                values[each.name] = in_process.feature(self.view, each, events, key, row.at)
            found.append(values)
        return found
