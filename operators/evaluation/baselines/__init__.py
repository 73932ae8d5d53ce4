"""The trivial predictions that every model must beat, by name."""

from headrace.operators.evaluation.baselines.baseline import BEFORE, Baseline
from headrace.operators.evaluation.baselines.majority import Majority
from headrace.operators.evaluation.baselines.no_change import NoChange
from headrace.operators.evaluation.baselines.running_base_rate import RunningBaseRate

__all__ = ["BASELINES", "BEFORE", "Baseline", "Majority", "NoChange", "RunningBaseRate"]

BASELINES: dict[str, type[Baseline]] = {
    kind.name: kind for kind in (NoChange, Majority, RunningBaseRate)
}
