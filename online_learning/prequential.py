"""The score that a learner would have, from tables of decisions with their labels.

::

    rows in order of `at` ──encode──► predict at `at` ─────────────► score
                                └───► wait ──► learn at `labelled`

It steps as the learner does, and has no topics, no folder and no versions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.online_learning.encoding import Encoder
from headrace.online_learning.learning import Learning
from headrace.online_learning.models.model import Inputs
from headrace.online_learning.moments import Moments
from headrace.online_learning.scores import result, rows, scores
from headrace.online_learning.settings import LearningError
from headrace.online_learning.stepping import columns, step
from headrace.online_learning.waiting import NEVER, Columns

__all__ = ["Prequential"]


class Prequential:
    """One model that learns from blank; each decision is predicted with the labels before it.

    Labels of one instant are learned in the order of their decisions. What waits for its label's
    time is in memory, encoded.

    Examples
    --------
    >>> from headrace.online_learning.models.linear import Logistic
    >>> from headrace.online_learning.settings import Encoding, Token
    >>> from headrace.operators.types import Type
    >>> encoding = Encoding({"wet": Type.BOOL}, {}, (Token(("wet",)),), slots=64, bias=False)
    >>> one = Prequential(Learning(encoding, Logistic(), 1_000, 1, 20, 1_000, 1_000))
    >>> rows = {"seq": [0, 1, 2, 3], "at": [10, 15, 20, 30], "wet": [True, False, True, False]}
    >>> rows |= {"labelled": [12, 16, 21, None], "label": [True, False, True, None]}
    >>> one.add(pa.table(rows))
    >>> one.score()["n"], one.score_all()["n"], one.score_all()["auc"]
    (1, 3, 0.75)
    """

    def __init__(self, settings: Learning) -> None:
        self.settings = settings
        self._encoder = Encoder(settings.encoding)
        self._model = settings.model.blank(settings.encoding)
        self._moments = Moments(len(settings.encoding.numbers))
        self._score, self._score_all = scores(settings.model), scores(settings.model)
        self._waiting: Columns = {}
        self._last_at = NEVER

    def add(self, decided: pa.Table, inputs: Inputs | None = None) -> None:
        """Take the decisions that come next.

        Parameters
        ----------
        decided
            In order of `at`: `seq`, `at`, the encoding's inputs, and `labelled`, the time of the
            first label that counts, with the `label`; both are null where there is none.
        inputs
            The rows encoded, where they are already.

        Raises
        ------
        LearningError
            Where a decision is earlier than one before it or later than its label, or an input
            cannot be encoded.
        """
        if not decided.num_rows:
            return
        at = decided["at"].to_numpy()
        has = np.flatnonzero(decided["labelled"].is_valid().to_numpy())
        told = decided.select(["labelled", "seq", "label"]).take(pa.array(has))
        known, seq = (column.to_numpy() for column in told.columns[:2])
        label = self.settings.model.codes(told["label"])
        self._check(at, known - at[has])
        if inputs is None:
            inputs = self._encoder.inputs(decided, deep=self.settings.model.deep)
        labels = {"at": known, "seq": seq, "label": label, **columns(inputs, has)}
        decisions = {"at": at, **columns(inputs, np.arange(len(at)))}
        before = self._before(int(at[-1]), labels)
        given = step(self.settings, self._model, self._moments, decisions, before)
        scored = at[has] >= (self.settings.score_from_ms or NEVER)
        model = self.settings.model
        self._score_all.add(rows(model, given[has], label))
        self._score.add(rows(model, given[has][scored], label[scored]))

    def score(self) -> dict[str, Any]:
        """Give the score over decisions from `score_from_ms` on, as the learner's `prequential`."""
        return result(self._score)

    def score_all(self) -> dict[str, Any]:
        """Give the score over every decision."""
        return result(self._score_all)

    def _check(self, at: NDArray[np.int64], after: NDArray[np.int64]) -> None:
        asked = "asked to score decisions"
        if (np.diff(at, prepend=self._last_at) < 0).any():
            raise LearningError(asked, "one is earlier than one before it", "sort them by at")
        if (after < 0).any():
            found = "a label is earlier than its decision"
            raise LearningError(asked, found, "leave it out: learning it would tell the future")
        self._last_at = int(at[-1])

    def _before(self, until: int, labels: Columns) -> Columns:
        """Give the labels before `until`, in order; those of that instant wait, as later ones.

        For of that instant there may be more decisions, and they come first.
        """
        if self._waiting:
            labels = {n: np.concatenate([self._waiting[n], labels[n]]) for n in labels}
        ready = labels["at"] < until
        self._waiting = {name: column[~ready] for name, column in labels.items()}
        past = np.flatnonzero(ready)
        past = past[np.argsort(labels["at"][past], kind="stable")]
        return {name: column[past] for name, column in labels.items()}
