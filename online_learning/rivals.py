"""What the model is measured against, decision by decision: baselines, and itself as it was.

    no_change, majority, base_rate    from the labels before the decision, and no more
    frozen_first                      the first version, never learned again
    frozen_last                       the last version: what is served, were nothing in between slow

The last version's arrays are a part of the state: of the versions that are published only the
newest stay, and a snapshot may be older than all of them.

Before there is a version, the frozen ones say what a model says that has seen nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.online_learning.learning import Learning
from headrace.online_learning.models.model import Arrays, Inputs, State
from headrace.online_learning.moments import Moments
from headrace.online_learning.registry import Registry
from headrace.online_learning.scorer import MOMENTS
from headrace.operators.errors import CorruptError
from headrace.operators.evaluation.baselines import BASELINES

__all__ = ["RIVALS", "Rivals"]

_FROZEN = ("frozen_first", "frozen_last")
RIVALS = (*BASELINES, *_FROZEN)


class Rivals:
    """Predicts each decision by all of `RIVALS`; where no probability is asked for, by none.

    Parameters
    ----------
    settings
        Those of the learner.
    first
        Where the first version is kept, for as long as there is a learner.
    """

    def __init__(self, settings: Learning, *, first: Registry) -> None:
        self.names = RIVALS if settings.model.task == "probability" else ()
        self._settings = settings
        self._first = first
        self._last: Arrays = {}
        self._baselines = {name: BASELINES[name]() for name in self.names if name in BASELINES}
        self._frozen = {name: self._of({}) for name in self.names if name in _FROZEN}

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
        Of shape (decisions, names).
        """
        said = np.empty((len(at), len(self.names)))
        for i, name in enumerate(self.names):
            if name in self._frozen:
                said[:, i] = self._frozen[name](inputs)
                continue
            baseline = self._baselines[name]
            known = labels["at"]
            said[:, i] = baseline.delayed(labels["label"], decided=at, known=known)
            baseline.learn(labels["label"])
        return said

    def publish(self, number: int, facts: Mapping[str, Any], arrays: Arrays) -> None:
        """Take up a version; the first stays for good."""
        if not self.names:
            return
        if number == 1:
            self._first.publish(number, arrays, **facts)
            self._frozen["frozen_first"] = self._of(arrays)
        self._last = arrays
        self._frozen["frozen_last"] = self._of(arrays)

    def state(self) -> State:
        """Give what `restore` needs beside the first version."""
        facts = {name: baseline.state() for name, baseline in self._baselines.items()}
        return State(self._last, facts)

    def restore(self, state: State) -> None:
        """Take up a state."""
        for name, baseline in self._baselines.items():
            baseline.restore(state.facts[name])
        if state.arrays:
            self._last = state.arrays
            self._frozen["frozen_first"] = self._of(self._of_first())
            self._frozen["frozen_last"] = self._of(state.arrays)

    def _of_first(self) -> Arrays:
        try:
            return self._first.version(1).arrays()
        except CorruptError as error:
            do = "restore the learner's folder from a backup, or give an empty one to learn anew"
            raise CorruptError(error.path, error.asked, error.found, do) from error

    def _of(self, arrays: Arrays) -> Frozen:
        return Frozen(self._settings, arrays)


class Frozen:
    """A model that learns no more."""

    def __init__(self, settings: Learning, arrays: Arrays) -> None:
        own = {name: array for name, array in arrays.items() if name != MOMENTS}
        width = len(settings.encoding.numbers)
        self._moments = Moments(width, arrays.get(MOMENTS))
        self._served = settings.model.serves(settings.encoding, own)

    def __call__(self, inputs: Inputs) -> NDArray[np.float64]:
        """Predict rows, whose numbers are as they came."""
        return self._served.score(replace(inputs, numbers=self._moments.scaled(inputs.numbers)))
