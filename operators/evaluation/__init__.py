"""The scores of predictions; a new metric is its file and its cases.

`METRICS` holds every metric of this folder by its name.
"""

import importlib
import inspect
import pkgutil

from headrace.operators.evaluation.metric import Metric
from headrace.operators.evaluation.rows import CLIP, EvaluationError, Rows
from headrace.operators.evaluation.score import Score, State

__all__ = ["CLIP", "METRICS", "EvaluationError", "Metric", "Rows", "Score", "State"]


def _found() -> dict[str, type[Metric]]:
    """Find the classes with a name of their own, in the modules that stand here."""
    found: dict[str, type[Metric]] = {}
    for module in pkgutil.iter_modules(__path__):
        loaded = importlib.import_module(f"{__name__}.{module.name}")
        for kind in vars(loaded).values():
            ours = inspect.isclass(kind) and issubclass(kind, Metric)
            if ours and kind.__module__ == loaded.__name__ and "name" in vars(kind):
                found[kind.name] = kind
    return dict(sorted(found.items()))


METRICS = _found()
