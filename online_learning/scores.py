"""What the learner scores by: the metrics of operators/evaluation, under its own short names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.operators.evaluation import METRICS
from headrace.operators.evaluation.several import Several

__all__ = ["result", "scores", "staleness"]

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


def scores() -> Several:
    """Make them anew."""
    return Several({short: METRICS[name]() for short, name in _NAMES.items()})


def result(several: Several) -> dict[str, Any]:
    """Give `n`, and every value; None where it does not exist, as the AUC of one class.

    >>> several = scores()
    >>> several.update([0.9, 0.2, 0.4], [1, 0, 0])
    >>> said = result(several)
    >>> said["n"], said["auc"], round(said["log_loss"], 4), said["accuracy"]
    (3, 1.0, 0.2798, 1.0)
    """
    return {"n": several.n, **several.value()}


def staleness(trainer: Mapping[str, Any], served: Mapping[str, Any]) -> dict[str, Any]:
    """Give what staleness costs: the score of what was served less the trainer's.

    Of the same decisions. A log loss above 0 and an AUC below are the price of a version that had
    not learned what the trainer had.

    >>> staleness({"log_loss": 0.25, "auc": 0.75}, {"log_loss": 0.5, "auc": None})
    {'log_loss': 0.25, 'auc': None}
    """
    given = {name: (trainer.get(name), served.get(name)) for name in ("log_loss", "auc")}
    return {name: None if a is None or b is None else b - a for name, (a, b) in given.items()}
