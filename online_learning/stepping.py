"""Decisions and labels become one course of steps, in the order of event time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.online_learning.learning import Learning
from headrace.online_learning.models.model import PREDICT, Inputs, Model, Steps
from headrace.online_learning.moments import Moments
from headrace.online_learning.sampling import kept
from headrace.online_learning.waiting import Columns

__all__ = ["INPUTS", "columns", "course", "step"]

INPUTS = ("slots", "ids", "numbers", "weights")


def columns(inputs: Inputs, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Give some of the rows, as columns that can wait."""
    return {name: getattr(inputs, name)[rows] for name in INPUTS}


def step(
    settings: Learning, model: Model, moments: Moments, decisions: Columns, labels: Columns
) -> NDArray[np.float64]:
    """Predict and learn in order of event time, all predictions of an instant first.

    Parameters
    ----------
    settings
        Those of the model.
    model, moments
        What learns; both are changed.
    decisions
        In order: `at`, and what is in `INPUTS`, numbers as they came.
    labels
        In order: `at`, `seq` of the decision, `label`, and the decision's `INPUTS`.

    Returns
    -------
    What was predicted of each decision.
    """
    inputs, steps = course(settings, moments, decisions, labels)
    return steps.by_row(model.advance(inputs, steps))[: len(decisions["at"])]


def course(
    settings: Learning, moments: Moments, decisions: Columns, labels: Columns
) -> tuple[Inputs, Steps]:
    """Give the rows, the decisions' before the labels', with scaled numbers, and the steps.

    Labels may have `again`, of rows that were learned before, which count no more in the moments;
    then they have `back`, too, what each of the models takes back: (labels, models).
    """
    count = len(decisions["at"])
    at = np.concatenate([decisions["at"], labels["at"]])
    # Stable, and the decisions stand first: at one instant they come before the labels.
    order = np.argsort(at, kind="stable")
    told = np.concatenate([np.full(count, PREDICT), _sampled(labels, settings.negatives)])[order]
    both = {name: np.concatenate([decisions[name], labels[name]]) for name in INPUTS}
    fresh, back = told, None
    if "again" in labels:
        again = np.concatenate([np.zeros(count, np.bool_), labels["again"]])[order]
        back = np.concatenate([np.zeros((count, labels["back"].shape[1])), labels["back"]])[order]
        fresh = np.where(again, PREDICT, told)
    both["numbers"] = moments.scale(both["numbers"], order, fresh)
    steps = Steps(order, told, -math.log(settings.negatives), at[order], back)
    return Inputs(**both), steps


def _sampled(labels: Columns, share: float) -> NDArray[np.float64]:
    """Give what is learned of the labels: `PREDICT` for a negative that is left out."""
    told: NDArray[np.float64] = labels["label"]
    if share == 1.0:
        return told
    left_out = (told == 0.0) & (~kept(labels["seq"], share))
    return np.where(left_out, PREDICT, told)
