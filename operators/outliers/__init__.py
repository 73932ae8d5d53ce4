"""Scores of how strange the rows of a stream are, by name."""

from headrace.operators.outliers.half_space_trees import HalfSpaceTrees
from headrace.operators.outliers.outliers import Outliers
from headrace.operators.outliers.robust_z import RobustZ

__all__ = ["OUTLIERS", "HalfSpaceTrees", "Outliers", "RobustZ"]

OUTLIERS: dict[str, type[Outliers]] = {kind.name: kind for kind in (HalfSpaceTrees, RobustZ)}
