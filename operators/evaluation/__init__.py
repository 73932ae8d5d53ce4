"""The scores of predictions; a new metric is its file and its cases.

`METRICS` holds every metric of this folder by its name.
"""

from headrace.operators.discovery import found_in
from headrace.operators.evaluation.metric import Metric
from headrace.operators.evaluation.rows import CLIP, EvaluationError, Rows
from headrace.operators.evaluation.score import Score, State

__all__ = ["CLIP", "METRICS", "EvaluationError", "Metric", "Rows", "Score", "State"]

METRICS = found_in(__name__, Metric)
