"""What the learner scores by: the metrics of operators/evaluation, under its own short names."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.online_learning.models.linear import Quantile
from headrace.online_learning.models.model import Kind
from headrace.operators.evaluation import METRICS, Rows
from headrace.operators.evaluation.pinball import Pinball
from headrace.operators.evaluation.score import Score
from headrace.operators.evaluation.several import Several
from headrace.operators.evaluation.sliced import Sliced

__all__ = ["cut", "losses", "result", "rows", "scores", "staleness"]

_NAMES = {
    "positives": "positives",
    "auc": "auc",
    "log_loss": "log_loss",
    "base_rate_log_loss": "base_rate_log_loss",
    "ne": "normalised_entropy",
    "calibration": "calibration",
    "ece": "ece",
    "accuracy": "accuracy",
}
_PRICES = ("log_loss", "auc", "rmse", "mae", "pinball")
_OF_NUMBERS = ("rmse", "mae", "bias")
_OF_CLASSES = {"log_loss": "surprise", "accuracy": "base_rate"}
_FURTHEST = 2.0**36  # of a number that is scored: squares add up within int64


def scores(kind: Kind | None = None, among: Collection[str] | None = None) -> Score:
    """Make them anew: those of the kind's predictions, or of probabilities; of each task its own.

    Where names are given it is those `among` them.

    >>> list(scores(Quantile(tau=0.9)).value())
    ['rmse', 'mae', 'bias', 'pinball']
    """
    several = _several(kind)
    if among is not None:
        several = {name: score for name, score in several.items() if name in among}
    by_task = kind is not None and kind.task == "bools"
    return Sliced(Several(several), by="task") if by_task else Several(several)


def _several(kind: Kind | None) -> dict[str, Score]:
    if kind is None or kind.task in ("probability", "bools"):
        return {short: METRICS[name]() for short, name in _NAMES.items()}
    if kind.task == "class":
        return {short: METRICS[name]() for short, name in _OF_CLASSES.items()}
    pinball = {"pinball": Pinball(kind.level)} if isinstance(kind, Quantile) else {}
    return {**{name: METRICS[name]() for name in _OF_NUMBERS}, **pinball}


def rows(kind: Kind | None, p: NDArray[np.float64], y: NDArray[np.float64]) -> Rows:
    """Give predictions with their labels, to be scored; numbers are cut at 2^36 either way.

    Of classes there is, for each label, the probability of its class, and 1 where that was the most
    likely one, of equally likely ones the first. Of tasks there is the label's own, with its name.

    >>> from headrace.online_learning.models.softmax import Softmax
    >>> some = rows(Softmax(), np.array([[0.25, 0.75], [0.5, 0.5]]), np.array([0.0, 0.0]))
    >>> some.p.tolist(), some.y.tolist()
    ([0.25, 0.5], [0.0, 1.0])
    """
    if kind is not None and kind.task == "bools":
        task = kind.tasks_of(y)
        names = pa.array(kind.parts, pa.string()).take(pa.array(task))
        return Rows.of(p[np.arange(len(y)), task], y % 2, columns={"task": names})
    if kind is not None and kind.task == "class":
        came = y.astype(np.int64)
        return Rows.of(p[np.arange(len(y)), came], (p.argmax(axis=1) == came).astype(np.float64))
    return Rows.of(cut(kind, p), cut(kind, y))


def losses(
    kind: Kind | None, p: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Give the log loss of each prediction that has one.

    >>> losses(None, np.array([0.5, 0.25]), np.array([1.0, 0.0])).round(3).tolist()
    [0.693, 0.288]
    """
    scored = rows(kind, p, y)
    came = kind is not None and kind.task == "class"
    return -np.where(came | (scored.y == 1.0), *scored.ln)


def cut(kind: Kind | None, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cut numbers to what can be scored.

    >>> from headrace.online_learning.models.linear import Squared
    >>> cut(Squared(), np.array([-0.5, 1e300])).tolist()
    [-0.5, 68719476736.0]
    """
    if kind is None or kind.task != "number":
        return values
    return np.clip(values, -_FURTHEST, _FURTHEST)


def result(scored: Score) -> dict[str, Any]:
    """Give `n`, and every value; None where it does not exist, as the AUC of one class.

    Of tasks the names are `click.auc` and so on, `click.n` among them.

    >>> several = scores()
    >>> several.update([0.9, 0.2, 0.4], [1, 0, 0])
    >>> said = result(several)
    >>> said["n"], said["auc"], round(said["log_loss"], 4), said["accuracy"]
    (3, 1.0, 0.2798, 1.0)
    """
    if isinstance(scored, Sliced):
        found: dict[str, Any] = {"n": scored.n}
        for task in scored.value():
            told = result(scored.slices[task])
            found |= {f"{task}.{name}": value for name, value in told.items()}
        return found
    return {"n": scored.n, **scored.value()}


def staleness(trainer: Mapping[str, Any], served: Mapping[str, Any]) -> dict[str, Any]:
    """Give what staleness costs: the score of what was served less the trainer's.

    Of the same decisions. A log loss or an RMSE above 0 and an AUC below are the price of a version
    that had not learned what the trainer had.

    >>> staleness({"log_loss": 0.25, "auc": 0.75}, {"log_loss": 0.5, "auc": None})
    {'log_loss': 0.25, 'auc': None}
    """
    priced = [(name, name.rpartition(".")[2]) for name in trainer]
    prices = [name for price in _PRICES for name, of in priced if of == price]
    given = {name: (trainer[name], served.get(name)) for name in prices}
    return {name: None if a is None or b is None else b - a for name, (a, b) in given.items()}
