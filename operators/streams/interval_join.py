"""Rows of one stream with the newest of another, of the same id, within a time before them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from headrace.operators.errors import Gap, NotYet
from headrace.operators.event import Event
from headrace.operators.streams.operator import Dialect, Operator

__all__ = ["FOREVER", "IntervalJoin"]

FOREVER = (1 << 63) - 1
"""What whole logs are complete to: nothing comes any more."""


@dataclass(frozen=True)
class IntervalJoin(Operator):
    """Pair each outcome with the newest decision of its id, at most `within_ms` before it.

    ::

        decisions   d1      d2                      d3
                    ├───────┼─within──┤             ├─within──┤
        outcomes            o1   o2         o3
                       (d2, o1) (d2, o2)  (-, o3)             (d3, -)

    A decision at the outcome's own time counts; of several at one time the last in the total
    order. A null id is the id of nothing. One decision may have several outcomes. A decision of
    which a newer one took the outcomes has none, and so has one whose only outcomes are late.

    A pair, or a row without its other side, is told once nothing that comes can change it: an
    outcome when both logs are complete beyond its time, a decision without an outcome when they
    are complete beyond the last time at which one could have been its own. So what is told of
    logs that are complete further is what was told before, and more.

    In a pipeline it is the labels job that does this, with predictions for decisions: said as a
    window and not as Flink's interval join (docs/decisions/0003-labels-by-over.md).

    Parameters
    ----------
    ids
        The columns of the decisions and of the outcomes that hold the id.
    within_ms
        The attribution window; an outcome exactly so long after its decision still counts.
    outer
        Which side's rows are told where they have no other side.

    Examples
    --------
    >>> decisions = [Event(0, n, {"at": at, "id": "d"}) for n, at in enumerate((0, 5, 90))]
    >>> outcomes = [Event(0, n, {"at": at, "of": "d"}) for n, at in enumerate((4, 15, 16))]
    >>> pairs = IntervalJoin(("id", "of"), 10).of(decisions, outcomes)
    >>> [(decision.at, outcome.at) for decision, outcome in pairs]
    [(0, 4), (5, 15)]
    >>> join = IntervalJoin(("id", "of"), 10, outer="both")
    >>> for complete_to in (100, 101):
    ...     told = join.of(decisions, outcomes, complete_to=complete_to)
    ...     print([(d and d.at, o and o.at) for d, o in told])
    [(0, 4), (5, 15), (None, 16)]
    [(0, 4), (5, 15), (None, 16), (90, None)]

    """

    name = "interval_join"
    gaps: ClassVar[Mapping[str, Gap]] = {
        "flink": NotYet("the labels job tells pairs alone, and nothing of rows that are in none")
    }
    ids: tuple[str, str]
    within_ms: int
    outer: Literal["neither", "decisions", "outcomes", "both"] = "neither"

    def sql(
        self, decisions: str, outcomes: str, dialect: Dialect, *, complete_to: int = FOREVER
    ) -> str:
        """Print the places, null for no other side, over relations of all rows: in history.

        The columns are ``decision`` and ``outcome``; rows from `complete_to` on are as if unread.
        """
        mine, theirs = (dialect.quote(name) for name in self.ids)
        place = f"SELECT *, {dialect.place} AS _place FROM"
        known = f'WHERE "at" < {complete_to}'
        told = ["SELECT decision, outcome FROM pairs"]
        if self.outer in ("outcomes", "both"):
            told.append("SELECT NULL, _place FROM o ANTI JOIN pairs ON _place = outcome")
        if self.outer in ("decisions", "both"):
            told.append(
                "SELECT _place, NULL FROM d ANTI JOIN pairs ON _place = decision "
                f'WHERE "at" < {complete_to - self.within_ms}'
            )
        return (
            f"WITH d AS ({place} {decisions} {known}), o AS ({place} {outcomes} {known}), "
            f"pairs AS (SELECT d._place AS decision, o._place AS outcome FROM o JOIN d "
            f'ON d.{mine} = o.{theirs} AND d."at" BETWEEN o."at" - {self.within_ms} AND o."at" '
            "QUALIFY ROW_NUMBER() OVER (PARTITION BY o._place ORDER BY d._place DESC) = 1) "
            + " UNION ALL ".join(told)
        )

    def of(
        self,
        decisions: Sequence[Event],
        outcomes: Sequence[Event],
        *,
        complete_to: int = FOREVER,
    ) -> list[tuple[Event | None, Event | None]]:
        """Pair them, in the order of the outcomes; the decisions without one come last."""
        known = sorted((d for d in decisions if d.at < complete_to), key=lambda row: row.order)
        told: list[tuple[Event | None, Event | None]] = []
        for outcome in sorted(outcomes, key=lambda row: row.order):
            if outcome.at < complete_to:
                of_it = [decision for decision in known if self._may_pair(decision, outcome)]
                told.append((of_it[-1] if of_it else None, outcome))
        paired = [decision for decision, _ in told if decision is not None]
        if self.outer not in ("outcomes", "both"):
            told = [pair for pair in told if pair[0] is not None]
        if self.outer in ("decisions", "both"):
            passed = (d for d in known if d.at + self.within_ms < complete_to)
            told += [(decision, None) for decision in passed if decision not in paired]
        return told

    def _may_pair(self, decision: Event, outcome: Event) -> bool:
        mine, theirs = decision.values[self.ids[0]], outcome.values[self.ids[1]]
        after = outcome.at - decision.at
        return mine is not None and mine == theirs and 0 <= after <= self.within_ms
