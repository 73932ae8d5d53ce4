"""A baseline beside a model: given the same labels, scored by the same score."""

from __future__ import annotations

from typing import Any, NoReturn, Self

from headrace.operators.errors import Never
from headrace.operators.evaluation.baselines import BASELINES, Baseline
from headrace.operators.evaluation.rows import EvaluationError, Rows
from headrace.operators.evaluation.score import Score, State
from headrace.operators.evaluation.several import Several

__all__ = ["MERGE", "Rival", "beside"]

MERGE = Never("a baseline predicts each row from all rows before it")
"""Why a rival does not merge."""


class Rival(Score):
    """The score of a baseline that predicts each row from the labels before it.

    It takes rows as any score does, in the order in which their labels came, and pays no heed to
    what the model said of them. It does not merge, for order is what it is about.

    >>> from headrace.operators.evaluation.accuracy import Accuracy
    >>> from headrace.operators.evaluation.baselines import NoChange
    >>> rival = Rival(NoChange(), Accuracy())
    >>> rival.update([0.9, 0.9, 0.9, 0.9], [1, 1, 0, 0])
    >>> rival.value()
    0.75
    """

    def __init__(self, baseline: Baseline, score: Score) -> None:
        self._baseline = baseline
        self._score = score

    @property
    def n(self) -> int:
        """Count the rows scored."""
        return self._score.n

    @property
    def told(self) -> dict[str, Any]:
        """Say the baseline and the score."""
        return {"baseline": self._baseline.name, "of": self._score.told}

    def add(self, rows: Rows) -> None:
        """Predict and score the rows in the order given."""
        self._score.add(rows.predicted(self._baseline.follow(rows.y)))

    def value(self) -> Any:
        """Give the score of the baseline."""
        return self._score.value()

    def blank(self) -> Self:
        """Make one that has seen no label."""
        return type(self)(type(self._baseline)(), self._score.blank())

    def state(self) -> State:
        """Give the state of both."""
        state = self._score.state()
        facts = {"told": self.told, "baseline": self._baseline.state(), "part": state.facts}
        return State(state.within("score"), facts)

    def _restore(self, state: State) -> None:
        self._score = self._score.from_state(state.part("score", state.facts["part"]))
        self._baseline.restore(state.facts["baseline"])

    def _merge(self, other: Self) -> NoReturn:
        del other
        asked = f"asked to merge scores of the baseline {self._baseline.name!r}"
        raise EvaluationError(asked, str(MERGE), "score the rows in their order")


def beside(score: Score) -> Several:
    """Give a score with that of every baseline beside it, as `model` and by their names.

    >>> from headrace.operators.evaluation.accuracy import Accuracy
    >>> both = beside(Accuracy())
    >>> both.update([0.9, 0.8, 0.3, 0.1], [1, 1, 0, 0])
    >>> both.value()
    {'model': 1.0, 'no_change': 0.75, 'majority': 0.5, 'base_rate': 0.5}
    """
    rivals = {name: Rival(kind(), score.blank()) for name, kind in BASELINES.items()}
    return Several({"model": score, **rivals})
