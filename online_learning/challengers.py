"""Other models that learn the same stream, of which one may take the model's place.

::

    steps ─► the model ──────────┐
        └──► challengers 1 … K ──┴─► log loss of each on the same labels ─► evidence
    version made ─► is one shown better? ─► it learns in the model's place from now on
                └─► labels enough for the round? ─► the worse half of the challengers ends

The model as it is declared has the number 0, the challengers those after it. All take the same
steps with the same scaled numbers. Each predicts a decision with the labels before it, and is
scored when its label comes: so all are judged by the same labels, and none by what it knew.

That one is better is bet on as the gate does (`evidence`), and may be looked at after every label.
Each round bets anew, so that it counts little how one began, and has its share of `alpha`, which
together are no more: the probability that any is ever called better by more than `tolerance` that
is not so is at most `alpha`, until another leads. Halving ranks by the mean of a round alone: what
ends by it is only no longer tried. Each round is twice as long as the one before; the last
challenger stays.

Where the model changes place the one that led goes on as a challenger. Nothing is served by that:
the next version is of the new one, and the gate judges it as any.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.online_learning.evidence import Evidence
from headrace.online_learning.gate import UNIT, losses_of
from headrace.online_learning.models.model import Inputs, Kind, Model, State, Steps, under, within
from headrace.online_learning.observer import Note
from headrace.online_learning.settings import Encoding, LearningError
from headrace.online_learning.verdict import Limits
from headrace.online_learning.version import fault

__all__ = ["SAYS_NOTHING", "Challenge", "Challengers"]

SAYS_NOTHING = 0.5
"""Stands for a prediction that is no number."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Challenge:
    """Which models learn beside the declared one, and when their worse half ends.

    Parameters
    ----------
    kinds
        Each with its settings.
    halve_after
        Labels of the first round; each round after it is twice as long.
    """

    kinds: tuple[Kind, ...]
    halve_after: int = 10_000

    def __post_init__(self) -> None:
        asked = "asked for challengers"
        if not self.kinds:
            raise LearningError(asked, "there are none", "give one or more")
        if self.halve_after < 1:
            found = f"their first round has {self.halve_after} labels"
            raise LearningError(asked, found, "give 1 or more")
        for kind in self.kinds:
            if kind.task != "probability":
                found = f"one of the kind {kind.name!r} predicts no single bool"
                raise LearningError(asked, found, "leave it out")

    @property
    def facts(self) -> dict[str, Any]:
        """Say it in words of JSON."""
        return {"kinds": [dict(kind.facts) for kind in self.kinds], "after": self.halve_after}


