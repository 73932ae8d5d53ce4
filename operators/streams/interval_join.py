"""Rows of one stream with the newest of another, of the same id, within a time before them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from headrace.operators.errors import Gap, NotYet
from headrace.operators.event import Event
from headrace.operators.streams.operator import Dialect, Operator

__all__ = ["IntervalJoin"]


@dataclass(frozen=True)
class IntervalJoin(Operator):
    """Pair each outcome with the newest decision of its id, at most `within_ms` before it.

    A decision at the outcome's own time counts; of several at one time the last in the total
    order. A null id has none. One decision may have several outcomes. An outcome without a
    decision makes no pair, and neither does a decision without an outcome.

    In a pipeline it is the labels job that does this, with predictions for decisions: said as a
    window and not as Flink's interval join (docs/decisions/0003-labels-by-over.md).

    >>> decisions = [Event(0, n, {"at": at, "id": "d"}) for n, at in enumerate((0, 5, 90))]
    >>> outcomes = [Event(0, n, {"at": at, "of": "d"}) for n, at in enumerate((4, 15, 16))]
    >>> pairs = IntervalJoin(("id", "of"), 10).of(decisions, outcomes)
    >>> [(decision.at, outcome.at) for decision, outcome in pairs]
    [(0, 4), (5, 15)]
    """

    name = "interval_join"
    outer: ClassVar[Gap] = NotYet("outcomes and decisions without the other side are not told")
    ids: tuple[str, str]
    """The columns of the decisions and of the outcomes that hold the id."""
    within_ms: int

    def sql(self, decisions: str, outcomes: str, dialect: Dialect) -> str:
        """Print the pairs' places, over relations that are no longer streams: in history."""
        mine, theirs = (dialect.quote(name) for name in self.ids)
        place = dialect.place
        return (
            f"SELECT d._place AS decision, o._place AS outcome "
            f"FROM (SELECT *, {place} AS _place FROM {outcomes}) AS o "
            f"JOIN (SELECT *, {place} AS _place FROM {decisions}) AS d ON d.{mine} = o.{theirs} "
            f'AND d."at" BETWEEN o."at" - {self.within_ms} AND o."at" '
            "QUALIFY ROW_NUMBER() OVER (PARTITION BY o._place ORDER BY d._place DESC) = 1"
        )

    def of(
        self, decisions: Sequence[Event], outcomes: Sequence[Event]
    ) -> list[tuple[Event, Event]]:
        """Pair them, in the order of the outcomes."""
        mine, theirs = self.ids
        pairs = []
        for outcome in sorted(outcomes, key=lambda row: row.order):
            of_it = [
                decision
                for decision in decisions
                if decision.values[mine] is not None
                and decision.values[mine] == outcome.values[theirs]
                and 0 <= outcome.at - decision.at <= self.within_ms
            ]
            if of_it:
                pairs.append((max(of_it, key=lambda row: row.order), outcome))
        return pairs
