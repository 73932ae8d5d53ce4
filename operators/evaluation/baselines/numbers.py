"""The same for numbers: the last one, and their mean."""

from __future__ import annotations

from headrace.operators.evaluation.baselines.no_change import NoChange
from headrace.operators.evaluation.baselines.running_base_rate import RunningBaseRate

__all__ = ["LastValue", "RunningMean"]


class LastValue(NoChange):
    """The last known label; 0 before there is one.

    >>> import numpy as np
    >>> LastValue().follow(np.array([2.5, -1.0, 7.0])).tolist()
    [0.0, 2.5, -1.0]
    """

    name = "last_value"
    binary = False


class RunningMean(RunningBaseRate):
    """The mean of the labels so far; 0 before there is one.

    >>> import numpy as np
    >>> RunningMean().follow(np.array([2.5, -1.0, 7.0])).tolist()
    [0.0, 2.5, 0.75]
    """

    name = "running_mean"
    binary = False