class Challengers:
    """Learns and scores them all, and says which one leads.

    Parameters
    ----------
    model
        The declared one, which leads at first. Its model is the learner's own.
    challenge
        The others.
    encoding
        What all of them take.
    limits
        Those of the gate; the usual ones where it has none.

    Examples
    --------
    >>> from headrace.online_learning.models.linear import Logistic
    >>> encoding = Encoding({}, {}, (), slots=4, bias=True)
    >>> field = Challengers(Logistic(), Challenge((Logistic(),)), encoding, Limits(least=50))
    >>> field.learn(np.tile([0.5, 0.9], (60, 1)), np.ones(60))
    >>> _, notes = field.settle(1_000, Logistic().blank(encoding))
    >>> field.leads, notes[0].cause
    (1, 'its log loss is 0.1054 on 60 labels, that of 0, which led, 0.6931')
    """

    def __init__(
        self, model: Kind, challenge: Challenge, encoding: Encoding, limits: Limits
    ) -> None:
        self.kinds = (model, *challenge.kinds)
        self.leads = 0
        self._challenge, self._encoding, self._limits = challenge, encoding, limits
        self._models = {i: kind.blank(encoding) for i, kind in enumerate(self.kinds) if i}
        self._evidence = Evidence([False] * len(self.kinds))
        self._round = 0
        self._preferred = False
        self._begin()

    def _begin(self) -> None:
        """Begin to compare anew."""
        self._evidence.forget(list(range(len(self.kinds))))
        self._labels = 0
        self._losses = np.zeros(len(self.kinds), np.int64)  # in `UNIT`

    def advance(self, inputs: Inputs, steps: Steps, given: Floats) -> Floats:
        """Take the steps that the model took; give what each predicted.

        Parameters
        ----------
        given
            What the model predicted of the first rows.

        Returns
        -------
        Of shape (those rows, kinds); NaN of one that ended.
        """
        said = np.full((len(given), len(self.kinds)), np.nan)
        said[:, self.leads] = given
        for i, model in self._models.items():
            p = steps.by_row(model.advance(inputs, steps.of(i)))[: len(given)]
            said[:, i] = np.where(np.isfinite(p), p, SAYS_NOTHING)
        return said

    def learn(self, said: Floats, labels: Floats) -> None:
        """Take labels in their order, 0 or 1, and what `advance` said of their decisions."""
        losses = losses_of(said)
        better = losses[:, :, [self.leads]] - losses - self._limits.tolerance
        positive = (labels == 1.0)[:, None]
        self._evidence.add(np.where(positive, better[1], better[0]), np.abs(better).max(axis=0))
        chosen = np.nan_to_num(np.where(positive, losses[1], losses[0]))
        self._losses += np.rint(chosen * UNIT).astype(np.int64).sum(axis=0)
        self._labels += len(labels)

    def prefer(self) -> None:
        """Compare anew, and let who is better on average lead: the stream has changed."""
        self._begin()
        self._preferred = True

    def settle(self, now: int, model: Model) -> tuple[Model, list[Note]]:
        """When a version was made: give the model that learns in `model`'s place, and what ended.

        What it does follows from the labels alone, so that cuts and kills change nothing.
        """
        notes = [self._end(i, now, wrong) for i, wrong in self._spoilt()]
        winner = self._winner()
        if winner is not None:
            led = f"that of {self.leads}, which led, {self._mean(self.leads):.4f}"
            cause = f"its log loss is {self._said(winner)}, {led}"
            notes.append(Note(now, now, "challenger.leads", winner, cause=cause, alert=True))
            self._models[self.leads], model = model, self._models.pop(winner)
            self.leads = winner
            self._begin()
        elif not self._preferred and self._labels >= self._challenge.halve_after << self._round:
            notes += self._halve(now)
            self._round += 1
            self._begin()
        return model, notes

    def _spoilt(self) -> list[tuple[int, str]]:
        found = ((i, fault(model.weights())) for i, model in sorted(self._models.items()))
        return [(i, wrong) for i, wrong in found if wrong]

    def _end(self, number: int, now: int, cause: str) -> Note:
        del self._models[number]
        return Note(now, now, "challenger.ended", number, cause=cause)

    def _winner(self) -> int | None:
        if self._labels < self._limits.least or not self._models:
            return None
        if self._preferred:
            self._preferred = False
            best = min(sorted(self._models), key=lambda i: self._losses[i])
            return best if self._losses[best] < self._losses[self.leads] else None
        shares = (len(self.kinds) - 1) * (self._round + 1) * (self._round + 2)  # 1/2 + 1/6 + … = 1
        alpha, logs = self._limits.alpha / shares, self._evidence.logs
        shown = [i for i in sorted(self._models) if self._evidence.shown(i, alpha=alpha)]
        return max(shown, key=lambda i: float(logs[i])) if shown else None

    def _halve(self, now: int) -> list[Note]:
        if len(self._models) < 2:
            return []
        order = sorted(self._models, key=lambda i: (self._losses[i], i))
        gone = order[-(len(order) // 2) :]
        said = f"that of {order[0]}, the best of {len(order)}, {self._mean(order[0]):.4f}"
        return [self._end(i, now, f"its log loss is {self._said(i)}, {said}") for i in sorted(gone)]

    def _mean(self, number: int) -> float:
        return float(self._losses[number] / UNIT / self._labels)

    def _said(self, number: int) -> str:
        return f"{self._mean(number):.4f} on {self._labels} labels"

    def status(self) -> dict[str, dict[str, Any]]:
        """Say of each what it is and how good, on the labels of this round."""
        logs = self._evidence.logs.tolist()
        return {
            str(i): {
                "model": dict(kind.facts),
                "place": "leads" if i == self.leads else "learns" if i in self._models else "ended",
                "labels": self._labels if self._there(i) else 0,
                "log_loss": self._mean(i) if self._labels and self._there(i) else None,
                "evidence": logs[i] if i in self._models else None,
            }
            for i, kind in enumerate(self.kinds)
        }

    def _there(self, number: int) -> bool:
        return number == self.leads or number in self._models

    def state(self) -> State:
        """Give what `restore` needs, without the model that leads."""
        states = {i: model.state() for i, model in self._models.items()}
        arrays = {"wealth": self._evidence.wealth, "losses": self._losses}
        for i, state in states.items():
            arrays |= within(f"{i}/", state.arrays)
        facts = {
            "leads": self.leads,
            "models": {str(i): dict(state.facts) for i, state in states.items()},
            "round": self._round,
            "preferred": self._preferred,
            "labels": self._labels,
        }
        return State(arrays, facts)

    def restore(self, state: State) -> None:
        """Take up a state."""
        arrays, facts = state.arrays, state.facts
        told: Mapping[str, Any] = facts["models"]
        self._models = {int(i): self.kinds[int(i)].blank(self._encoding) for i in told}
        for i, model in self._models.items():
            model.restore(State(under(f"{i}/", arrays), told[str(i)]))
        self._evidence.wealth[:] = arrays["wealth"]
        self._losses = arrays["losses"].copy()
        self.leads, self._round = facts["leads"], facts["round"]
        self._preferred, self._labels = facts["preferred"], facts["labels"]
