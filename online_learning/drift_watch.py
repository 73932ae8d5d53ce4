"""Watches the trainer's loss and the values of tokens for change, and acts on it.

::

    labels    ── loss of each ───────────────► ADWIN ──┐ alarm, at the event time `at`
    decisions ── slots of a token, projected ► ADWIN ──┴──► actions, from the next version's time on

An alarm is told with its event time. What is done about it begins at the next multiple of
`publish_every`, where steps are cut anyhow: so neither cuts nor kills change what is learned. Of
one signal there is one alarm between two multiples.

The values of a token have no order that means something, so their distribution is watched by
`PROJECTIONS` random numbers of each value: where the shares of values change, the mean of one of
these does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from headrace.online_learning.models.model import Kind, Model, State
from headrace.online_learning.moments import Moments
from headrace.online_learning.observer import Note, Seen
from headrace.online_learning.scores import losses
from headrace.online_learning.settings import Encoding
from headrace.online_learning.waiting import NEVER, Columns
from headrace.online_learning.watching import Action, Watching
from headrace.operators.adwin import Adwin, Alarm
from headrace.operators.compiled import compiled
from headrace.operators.hashing import mixed, seed

__all__ = ["PROJECTIONS", "DriftWatch", "Refreshes"]

PROJECTIONS = 8
_HIGHEST_LOSS = 4.0  # nats, at p < 0.02: so that one row is no drift
_SEEDS = np.array([seed(["drift", str(i)]) for i in range(PROJECTIONS)], np.uint64)


@runtime_checkable
class Refreshes(Protocol):
    """A model whose weights can learn as if they were new."""

    def refresh(self, slots: NDArray[np.int64]) -> None:
        """Forget what the weights of slots learned of their rate; they stay as they are."""


@dataclass(frozen=True, slots=True)
class _Due:
    """Actions that begin at a time, when the alarm was, and why."""

    at: int
    alarm: int
    field: str | None
    cause: str


class DriftWatch:
    """An observer that acts.

    Parameters
    ----------
    watching
        What is watched, and what is done.
    encoding
        How rows become slots: a field is the place of its token.
    every_ms
        Actions begin at multiples of it.
    kind
        Of the model, whose predictions have a loss; a bool's unless given.
    """

    def __init__(
        self, watching: Watching, encoding: Encoding, every_ms: int, kind: Kind | None = None
    ) -> None:
        self._watching, self._encoding, self._every = watching, encoding, every_ms
        self._kind = kind
        self._places = {
            name: next(i for i, token in enumerate(encoding.tokens) if token.name == name)
            for name in watching.fields
        }
        self._loss = Adwin(watching.delta)
        self._fields = {name: Adwin(watching.delta, PROJECTIONS) for name in watching.fields}
        self._had = {
            name: np.zeros(encoding.slots, np.bool_)
            for name, actions in watching.fields.items()
            if any(action.kind == "reset" for action in actions)
        }
        self._due: list[_Due] = []
        self._rung: dict[str, int] = {}
        self._raised, self._until = 1.0, NEVER

    def see(self, seen: Seen) -> list[Note]:
        """Look at the losses and the fields of a step; give its alarms."""
        for name, had in self._had.items():
            had[seen.decisions["slots"][:, self._columns(name)]] = True
        notes = []
        if self._watching.loss is not None and len(seen.labels["at"]):
            notes += self._of_loss(seen.labels)
        for name, place in self._places.items():
            if len(seen.decisions["at"]):
                notes += self._of_field(name, seen.decisions, place)
        return notes

    def weighed(self, labels: Columns) -> Columns:
        """Let labels count as often as the rate is raised, while it is."""
        if not len(labels["at"]) or labels["at"][0] >= self._until:
            return labels
        times = np.where(labels["at"] < self._until, self._raised, 1.0)
        return {**labels, "weights": labels["weights"] * times}

    def act(self, now: int, model: Model, moments: Moments) -> list[Note]:
        """Begin the actions that are due at `now`, in the order of their alarms."""
        due = [each for each in self._due if each.at <= now]
        self._due = [each for each in self._due if each.at > now]
        return [
            Note(now, now, f"drift.{action.kind}", value, each.field, cause=each.cause)
            for each in due
            for action in self._actions(each.field)
            if (value := self._do(action, each.field, now, model, moments)) is not None
        ]

    def _do(
        self, action: Action, name: str | None, now: int, model: Model, moments: Moments
    ) -> float | None:
        """Do it; give the number that is told of it."""
        if action.kind == "raise_rate":
            going = self._until > now
            self._raised = max(action.times, self._raised) if going else action.times
            self._until = max(now + action.for_ms, self._until)
            return action.times
        if action.kind == "reset" and name is not None and isinstance(model, Refreshes):
            slots = np.flatnonzero(self._had[name])
            numbers = [i for i, number in enumerate(self._encoding.numbers) if number == name]
            moments.refresh(numbers)
            own = np.array([self._encoding.slots + i for i in numbers], np.int64)
            model.refresh(np.concatenate([slots, own]))
            return float(len(slots))
        return 1.0 if action.kind == "promote" else None

    def state(self) -> State:
        """Give the windows, what is due, and the slots that fields had."""
        arrays: dict[str, NDArray[Any]] = {}
        for name, adwin in (("loss", self._loss), *self._fields_named()):
            arrays |= {f"{name}/{each}": array for each, array in adwin.state().items()}
        arrays |= {f"had/{name}": np.flatnonzero(had) for name, had in self._had.items()}
        facts = {
            "due": [[each.at, each.alarm, each.field, each.cause] for each in self._due],
            "rung": self._rung,
            "raised": [self._raised, self._until],
        }
        return State(arrays, facts)

    def restore(self, state: State) -> None:
        """Take them up."""
        for name, adwin in (("loss", self._loss), *self._fields_named()):
            own = {each: state.arrays[f"{name}/{each}"] for each in adwin.state()}
            adwin.restore(own)
        for name, had in self._had.items():
            had[state.arrays[f"had/{name}"]] = True
        self._due = [_Due(*each) for each in state.facts["due"]]
        self._rung = dict(state.facts["rung"])
        self._raised, self._until = state.facts["raised"]

    def _fields_named(self) -> list[tuple[str, Adwin]]:
        return [(f"field/{name}", adwin) for name, adwin in self._fields.items()]

    def _columns(self, name: str) -> list[int]:
        """Give the places of the tokens that a field is a part of."""
        return [i for i, token in enumerate(self._encoding.tokens) if name in token.parts]

    def _actions(self, name: str | None) -> Sequence[Action]:
        return self._watching.loss or () if name is None else self._watching.fields[name]

    def _of_loss(self, labels: Columns) -> list[Note]:
        lost = losses(self._kind, labels["trainer"], labels["label"])
        loss = np.minimum(lost, _HIGHEST_LOSS) / _HIGHEST_LOSS
        found = [each for each in self._loss.follow(loss[:, None]) if each.after > each.before]
        return self._rings(found, labels["at"], None)

    def _of_field(self, name: str, decisions: Columns, place: int) -> list[Note]:
        slots = np.ascontiguousarray(decisions["slots"][:, place])
        values = np.empty((len(slots), PROJECTIONS))
        _project(slots, _SEEDS, values)
        return self._rings(self._fields[name].follow(values), decisions["at"], name)

    def _rings(
        self, alarms: Sequence[Alarm], at: NDArray[np.int64], name: str | None
    ) -> list[Note]:
        """Tell alarms, one between two multiples; let its actions be due at the next."""
        notes = []
        for alarm in alarms:
            when = int(at[alarm.place])
            begins = (when // self._every + 1) * self._every
            if self._rung.get(name or "") == begins:
                continue
            self._rung[name or ""] = begins
            cause = _said(alarm, name)
            self._due.append(_Due(begins, when, name, cause))
            self._due.sort(key=lambda each: (each.at, each.alarm, each.field or ""))
            value = (alarm.after if name is None else alarm.after - alarm.before) * (
                _HIGHEST_LOSS if name is None else 1.0
            )
            told = "drift.loss" if name is None else "drift.field"
            alert = any(action.kind == "alert" for action in self._actions(name))
            notes.append(Note(when, when, told, value, name, cause=cause, alert=alert))
        return notes


def _said(alarm: Alarm, name: str | None) -> str:
    if name is None:
        before, after = (mean * _HIGHEST_LOSS for mean in (alarm.before, alarm.after))
        return f"the loss rose from {before:.4f} to {after:.4f} over the last {alarm.rows} labels"
    return f"the values of {name!r} are others over the last {alarm.rows} decisions"


@compiled
def _project(slots: NDArray[np.int32], seeds: NDArray[np.uint64], out: NDArray[np.float64]) -> None:
    for i in range(slots.shape[0]):
        for k in range(seeds.shape[0]):
            out[i, k] = (mixed(seeds[k], np.uint64(slots[i])) >> np.uint64(11)) / 2.0**53
