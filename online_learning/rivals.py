"""What the model is measured against, decision by decision: baselines, and itself as it was.

    no_change, majority, base_rate    from the labels before the decision, and no more
    last_value, running_mean          the same where labels are numbers
    no_change, base_rate              the same of each class, where labels are classes
    no_change, majority, base_rate    the same of each task, where there are several
    frozen_first                      the first version, never learned again
    frozen_last                       the last version that was made
    champion                          the version that the gate chose: what is served
    previous                          the champion before, for the gate alone: it is not scored

The versions' arrays are a part of the state: of those that are published only the newest stay, and
a snapshot may be older than all of them. A version that bears two names is kept, and asked, once.

Before there is a version, the frozen ones say what a model says that has seen nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.online_learning.learning import Learning
from headrace.online_learning.models.model import Arrays, Inputs, Kind, State, under, within
from headrace.online_learning.moments import Moments
from headrace.online_learning.registry import Registry
from headrace.online_learning.scorer import MOMENTS
from headrace.online_learning.scores import cut
from headrace.operators.errors import CorruptError
from headrace.operators.evaluation.baselines import (
    BASELINES,
    BASELINES_OF_CLASSES,
    BASELINES_OF_NUMBERS,
    Baseline,
    OfClasses,
    OfTasks,
)

__all__ = ["RIVALS", "RIVALS_OF_CLASSES", "RIVALS_OF_NUMBERS", "Made", "Rivals"]

_FROZEN = ("frozen_first", "frozen_last", "champion")
RIVALS = (*BASELINES, *_FROZEN)
RIVALS_OF_NUMBERS = (*BASELINES_OF_NUMBERS, *_FROZEN)
RIVALS_OF_CLASSES = (*BASELINES_OF_CLASSES, *_FROZEN)
_NONE = 0  # stands for a model that has seen nothing


@dataclass(frozen=True, slots=True)
class Made:
    """A version as it was made: its arrays, and what its manifest says."""

    arrays: Arrays
    facts: Mapping[str, Any]


class Rivals:
    """Predicts each decision by all of `RIVALS`, or those of numbers or of classes.

    Parameters
    ----------
    settings
        Those of the learner.
    first
        Where the first version is kept, for as long as there is a learner.
    """

    def __init__(self, settings: Learning, *, first: Registry) -> None:
        self._baselines = _baselines(settings.model)
        self.names = (*self._baselines, *_FROZEN)
        self.said = (*self.names, "previous")
        self._settings = settings
        self._first = first
        self._bears = dict.fromkeys((*_FROZEN, "previous"), _NONE)
        self._made: dict[int, Made] = {}
        self._frozen = {_NONE: Frozen(settings, settings.model, {})}

    def unsaid(self, count: int) -> NDArray[np.float64]:
        """Give zeros in the place of what is said of so many decisions."""
        return np.stack([self._settings.model.room(count)] * len(self.said), axis=1)

    def predict(
        self, inputs: Inputs, at: NDArray[np.int64], labels: Mapping[str, NDArray[Any]]
    ) -> NDArray[np.float64]:
        """Predict decisions from the labels before each of them; then learn the labels.

        Parameters
        ----------
        inputs, at
            The decisions, in order; numbers as they came.
        labels
            The labels that come between, in order: `label` and `at`.

        Returns
        -------
        Of shape (decisions, `said`), or (decisions, `said`, parts of a prediction).
        """
        said = self.unsaid(len(at))
        asked: dict[int, NDArray[np.float64]] = {}
        for i, name in enumerate(self.said):
            if name not in self._baselines:
                number = self._bears[name]
                if number not in asked:
                    asked[number] = self._frozen[number](inputs)
                said[:, i] = asked[number]
                continue
            baseline = self._baselines[name]
            came = cut(self._settings.model, labels["label"])
            said[:, i] = baseline.delayed(came, decided=at, known=labels["at"])
            baseline.learn(came)
        return said

    def publish(self, number: int, made: Made) -> None:
        """Take up the version that was just made; the first stays for good."""
        if not self._bears["frozen_first"]:
            self._first.publish(number, made.arrays, **made.facts)
            self._bears["frozen_first"] = number
        self._made[number] = made
        self._bears["frozen_last"] = number

    def choose(self, champion: int | None, previous: int | None) -> None:
        """Take up what the gate chose, among the versions that bear a name and the newest."""
        self._bears |= {"champion": champion or _NONE, "previous": previous or _NONE}
        borne = {number for name, number in self._bears.items() if name != "frozen_first"}
        self._made = {number: made for number, made in self._made.items() if number in borne}
        self._load()

    def made(self, number: int) -> Made:
        """Give a version that bears a name."""
        return self._made[number]

    def state(self) -> State:
        """Give what `restore` needs beside the first version."""
        arrays: dict[str, NDArray[Any]] = {}
        for number, made in self._made.items():
            arrays |= within(f"{number}/", made.arrays)
        return State(
            arrays,
            {
                "baselines": {name: one.state() for name, one in self._baselines.items()},
                "bears": dict(self._bears),
                "made": {str(number): dict(made.facts) for number, made in self._made.items()},
            },
        )

    def restore(self, state: State) -> None:
        """Take up a state."""
        facts = state.facts
        for name, baseline in self._baselines.items():
            baseline.restore(facts["baselines"][name])
        self._bears = dict(facts["bears"])
        for number, told in facts["made"].items():
            self._made[int(number)] = Made(under(f"{number}/", state.arrays), told)
        first = self._made.get(self._bears["frozen_first"])
        if first is not None:
            # It is there already, unless it was damaged: later it could not be made again.
            self._first.publish(self._bears["frozen_first"], first.arrays, **first.facts)
        self._load()

    def _load(self) -> None:
        """Load each version that is asked once, and let go of the others."""
        loaded = self._frozen
        self._frozen = {}
        for number in set(self._bears.values()):
            if number in loaded:
                self._frozen[number] = loaded[number]
            elif number != _NONE:
                made = self._made.get(number) or self._of_first(number)
                kind = self._settings.kind_of(made.facts["model"])
                self._frozen[number] = Frozen(self._settings, kind, made.arrays)
            else:
                self._frozen[number] = Frozen(self._settings, self._settings.model, {})

    def _of_first(self, number: int) -> Made:
        try:
            first = self._first.version(number)
            return Made(first.arrays(), {"model": first.model})
        except CorruptError as error:
            do = "restore the learner's folder from a backup, or give an empty one to learn anew"
            raise CorruptError(error.path, error.asked, error.found, do) from error


def _baselines(kind: Kind) -> dict[str, Baseline | OfClasses | OfTasks]:
    """Make those that fit what the kind predicts."""
    if kind.task == "bools":
        return {name: OfTasks(each, len(kind.parts)) for name, each in BASELINES.items()}
    if kind.task == "class":
        known = BASELINES_OF_CLASSES.items()
        return {name: OfClasses(each, len(kind.parts)) for name, each in known}
    fit = BASELINES_OF_NUMBERS if kind.task == "number" else BASELINES
    return {name: each() for name, each in fit.items()}


class Frozen:
    """A model that learns no more."""

    def __init__(self, settings: Learning, kind: Kind, arrays: Arrays) -> None:
        own = {name: array for name, array in arrays.items() if name != MOMENTS}
        width = len(settings.encoding.numbers)
        self._moments = Moments(width, arrays.get(MOMENTS))
        self._served = kind.serves(settings.encoding, own)

    def __call__(self, inputs: Inputs) -> NDArray[np.float64]:
        """Predict rows, whose numbers are as they came."""
        return self._served.score(replace(inputs, numbers=self._moments.scaled(inputs.numbers)))
