"""The trivial predictions that every model must beat, by name."""

from headrace.operators.evaluation.baselines.baseline import BEFORE, Baseline
from headrace.operators.evaluation.baselines.classes import OfClasses
from headrace.operators.evaluation.baselines.majority import Majority
from headrace.operators.evaluation.baselines.no_change import NoChange
from headrace.operators.evaluation.baselines.numbers import LastValue, RunningMean
from headrace.operators.evaluation.baselines.running_base_rate import RunningBaseRate
from headrace.operators.evaluation.baselines.tasks import OfTasks

__all__ = ["BASELINES", "BASELINES_OF_NUMBERS", "BEFORE", "Baseline", "LastValue", "Majority"]
__all__ += ["BASELINES_OF_CLASSES", "NoChange", "OfClasses", "OfTasks", "RunningBaseRate"]
__all__ += ["RunningMean"]

BASELINES: dict[str, type[Baseline]] = {
    kind.name: kind for kind in (NoChange, Majority, RunningBaseRate)
}

BASELINES_OF_NUMBERS: dict[str, type[Baseline]] = {
    kind.name: kind for kind in (LastValue, RunningMean)
}

BASELINES_OF_CLASSES: dict[str, type[Baseline]] = {
    kind.name: kind for kind in (NoChange, RunningBaseRate)
}
"""Of each class; `OfClasses` makes them."""
