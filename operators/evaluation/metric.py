"""What a metric is: whole numbers that every row adds, and one number made of their sums.

::

    rows ──► terms: one whole number per sum ──► Tally, by key ──► of: divide last      in process
    rows ──► terms_sql, key_sql ──► SUM … GROUP BY key ──► value_sql                    in DuckDB

A metric states its terms and its value twice, side by side; tests hold that both give the same
bits.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from headrace.operators.errors import Gap, GapError, NotYet, UnknownName
from headrace.operators.evaluation.logarithm import with_ln_sql
from headrace.operators.evaluation.rows import CLIP, EvaluationError, Rows
from headrace.operators.evaluation.score import Score, State
from headrace.operators.evaluation.sums import ONE, Tally

__all__ = ["ENGINES", "FIXED_SQL", "Metric"]

ENGINES = ("in_process", "duckdb", "flink")

FIXED_SQL = f"CAST(FLOOR(({{x}}) * {ONE}e0 + 0.5e0) AS BIGINT)"
"""Fixed point, as `sums.fixed` makes it."""

_BINARY = "p >= 0 AND p <= 1 AND (y = 0 OR y = 1)"
_REAL = "isfinite(p) AND isfinite(y)"


class Metric(Score):
    """One number of all rows: mergeable, and the same bits in any order of the rows.

    No rows give None, as does what does not exist otherwise. A row of weight w counts as w rows;
    with weight 0 it is counted by `n` alone.
    """

    name: ClassVar[str]
    binary: ClassVar[bool] = True
    """Whether it scores probabilities of a label that is 0 or 1; otherwise of numbers."""
    sums: ClassVar[tuple[str, ...]]
    logarithms: ClassVar[bool] = False
    """Whether its SQL wants `ln_p` and `ln_q` beside the other columns."""
    gaps: ClassVar[Mapping[str, Gap]] = {
        "flink": NotYet("scores are asked of the store and of the learner, which hold the rows")
    }

    def __init__(self) -> None:
        self._tally = Tally(("rows", *self.sums))

    @property
    def n(self) -> int:
        """Count the rows scored."""
        return self._tally.total("rows")

    @property
    def told(self) -> dict[str, Any]:
        """Say its name and its parameters."""
        return {"metric": self.name, **self.parameters}

    @property
    def parameters(self) -> dict[str, Any]:
        """Give what it was made with, by name."""
        return {}

    def blank(self) -> Self:
        """Make another with the same parameters."""
        return type(self)(**self.parameters)

    def key(self, rows: Rows) -> NDArray[np.int64]:
        """Say under which key each row is added up."""
        return np.zeros(len(rows), np.int64)

    @abstractmethod
    def terms(self, rows: Rows) -> Sequence[NDArray[np.int64]]:
        """Give what each row adds to each of `sums`: whole numbers of at least 0."""

    @abstractmethod
    def of(self, tally: Tally) -> float | None:
        """Make the value of the sums."""

    def add(self, rows: Rows) -> None:
        """Add up the rows' terms.

        Raises
        ------
        EvaluationError
            Where rows are not of its kind, or a sum would leave int64; nothing is added then.
        """
        if self.binary:
            _ = rows.binary
        if not len(rows):
            return
        # Each term lies in one piece: adding up 15,000 rows takes a tenth of the time.
        terms = np.stack([np.ones(len(rows), np.int64), *self.terms(rows)]).T
        self._take(self.key(rows), terms)

    def value(self) -> float | None:
        """Give the metric, or None where it does not exist."""
        return self.of(self._tally) if self.n else None

    def state(self) -> State:
        """Give the keys and their sums."""
        arrays = {"keys": self._tally.keys.copy(), "sums": self._tally.sums.copy()}
        return State(arrays, {"told": self.told})

    def _restore(self, state: State) -> None:
        self._tally.add(state.arrays["keys"], state.arrays["sums"])

    def _merge(self, other: Self) -> None:
        self._take(other._tally.keys, other._tally.sums)

    def _take(self, keys: NDArray[np.int64], terms: NDArray[np.int64]) -> None:
        try:
            self._tally.add(keys, terms)
        except OverflowError as error:
            asked = f"asked to add up {self.name!r}"
            found = f"its sum {str(error)!r} leaves int64"
            raise EvaluationError(asked, found, "score by windows, or scale the numbers") from error

    # The same as SQL.

    part_sql: str = "0"
    """What rows are divided by besides slices, over the rows' own columns."""
    key_sql: str = "0"
    """Over `p`, `y`, `weight`, `units`, `ln_p` and `ln_q`."""

    @abstractmethod
    def terms_sql(self) -> Sequence[str]:
        """Print the terms over the same columns."""

    @abstractmethod
    def value_sql(self) -> str:
        """Print the value over sums of the tally's columns, as `SUM(loss)`."""

    def sql(self, engine: str, rows: str, *, by: str = "", weighted: bool = False) -> str:
        """Print a query for the value: one row with `value`, or a row with `slice` for each slice.

        Parameters
        ----------
        engine
            Where it is to run.
        rows
            A table, or a query in brackets, with the columns `p` and `y`; y may be a boolean.
        by
            An expression over its columns: a column, or a window as `"at" // 86400000`.
        weighted
            Whether it has a column `weight`.

        Raises
        ------
        GapError
            Where the engine does not have the metric.

        Examples
        --------
        >>> from headrace.operators.evaluation.accuracy import Accuracy
        >>> Accuracy().sql("flink", "scores")
        Traceback (most recent call last):
        ...
        headrace.operators.errors.GapError: asked for 'accuracy' on flink; not yet: scores are ...
        """
        if engine not in ENGINES:
            raise UnknownName(kind="engine", name=engine, known=ENGINES)
        if engine != "duckdb":
            gap = self.gaps.get(engine, NotYet("it takes columns, not SQL"))
            raise GapError(self.name, engine, gap, do="ask it of duckdb")
        terms = zip(self.sums, self.terms_sql(), strict=True)
        added = "".join(f", SUM({term}) AS {name}" for name, term in terms)
        tally = (
            f"(SELECT slice, part, {self.key_sql} AS key, COUNT(*) AS rows{added} "
            f"FROM ({self._rows_sql(rows, by=by, weighted=weighted)}) GROUP BY ALL)"
        )
        return self.values_sql(tally, by=bool(by))

    def values_sql(self, tally: str, *, by: bool) -> str:
        """Print the query over the tally: `slice`, `part`, `key`, `rows` and the sums."""
        if by:
            return f"SELECT slice, {self.value_sql()} AS value FROM {tally} GROUP BY slice"
        return f"SELECT {self.value_sql()} AS value FROM {tally}"

    def _rows_sql(self, rows: str, *, by: str, weighted: bool) -> str:
        """Print the rows as they are scored: typed, weighted, and refused where they must be."""
        units = FIXED_SQL.format(x="weight") if weighted else str(ONE)
        known = "p IS NOT NULL AND y IS NOT NULL" + (" AND weight IS NOT NULL" if weighted else "")
        says = "a probability is not in [0, 1], or a label is neither 0 nor 1"
        right = _BINARY if self.binary else _REAL
        if not self.binary:
            says = "a prediction or a label is no finite number"
        typed = (
            f"SELECT {by or 0} AS slice, {self.part_sql} AS part, CAST(p AS DOUBLE) AS p, "
            f"CAST(y AS DOUBLE) AS y, {units} AS units FROM {rows} WHERE {known}"
        )
        checked = (
            f"SELECT *, CAST(units AS DOUBLE) / {ONE}e0 AS weight FROM ({typed}) "
            f"WHERE CASE WHEN {right} THEN TRUE ELSE error('{says}') END"
        )
        if not self.logarithms:
            return checked
        clipped = f"GREATEST(LEAST(p, 1e0 - {CLIP!r}), {CLIP!r})"
        named = f"(SELECT *, {clipped} AS clipped FROM ({checked}))"
        return with_ln_sql(named, {"ln_p": "clipped", "ln_q": "(1e0 - clipped)"})
