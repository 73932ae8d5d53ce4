"""What the learner scores by: the metrics of operators/evaluation, under its own short names."""

from __future__ import annotations

from typing import Any

from headrace.operators.evaluation import METRICS
from headrace.operators.evaluation.several import Several

__all__ = ["result", "scores"]

_NAMES = {
    "positives": "positives",
    "auc": "auc",
    "log_loss": "log_loss",
    "base_rate_log_loss": "base_rate_log_loss",
    "ne": "normalised_entropy",
    "calibration": "calibration",
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
