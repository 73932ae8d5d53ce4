"""Negatives before their time: who has no outcome after a while counts as one, until it comes.

::

    decided ── no outcome ──► decided + after: learned as negative, with the gradient p₀
                                 │ negative, or none until `within`: it was one; nothing more to do
                                 └ positive: learned with the gradient p − 1 − p₀

That is the positive's own gradient p − 1, less the one that was learned for it: the false negative
leaves the sum of gradients. Without this each positive would have been learned as both, and what is
predicted would tend to q / (1 + q) where q is right. [^1]

Only what is final is scored, and known to the rivals: an outcome when it comes, and that there is
none at the end of `within`.

[^1]: Ktena et al., "Addressing delayed feedback for continuous training with neural networks in
    CTR prediction", RecSys 2019.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.online_learning.models.model import State
from headrace.online_learning.pending import Pending
from headrace.online_learning.stepping import INPUTS
from headrace.online_learning.waiting import Columns, Waiting
from headrace.operators.compiled import compiled

__all__ = ["GIVEN", "Learned", "Provisional"]

GIVEN = "negative_at"
"""The column of pending decisions that says at which probability each model learned it as negative.

NaN of one that did not.
"""
_LATEST = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Learned:
    """What a step learns, in the order of event time, and what is final.

    Parameters
    ----------
    labels
        `at`, `seq`, `label` and the inputs; `before_its_time` marks provisional negatives, `again`
        the positives that take one back.
    final
        `at`, `seq`, `decided`, `label`, `served`.
    """

    labels: Columns
    final: Columns

    def parts(self, decisions: Columns, pending: Pending) -> Iterator[tuple[slice, slice]]:
        """Cut decisions and labels so that no positive is in one part with its negative.

        For what it takes back is known only when that was learned.
        """
        labels = self.labels
        place = pending.place(labels["seq"])
        negative = np.full(len(pending), -1)
        early = np.flatnonzero(labels["before_its_time"])
        negative[place[early]] = early
        again = np.flatnonzero(labels["again"])
        cuts = np.empty(len(again), np.int64)
        ends = [*cuts[: _cut(again, negative[place[again]], cuts)].tolist(), len(labels["at"])]
        begin = decided = 0
        for end in ends:
            last = end == len(labels["at"])
            until = _LATEST if last else labels["at"][end - 1]
            stop = int(np.searchsorted(decisions["at"], until, side="right"))
            yield slice(decided, stop), slice(begin, end)
            begin, decided = end, stop


class Provisional:
    """Holds what decisions are learned from until their negative is due.

    Parameters
    ----------
    after_ms
        How long after a decision it counts as negative.
    within_ms
        How long after a decision an outcome counts.
    empty
        Rows of `INPUTS`, none of them.
    """

    def __init__(self, after_ms: int, within_ms: int, empty: Columns) -> None:
        self._after, self._within = after_ms, within_ms
        whole = np.empty(0, np.int64)
        inputs = {name: empty[name] for name in INPUTS}
        self._waiting = Waiting({"at": whole, "seq": whole, **inputs})

    def decide(self, decisions: Columns, first_seq: int) -> None:
        """Take decisions: their negatives will be due."""
        at = decisions["at"]
        seq = np.arange(first_seq, first_seq + len(at))
        inputs = {name: decisions[name] for name in INPUTS}
        self._waiting.append({"at": at + self._after, "seq": seq, **inputs})

    def learned(self, until: int, labels: Columns, pending: Pending) -> Learned:
        """Say what is learned and what is final before `until`, of labels that were admitted."""
        place = pending.place(labels["seq"])
        came = np.full(len(pending), _LATEST)
        came[place] = labels["at"]  # of the labels of this step
        due = self._due(until, came, pending)
        early = ~np.isnan(pending.rows[GIVEN][place]).all(axis=1)
        now = np.zeros(len(pending), np.bool_)
        now[pending.place(due["seq"])] = True
        early |= now[place]
        # A negative that was learned before its time is not learned again.
        kept = np.flatnonzero(~early | (labels["label"] == 1.0))
        real = {name: labels[name][kept] for name in ("at", "seq", "label", *INPUTS)}
        real |= {"again": early[kept], "before_its_time": np.zeros(len(kept), np.bool_)}
        flags = np.ones(len(due["at"]), np.bool_)
        due = {**due, "label": np.zeros(len(flags)), "again": ~flags, "before_its_time": flags}
        return Learned(_merged(real, due), self._final(until, labels, pending))

    def _due(self, until: int, came: NDArray[np.int64], pending: Pending) -> Columns:
        """Take the negatives that are due, of decisions that have no outcome at that moment."""
        due = self._waiting.take(until)
        place = pending.place(due["seq"])
        without = ~pending.rows["labelled"][place] | (came[place] < _LATEST)
        without &= came[place] > due["at"]
        return {name: column[without] for name, column in due.items()}

    def _final(self, until: int, labels: Columns, pending: Pending) -> Columns:
        names = ("at", "seq", "decided", "label", "served")
        rows = pending.rows
        over = int(np.searchsorted(rows["decided"], until - self._within, side="left"))
        none = np.flatnonzero(~rows["labelled"][:over])
        decided = rows["decided"][none]
        ended = {"at": decided + self._within, "seq": none + pending.first, "decided": decided}
        ended |= {"label": np.zeros(len(none)), "served": rows["served"][none]}
        return _merged({name: labels[name] for name in names}, ended)

    def state(self) -> State:
        """Give what waits."""
        return State(self._waiting.rows(), {})

    def restore(self, state: State) -> None:
        """Take it up."""
        self._waiting.append({name: array.copy() for name, array in state.arrays.items()})


def _merged(first: Columns, then: Columns) -> Columns:
    """Merge rows by their time; at one instant those of `first` come first."""
    both = {name: np.concatenate([column, then[name]]) for name, column in first.items()}
    order = np.argsort(both["at"], kind="stable")
    return {name: column[order] for name, column in both.items()}


@compiled
def _cut(again: NDArray[np.int64], negative: NDArray[np.int64], cuts: NDArray[np.int64]) -> int:
    """Write where to cut, before each positive whose negative is since the last cut; count them."""
    count = start = 0
    for i in range(again.shape[0]):
        if negative[i] >= start and negative[i] >= 0:
            cuts[count] = start = again[i]
            count += 1
    return count
