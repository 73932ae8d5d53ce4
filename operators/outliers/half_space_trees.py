"""How empty the place is where a row stands, by half-space trees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from headrace.operators.errors import EnvironmentProblem, Never
from headrace.operators.evaluation.rows import EvaluationError
from headrace.operators.evaluation.score import State
from headrace.operators.outliers.outliers import Outliers

__all__ = ["MERGE", "HalfSpaceTrees"]

MERGE = Never("the trees count rows in windows of their order")
"""Why it does not merge."""


class HalfSpaceTrees(Outliers):
    """The half-space trees of `river` [^1]: 1 is an empty place, 0 a crowded one.

    Random trees cut the space of all columns in halves; a row stands where few rows of the last
    full window stood, or where many did. No row is scored in the first window. It takes some
    hundred microseconds a row, and comes with the extra `outliers`.

    The trees follow from the seed, so that its state is the counts of their nodes.

    Parameters
    ----------
    limits
        Per column the least and the greatest usual value.
    trees
        How many.
    height
        Of each: it has 2^(height + 1) − 1 nodes.
    window
        Rows per window.
    seed
        Decides the trees.

    Raises
    ------
    EnvironmentProblem
        Where `river` is not installed.

    Examples
    --------
    >>> HalfSpaceTrees({"delay": (60.0, 0.0)})
    Traceback (most recent call last):
    ...
    headrace.operators.evaluation.rows.EvaluationError: asked for half-space trees within {'delay...

    With `river`, `HalfSpaceTrees({"delay": (0.0, 60.0)}).follow({"delay": delays})`.

    [^1]: Tan, Ting and Liu, Fast Anomaly Detection for Streaming Data, IJCAI 2011.
    """

    name = "half_space_trees"

    def __init__(
        self,
        limits: Mapping[str, tuple[float, float]],
        *,
        trees: int = 10,
        height: int = 8,
        window: int = 250,
        seed: int = 0,
    ) -> None:
        if not limits or not all(low < high for low, high in limits.values()):
            asked, found = f"asked for half-space trees within {dict(limits)}", "that is no space"
            raise EvaluationError(asked, found, "give each column its least and greatest value")
        if min(trees, height, window) < 1:
            asked = f"asked for {trees} trees of height {height} over {window} rows"
            raise EvaluationError(asked, "there is no such thing", "give 1 or more of each")
        self.limits = {name: (float(low), float(high)) for name, (low, high) in limits.items()}
        self.settings = {"trees": trees, "height": height, "window": window, "seed": seed}
        self._forest = _forest(self.limits, self.settings)
        self._n = 0

    @property
    def columns(self) -> tuple[str, ...]:
        """Name the columns."""
        return tuple(self.limits)

    @property
    def told(self) -> dict[str, Any]:
        """Say the limits and the settings."""
        limits = {name: list(pair) for name, pair in self.limits.items()}
        return {"outliers": self.name, "limits": limits, **self.settings}

    def blank(self) -> Self:
        """Make another, with the same trees."""
        return type(self)(self.limits, **self.settings)

    def state(self) -> State:
        """Give each node's count in this window and in the last full one."""
        masses = [(node.l_mass, node.r_mass) for node in self._nodes()]
        arrays = {"masses": np.array(masses, np.int64).reshape(-1, 2)}
        return State(arrays, {"told": self.told, "n": self._n})

    def _restore(self, state: State) -> None:
        self._n = state.facts["n"]
        if not self._n:
            return
        self._forest.learn_one(dict.fromkeys(self.limits, 0.0))  # makes the trees
        masses = state.arrays["masses"].tolist()
        for node, (now, last) in zip(self._nodes(), masses, strict=True):
            node.l_mass, node.r_mass = now, last
        self._forest.counter = self._n % self.settings["window"]
        self._forest._first_window = self._n < self.settings["window"]

    def _nodes(self) -> Iterator[Any]:
        """Go through the nodes of all trees, always in the same order."""
        for tree in self._forest.trees:
            yield from tree.iter_dfs()

    def _merge(self, other: Self) -> NoReturn:
        del other
        asked = "asked to merge half-space trees"
        raise EvaluationError(asked, str(MERGE), "follow the rows in one place")

    def _follow(self, rows: NDArray[np.float64]) -> list[float | None]:
        scores: list[float | None] = []
        for values in rows.tolist():
            row = dict(zip(self.limits, values, strict=True))
            ready = self._n >= self.settings["window"]
            scores.append(float(self._forest.score_one(row)) if ready else None)
            self._forest.learn_one(row)
            self._n += 1
        return scores


def _forest(limits: Mapping[str, tuple[float, float]], settings: Mapping[str, int]) -> Any:
    try:
        from river import anomaly
    except ModuleNotFoundError as error:
        if error.name != "river":
            raise
        asked, found = "asked for half-space trees", "the package river is not installed"
        raise EnvironmentProblem(asked, found, "pip install 'headrace[outliers]'") from error
    return anomaly.HalfSpaceTrees(
        n_trees=settings["trees"],
        height=settings["height"],
        window_size=settings["window"],
        limits=dict(limits),
        seed=settings["seed"],
    )
