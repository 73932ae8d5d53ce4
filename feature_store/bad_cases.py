"""Decisions that are worth a look: scored far from their label, or near to nothing.

::

    predictions, by number ──► |p − ½| < confidence_below ──┐ at most so many
    examples, as they came ──► loss of p    > loss_above ───┴─ of each cause a day ──► bad_cases

Both follow from their topics alone, each in its own order and with its own numbers: a store that is
built again has the same cases. No decision is one for both causes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.feature_store.catalogue import Catalogue
from headrace.feature_store.worth import Worth
from headrace.operators.engines.duckdb import quote
from headrace.operators.evaluation import Rows

__all__ = ["BAD_CASES", "CAUSES", "BadCases"]

BAD_CASES = "bad_cases"
CAUSES = ("confidence", "loss")
_SCHEMA = pa.schema(
    [
        ("cause", pa.string()),
        ("number", pa.int64()),  # of those of its cause
        ("seq", pa.int64()),
        ("id", pa.string()),
        ("at", pa.int64()),  # of the decision
        ("known", pa.int64()),  # of the event that made it a case: the decision, or its outcome
        ("p", pa.float64()),
        ("version", pa.int64()),
        ("label", pa.bool_()),
        ("loss", pa.float64()),
    ]
)
_DAY_MS = 86_400_000


class BadCases:
    """The cases of a store's file, and who is one next.

    Parameters
    ----------
    catalogue
        The file.
    worth
        Which decisions; None are none.
    """

    def __init__(self, catalogue: Catalogue, worth: Worth | None) -> None:
        self._catalogue, self._worth = catalogue, worth
        catalogue.create(BAD_CASES, _SCHEMA)
        self.counts = dict.fromkeys(CAUSES, 0)
        self._days: dict[tuple[str, int], int] = defaultdict(int)

    def load(self) -> None:
        """Take up what is committed."""
        kept = self._catalogue.read(
            f"SELECT cause, known // {_DAY_MS} AS day, COUNT(*) AS n FROM {BAD_CASES} GROUP BY ALL"
        )
        for row in kept.to_pylist():
            self.counts[row["cause"]] += row["n"]
            self._days[row["cause"], row["day"]] = row["n"]
        seqs = self._catalogue.read(f"SELECT seq FROM {BAD_CASES} WHERE cause = 'loss'")["seq"]
        self._labelled = set(seqs.to_pylist())

    def predicted(self, rows: pa.Table) -> None:
        """Look at predictions, in the order of their numbers; inside a transaction."""
        if self._worth is None or self._worth.confidence_below is None:
            return
        near = np.abs(rows["p"].to_numpy() - 0.5) < self._worth.confidence_below
        self._keep("confidence", rows, rows["at"].to_numpy(), np.flatnonzero(near), {})

    def labelled(self, rows: pa.Table) -> None:
        """Look at examples, in the order in which they came; inside a transaction.

        Of a decision with several only the first can be a case.
        """
        if self._worth is None or self._worth.loss_above is None or not rows.num_rows:
            return
        scored = Rows.of(rows["p"], rows["label"])
        loss = -np.where(scored.y == 1.0, *scored.ln)
        places = np.flatnonzero(loss > self._worth.loss_above)
        first: dict[int, int] = {}
        for seq, place in zip(rows["seq"].to_numpy()[places].tolist(), places, strict=True):
            if seq not in self._labelled:
                first.setdefault(seq, int(place))
        more = {"label": rows["label"], "loss": pa.array(loss)}
        places = np.array(list(first.values()), np.int64)
        self._keep("loss", rows, rows["known"].to_numpy(), places, more)

    def _keep(
        self,
        cause: str,
        rows: pa.Table,
        known: NDArray[np.int64],
        places: NDArray[np.int64],
        more: Mapping[str, pa.Array | pa.ChunkedArray],
    ) -> None:
        """Keep as many of the rows at `places` as their days have room for."""
        kept = places[self._room(cause, known[places] // _DAY_MS)]
        if not len(kept):
            return
        numbers = np.arange(self.counts[cause], self.counts[cause] + len(kept))
        taken = pa.array(kept)
        columns = {name: rows[name].take(taken) for name in ("seq", "id", "at", "p", "version")}
        columns |= {name: column.take(taken) for name, column in more.items()}
        columns |= {"cause": pa.repeat(cause, len(kept)), "number": pa.array(numbers)}
        self._catalogue.append(BAD_CASES, pa.table(columns | {"known": pa.array(known[kept])}))
        self.counts[cause] += len(kept)
        if cause == "loss":
            self._labelled.update(columns["seq"].to_pylist())

    def _room(self, cause: str, days: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Say which rows are among the first of their day, and count them."""
        most = 0 if self._worth is None else self._worth.most_per_day
        room = np.zeros(len(days), np.bool_)
        for day in np.unique(days).tolist():
            places = np.flatnonzero(days == day)[: most - self._days[cause, day]]
            room[places] = True
            self._days[cause, day] += len(places)
        return room

    def after(self, published: Mapping[str, int], names: list[str]) -> list[dict[str, object]]:
        """Give the cases of each cause from a number on, with columns of their predictions.

        In the order of their numbers, and none whose prediction, or whose before it, is not kept.
        """
        found: list[dict[str, object]] = []
        listed = "".join(f", s.{quote(name)}" for name in names)
        for cause in CAUSES:
            if self.counts[cause] <= published[cause]:
                continue
            fresh = f"FROM {BAD_CASES} WHERE cause = '{cause}' AND number >= ?"
            after: list[object] = [published[cause]]
            bounds = f"SELECT MIN(seq) AS a, MAX(seq) AS b {fresh}"
            [ends] = self._catalogue.read(bounds, after).to_pylist()
            # With bounds that it knows DuckDB passes over the rows before and after them.
            rows = self._catalogue.read(
                f"SELECT c.*, s.seq IS NOT NULL AS kept{listed} "
                f"FROM ({fresh}) AS c LEFT JOIN "
                '(SELECT p.*, d.* EXCLUDE (seq, id, "at") FROM predictions AS p '
                "JOIN decisions AS d USING (seq) WHERE seq BETWEEN ? AND ?) AS s USING (seq) "
                "ORDER BY c.number",
                [*after, ends["a"], ends["b"]],
            )
            for row in rows.to_pylist():
                if not row.pop("kept"):
                    break
                found.append(row)
        return found
